"""Stored predictions for tests: small shards of images, and networks that need no training."""

import json

import numpy as np

from mpl_tf.datasets import prediction_files, selection
from mpl_tf.reduced import forward, labelling, selecting
from mpl_tf.shards import schema, tfrecord
from tests.prep import picture, saved

CLASSES = ["ant", "bee", "cat"]


def write_images(folder, split="unlabeled", counts=(5, 7), size=8, first=0, name="{:03}.png"):
    """Shards of images of one size, named 000.png and on; returns the folder as a str."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, count in enumerate(counts):
        path = folder / tfrecord.shard_name(split, shard, len(counts))
        tfrecord.write(str(path), [schema.encode(schema.Record(
            encoded=saved(picture(first + i, size, size), "PNG"), format="PNG",
            filename=name.format(first + i))) for i in range(count)])
        first += count
    return str(folder)


def colors(images):
    """A network: the softmax of an image's mean red, green and blue."""
    means = images.reshape(len(images), -1, 3).mean(axis=1).astype(np.float64) / 25
    odds = np.exp(means - means.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def predicted(folder, *sources, network=colors, model="model-a", classes=CLASSES, size=8,
              batch_size=4, **options):
    """Predicts all shards of folders into `folder`; returns the plan."""
    tasks, sizes = [], {}
    for source in sources:
        for task, length in labelling.tasks_of_one(source, None, "cifar10"):
            tasks.append(task)
            sizes[task.name] = length
    plan = prediction_files.plan_of(model, len(classes), list(classes), size, "whole",
                                    list(sources), sizes)
    folder.mkdir(parents=True, exist_ok=True)
    labelling.write_plan(str(folder), plan)
    for task, shard in forward.predict_shards(tasks, plan, network, batch_size, **options):
        prediction_files.write_shard(prediction_files.shard_path(str(folder), task.name), shard)
    return plan


def predicted_with_ties(root):
    """(folder of predictions, folder of 150 images in 5 shards), with ties in every class."""
    source = write_images(root / "shards", counts=(30, 10, 50, 20, 40))

    def coarse(images):
        probs = np.round(colors(images) * 20) / 20
        probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]
        return np.clip(probs, 0, 1) / np.clip(probs, 0, 1).sum(axis=1, keepdims=True)
    predicted(root / "predictions", source, network=coarse)
    return root / "predictions", source


def selected(folder, out, **options):
    """Selects from a folder of predictions into `out`; (Selection, its report)."""
    selecting.select(str(folder), str(out), **options)
    return selection.load(str(out)), json.loads((out / selection.REPORT).read_text())


def change(folder, name, plan=False, **values):
    """Changes arrays of a stored shard, or keys of predictions.json, behind the program's back."""
    if plan:
        path = folder / prediction_files.PLAN
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        return
    path = folder / f"{name}.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays.update({key: value(arrays[key]) if callable(value) else value
                   for key, value in values.items()})
    np.savez(path, **arrays)

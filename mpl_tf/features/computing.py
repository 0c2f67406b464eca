"""Computes and stores the features of all images of some shards; datasets/feature_files.py has them.

`compute` does all of it. Its first and last steps, `begin` and `end`, are for programs that distribute
the shards themselves: data_prep.beam.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from mpl_tf.common import plain_path, storage
from mpl_tf.common.bar import Bar
from mpl_tf.datasets import feature_files as files, plans
from mpl_tf.features.source_shards import Options, Sources
from mpl_tf.shards import reading, tfrecord
from mpl_tf.shards.reading import Task

AHEAD = 3       # batches read ahead
NAMED = {"class_names": "classes", "labeled": "labeled shards"}     # parts of a plan, in words


def compute(options: Options) -> bool:
    """Writes the features that are still missing in the output folder, and prints the progress.

    Returns:
      Whether the features of all shards are there.

    Raises:
      ValueError, FileNotFoundError: in one line, before any long work: of the backbone, of the sources
        and of a folder that holds something else; later, of a record that cannot be used.
    """
    plan, tasks, todo, model = begin(options)
    if todo:
        _compute_all(options, plan, todo, model)
    return end(options.output_dir, tasks)


def begin(options: Options) -> Tuple[Dict[str, Any], List[Task], List[Task], Any]:
    """Checks everything and writes the plan and the backbone.

    Returns:
      (plan, Tasks of all shards, Tasks that this call has to compute, the backbone).
    """
    sources = Sources(options)     # looked at first, because loading a backbone takes seconds
    from mpl_tf.features import backbones
    from mpl_tf.run import composing, export
    model = backbones.load(options.backbone, options.image_size, options.weights)
    plan = sources.plan(options, model, composing.digest(model))
    os.makedirs(options.output_dir, exist_ok=True)
    if options.overwrite and files.remove_shards(options.output_dir):
        storage.write_json(os.path.join(options.output_dir, files.PLAN), plan, shared=True)
    write_plan(options.output_dir, plan)
    path = os.path.join(options.output_dir, files.BACKBONE)
    if not os.path.exists(path):    # its name tells the format, and it may be written twice at once
        with storage.partial(plain_path.plain(path), shared=True) as temporary:
            export.save(model, temporary)
    mine = sources.tasks[options.shard_index::options.num_shards]
    todo = [task for task in mine if not finished(options.output_dir, task, plan)]
    if len(todo) < len(mine):
        print(f"continuing: {len(mine) - len(todo)} of {len(mine)} files are there", flush=True)
    return plan, sources.tasks, todo, model


def end(folder: str, tasks: Sequence[Task]) -> bool:
    """Prints how many shards, of those in all `tasks`, are done; returns whether all are."""
    there = sum(os.path.isfile(files.shard_path(folder, task.name)) for task in tasks)
    print(f"{folder}: the features of {there} of {len(tasks)} files are there", flush=True)
    return there == len(tasks)


def _compute_all(options, plan, todo, model):
    from mpl_tf.features.views import Network
    counts = {task.name: plan["shards"][task.name]["records"] or len(tfrecord.scan(
        task.path, [] if options.skip_corrupt else None)[0]) for task in todo}
    began, done, skipped = time.perf_counter(), 0, 0
    with Bar(sum(counts.values()), " images", "features") as bar:
        for task, shard in shards(todo, plan, Network(model, plan), options.batch_size,
                                  options.skip_corrupt, bar.update):
            files.write_shard(files.shard_path(options.output_dir, task.name), shard)
            done += len(shard.key)
            skipped += len(shard.skipped)
    seconds = time.perf_counter() - began
    print(f"{done} images in {seconds:.0f} s, {done / seconds:.0f} images/s", flush=True)
    if skipped:
        print(f"{skipped} images could not be read and were skipped", flush=True)


def shards(tasks: Sequence[Task], plan: Mapping[str, Any], network: Any, batch_size: int = 64,
           skip_corrupt: bool = False, update: Any = None) -> Iterator[Tuple[Task, files.Shard]]:
    """Yields (Task, feature_files.Shard) for each task, reading ahead of the network.

    Args:
      network: a views.Network, or any function (uint8 [B, V, size, size, 3], keys) -> [B, V, F].
      update: a function of how many images were seen since its last call, or None.
    """
    from mpl_tf.features import views
    options, view = plan["augmented"], plan["view"]
    labeled = set(plan["labeled"])

    def decoder(task):
        count = (files.count_of_views(plan, task.name) - 1) // 2

        def decode(record):
            return views.decode(record.encoded, record.filename, count, view,
                                options["seed"]), -1 if record.label is None else record.label
        return decode

    def read():
        for task in tasks:
            most = plan["shards"][task.name]["records"]
            yield from reading.batches(
                [task], decoder(task), batch_size, skip_corrupt, labeled.__contains__,
                {} if most is None else {task.name: most})

    parts, begun = [], None     # a pass is begun before the one before it is waited for
    for batch in reading.ahead(read(), AHEAD):
        shape = files.count_of_views(plan, batch.task.name), plan["backbone"]["features"]
        found = (network(np.stack([images for images, _ in batch.items]), batch.keys)
                 if batch.items else np.zeros([0, *shape]))
        if begun:
            yield from _taken(*begun, parts, plan, update)
        begun = batch, found
    if begun:
        yield from _taken(*begun, parts, plan, update)


def _taken(batch, features, parts, plan, update):
    """Adds a batch to `parts`; yields (Task, Shard) made of them at the end of a shard."""
    with np.errstate(over="ignore"):        # is told by `check`
        features = np.asarray(features, np.float32).astype(np.float16)
    files.check(f"{batch.task.path}, from record {batch.first}", features)
    parts.append((np.array(batch.keys, "S") if batch.keys else np.zeros(0, "S1"),
                  np.array(batch.numbers, np.int32),
                  np.array([label for _, label in batch.items], np.int32), features,
                  np.array(batch.skipped, np.int32)))
    if update:
        update(len(batch.numbers) + len(batch.skipped))
    if batch.last:
        columns = [np.concatenate(column) for column in zip(*parts)]
        parts.clear()
        yield batch.task, files.Shard(*columns, plan=files.made_by(plan),
                                      bytes=plan["shards"][batch.task.name]["bytes"])


def write_plan(folder: str, plan: Mapping[str, Any]) -> None:
    """Writes features.json, or checks the one that is there: `plans.claim`."""
    def said(key, old):
        if key == "backbone":
            was, now = (f"{each[key]['name']}, {each[key]['digest'][:8]}" for each in (old, plan))
        elif key == "augmented":
            key, was, now = "augmented views", _said(old), _said(plan)
        elif key in NAMED:
            return NAMED[key]
        elif key == "view":
            was, now = old[key], plan[key]
        else:
            return key
        return f"{key} ({was}; now {now})"

    def there():
        old = files.read_plan(folder)
        for name, shard in old["shards"].items():       # what one of them has not noted is not compared
            new = plan["shards"].get(name, {})
            if not ("sha256" in shard and "sha256" in new):
                old["shards"][name] = {**shard, "sha256": new["sha256"]} if "sha256" in new else {
                    key: value for key, value in shard.items() if key != "sha256"}
        return old

    plans.claim(os.path.join(folder, files.PLAN), plan, there, "give another --output_dir, or --overwrite", said)


def _said(plan):
    return ", ".join(f"{name} {value}" for name, value in plan["augmented"].items())


def finished(folder: str, task: Task, plan: Mapping[str, Any]) -> bool:
    """Whether a Task's features exist; ValueError where they exist but cannot be used."""
    if not os.path.isfile(files.shard_path(folder, task.name)):
        return False
    shard = files.read_shard(folder, task.name, plan)
    plans.check_source(files.shard_path(folder, task.name), task.path, shard.key, shard.number,
                       again="compute their features again into another folder")
    return True

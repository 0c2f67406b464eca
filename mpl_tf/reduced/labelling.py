"""Stores a trained network's distribution for every example of some shards (Section 3.2).

`label` does all of it. Its first and last steps, `begin` and `end`, are for programs that
distribute the shards themselves: data_prep.beam. The files are described in
datasets/prediction_files.py.
"""

from __future__ import annotations

import os
from typing import Sequence

from mpl_tf import config as config_module
from mpl_tf.common import command
from mpl_tf.datasets import plans, prediction_files as predictions
from mpl_tf.reduced import forward
from mpl_tf.run import run_folder
from mpl_tf.run.serving import Served, view_of
from mpl_tf.shards import reading, tfrecord

LEFT_OUT = ("test", "validation")   # splits that are predicted only when they are named


def label(model_dir: str, sources: Sequence[str], output_dir: str,
          splits: Sequence[str] | None = None, batch_size: int = 256, skip_corrupt: bool = False,
          shard_index: int = 0, num_shards: int = 1) -> None:
    """Writes the predictions that are still missing in `output_dir`, and prints the progress.

    Args:
      model_dir: folder of a finished run; its exported student sees each image as the run's
        evaluations do.
      sources: folders of shards, or "digits".
      output_dir: folder for the predictions: a new or empty one, or one that the same call began.
      splits: names of the splits to predict; None: all but LEFT_OUT.
      batch_size: images of a forward pass.
      skip_corrupt: leaves out and counts images that cannot be read.
      shard_index, num_shards: predicts only every num_shards-th shard, from number shard_index on,
        so that num_shards machines share the work.

    Raises:
      ValueError, FileNotFoundError: in one line, as of `plan_and_tasks`, `write_plan`, `finished`,
        serving.Served and forward.predict_shards.
    """
    plan, tasks, todo = begin(model_dir, sources, output_dir, splits, shard_index, num_shards)
    if todo:
        network = Served(model_dir, plan["view"]["size"], plan["num_classes"])
        forward.predict_all(output_dir, todo, plan, network, batch_size, skip_corrupt)
    end(output_dir, tasks)


def begin(model_dir, sources, output_dir, splits=None, shard_index=0, num_shards=1):
    """Checks everything and writes the plan; see `label` for the arguments.

    Returns:
      (plan, Tasks of all shards, Tasks that this call has to predict).
    """
    plan, tasks = plan_and_tasks(model_dir, sources, splits)
    os.makedirs(output_dir, exist_ok=True)
    write_plan(output_dir, plan)
    mine = tasks[shard_index::num_shards]
    todo = [task for task in mine if not finished(output_dir, task, plan)]
    if len(todo) < len(mine):
        print(f"continuing: {len(mine) - len(todo)} of {len(mine)} files are there", flush=True)
    return plan, tasks, todo


def end(output_dir, tasks):
    """Prints how many shards, of those in all `tasks`, are predicted."""
    there = sum(os.path.isfile(predictions.shard_path(output_dir, task.name)) for task in tasks)
    print(f"{output_dir}: {there} of {len(tasks)} files are predicted", flush=True)


def counted(output_dir, tasks):
    """Counts what the files of `tasks` hold: (images predicted, images skipped).

    So it can be told what workers did that report nothing but their end.

    Raises:
      ValueError: in one line: files are missing, or one is damaged.
    """
    missing = [task.name for task in tasks
               if not os.path.isfile(predictions.shard_path(output_dir, task.name))]
    if missing:
        raise ValueError(f"{output_dir}: the predictions of {len(missing)} of {len(tasks)} files "
                         f"are missing after the work's end, the first of {missing[0]}: expected "
                         "that all workers see this folder at this path; give a folder on a file "
                         "system that they share, and run the same command again")
    return tuple(sum(predictions.count(output_dir, task.name, array) for task in tasks)
                 for array in ("number", "skipped"))


def plan_and_tasks(model_dir, sources, splits=None):
    """Returns (contents of predictions.json, list of Tasks) for a run and source folders.

    Raises:
      ValueError, FileNotFoundError: in one line: there is no finished run, there are no shards, or
        two shards have the same name.
    """
    of_run = config_module.of(**{**run_folder.read_flags(model_dir), "model_dir": model_dir})
    model = predictions.model_fingerprint(model_dir)
    if not of_run.source.serves_images:
        raise ValueError(f"--model_dir={model_dir} classifies points: expected a run on images")
    names = run_folder.class_names(model_dir)
    if not names:
        raise ValueError(f"--model_dir={model_dir} has no {run_folder.CLASSES}: train it again")
    tasks, sizes = tasks_of(sources, splits, of_run.dataset)
    view = view_of(of_run)
    where = [source if source == "digits" else os.path.abspath(source) for source in sources]
    return predictions.plan_of(model, len(names), names, view["size"], view["crop"], where,
                               sizes), tasks


def tasks_of(sources, splits, dataset):
    """Returns (Tasks of all shards, {name: size in bytes}) of the source folders.

    Args:
      splits: names of the splits to predict; None: all but LEFT_OUT.
      dataset: name of the data set that the network was trained on.

    Raises:
      ValueError, FileNotFoundError: in one line: there are no shards, or two have the same name.
    """
    tasks, sizes = [], {}
    for source in sources:
        for task, size in tasks_of_one(source, splits, dataset):
            if task.name in sizes:
                raise ValueError(f"--source_dir={source} has a file {task.name}, as another "
                                 "--source_dir has: predict them into folders of their own, or "
                                 "prepare one with other names")
            tasks.append(task)
            sizes[task.name] = size
    absent = set(splits or ()) - {tfrecord.split_of(name) for name in sizes}
    if absent:
        raise ValueError(f"--splits={','.join(splits)}: no --source_dir has shards of "
                         f"{', '.join(sorted(absent))}; correct the names")
    return tasks, sizes


def tasks_of_one(source, splits, dataset):
    """Returns [(Task, size in bytes)] of one source folder, or of the digits; see `tasks_of`."""
    if source == "digits":
        if dataset != "digits":
            raise ValueError(f"--source_dir=digits with a network of {dataset}: expected a folder "
                             f"of shards with images like those of {dataset}")
        name = tfrecord.shard_name("train", 0, 1)
        return [(reading.Task(name, None), forward.digits().nbytes)]
    if dataset == "digits":
        raise ValueError(f"--source_dir={source} with a network of digits: use --source_dir=digits")
    command.require_folder(source, expected="a folder of shards, or digits")
    found = tfrecord.find_splits(source)
    if not found:
        raise FileNotFoundError(f"--source_dir={source} has no shards: expected files like "
                                f"{tfrecord.shard_name('train', 0, 8)}; prepare it first")
    chosen = splits or [split for split in found if split not in LEFT_OUT]
    if not set(chosen) & set(found):
        raise ValueError(f"--source_dir={source} has only shards of {', '.join(found)}, none of "
                         "which is to be predicted; name those to predict, for example "
                         f"--splits={','.join(found)}")
    paths = [path for split in chosen if split in found
             for path in tfrecord.find_shards(source, split)]
    return [(reading.Task(os.path.basename(path), path), os.path.getsize(path)) for path in paths]


def write_plan(folder, plan):
    """Writes predictions.json, or checks the one that is there: `plans.claim`."""
    plans.claim(os.path.join(folder, predictions.PLAN), plan, lambda: predictions.read_plan(folder),
                "predict into an empty folder")


def finished(folder, task, plan):
    """Whether a Task's predictions exist; ValueError where they exist but cannot be used."""
    if not os.path.isfile(predictions.shard_path(folder, task.name)):
        return False
    shard = predictions.read_shard(folder, task.name, plan)
    if task.path:
        plans.check_source(predictions.shard_path(folder, task.name), task.path, shard.key, shard.number)
    return True


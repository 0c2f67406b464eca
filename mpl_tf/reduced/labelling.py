"""A trained network's distribution for every example of some shards, written once (Section 3.2).

`label` does all of it. `begin` and `end` are its ends, for programs that share the files out
otherwise: data_prep.beam. What is written: see datasets/prediction_files.py.
"""

import os

from mpl_tf import config as config_module
from mpl_tf.common import storage
from mpl_tf.datasets import prediction_files as predictions
from mpl_tf.datasets.predictions import check_keys
from mpl_tf.reduced import forward
from mpl_tf.run import run_folder
from mpl_tf.run.serving import Served, view_of
from mpl_tf.shards import tfrecord

LEFT_OUT = ("test", "validation")   # splits that are predicted only when they are named


def label(model_dir, sources, output_dir, splits=None, batch_size=256, skip_corrupt=False,
          shard_index=0, num_shards=1):
    """Predicts what is still missing in `output_dir`, and prints how far that is.

    Args:
      model_dir: folder of a finished run; its exported student sees each image as the run's
        evaluations do.
      sources: list of folders of shards, or of "digits".
      output_dir: folder for the predictions, new, empty, or one that the same call began.
      splits: names of those to predict; None: all but LEFT_OUT.
      batch_size: images of a forward pass.
      skip_corrupt: leaves out, and counts, images that cannot be read.
      shard_index, num_shards: this machine, from 0, takes every num_shards-th file.

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
    """Checks everything and writes the plan; (plan, Tasks of all files, those left to do here)."""
    plan, tasks = plan_and_tasks(model_dir, sources, splits)
    os.makedirs(output_dir, exist_ok=True)
    write_plan(output_dir, plan)
    mine = tasks[shard_index::num_shards]
    todo = [task for task in mine if not finished(output_dir, task, plan)]
    if len(todo) < len(mine):
        print(f"continuing: {len(mine) - len(todo)} of {len(mine)} files are there", flush=True)
    return plan, tasks, todo


def end(output_dir, tasks):
    """Prints how many of the files of all `tasks` are predicted."""
    there = sum(os.path.isfile(predictions.shard_path(output_dir, task.name)) for task in tasks)
    print(f"{output_dir}: {there} of {len(tasks)} files are predicted", flush=True)


def plan_and_tasks(model_dir, sources, splits=None):
    """(predictions.json's content, the list of Tasks) of a run's folder and source folders.

    Raises:
      ValueError, FileNotFoundError: in one line: no finished run, no shards, or two files of the
        same name.
    """
    of_run = config_module.of(**run_folder.read_flags(model_dir))
    model = predictions.model_fingerprint(model_dir)
    if of_run.source.points:
        raise ValueError(f"model_dir={model_dir} classifies points: expected a network of images")
    names = storage.read_json(os.path.join(model_dir, run_folder.CLASSES))
    if not names:
        raise ValueError(f"model_dir={model_dir} has no {run_folder.CLASSES}: train it again")
    tasks, sizes = tasks_of(sources, splits, of_run.dataset)
    view = view_of(of_run)
    where = [source if source == "digits" else os.path.abspath(source) for source in sources]
    return predictions.plan_of(model, len(names), names, view["size"], view["crop"], where,
                               sizes), tasks


def tasks_of(sources, splits, dataset):
    """(Tasks of all files, {name: bytes}) of source folders, for a network of `dataset`.

    Args:
      splits: names of those to predict; None: all but LEFT_OUT.

    Raises:
      ValueError, FileNotFoundError: in one line: no shards, or two files of the same name.
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
        raise ValueError(f"--splits={','.join(splits)}: no source has shards of "
                         f"{', '.join(sorted(absent))}; correct it")
    return tasks, sizes


def tasks_of_one(source, splits, dataset):
    """[(Task, bytes)] of one source folder, or of the digits; see `tasks_of`."""
    if source == "digits":
        if dataset != "digits":
            raise ValueError(f"--source_dir=digits with a network of {dataset}: expected a folder "
                             "of its own images' kind")
        name = tfrecord.shard_name("train", 0, 1)
        return [(forward.Task(name, None), forward.digits().nbytes)]
    if dataset == "digits":
        raise ValueError(f"--source_dir={source} with a network of digits: use --source_dir=digits")
    if not os.path.isdir(source):
        found = "a file" if os.path.exists(source) else "nothing"
        raise FileNotFoundError(f"--source_dir={source}: {found} is there; expected a folder of "
                                "shards, or digits")
    found = tfrecord.find_splits(source)
    if not found:
        raise FileNotFoundError(f"--source_dir={source} has no shards: expected files like "
                                f"{tfrecord.shard_name('train', 0, 8)}; prepare it first")
    chosen = splits or [split for split in found if split not in LEFT_OUT]
    if not set(chosen) & set(found):
        raise ValueError(f"--source_dir={source} has shards of {', '.join(found)}: none of them is "
                         f"to be predicted; name some by --splits={','.join(found)}")
    paths = [path for split in chosen if split in found
             for path in tfrecord.find_shards(source, split)]
    return [(forward.Task(os.path.basename(path), path), os.path.getsize(path)) for path in paths]


def write_plan(folder, plan):
    """Writes predictions.json, or makes sure that the one there says the same."""
    path = os.path.join(folder, predictions.PLAN)
    if os.path.exists(path):
        old = predictions.read_plan(folder)
        wrong = [key for key in plan if key != "sources" and old[key] != plan[key]]
        if wrong:
            raise ValueError(f"{path} is of another {' and of other '.join(wrong)}: predict into "
                             "an empty folder, or delete this one")
        return
    foreign = sorted(name for name in os.listdir(folder)
                     if not name.startswith(storage.PARTIAL))
    if foreign:
        raise ValueError(f"--output_dir={folder} holds {foreign[0]!r} and no {predictions.PLAN}: "
                         "choose a new or empty folder")
    storage.write_json(path, plan, shared=True)     # several machines may begin together


def finished(folder, task, plan):
    """Whether the file of a Task is there; ValueError where it cannot be used."""
    if not os.path.isfile(predictions.shard_path(folder, task.name)):
        return False
    shard = predictions.read_shard(folder, task.name, plan)
    if task.path:
        problems = []
        offsets, lengths = tfrecord.scan(task.path, problems)

        def read(j):
            if shard.number[j] >= len(offsets):
                raise problems[0] if problems else tfrecord.CorruptRecord(
                    f"{task.path} has {len(offsets)} records, no number {shard.number[j]}")
            return tfrecord.read(task.path, offsets[shard.number[j]], lengths[shard.number[j]])

        check_keys(predictions.shard_path(folder, task.name), task.path, shard.key, shard.number,
                   read)
    return True


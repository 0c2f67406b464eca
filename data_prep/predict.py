"""A trained network's distribution for every example of some shards, written once (Section 3.2).

    python -m data_prep.predict --model_dir=RUN --source_dir=SHARDS [--source_dir=MORE] \\
        --output_dir=DIR [--shard_index=0 --num_shards=1]

RUN is the folder of a finished run, q_large's; its exported student sees each image as an
evaluation does. SHARDS is a folder that data_prep or Szegedy et al.'s program wrote, or `digits`.
Test and validation shards are left out unless --splits names them. An interrupted run continues;
on several machines each takes its part of the files by --shard_index, into the same folder or
into folders of their own whose files are put together afterwards.
"""

import os
import sys
import uuid

from data_prep import command
from data_prep import forward
from mpl_tf import config as config_module
from mpl_tf.common import storage
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.datasets import prediction_files as predictions
from mpl_tf.datasets.predictions import check_keys
from mpl_tf.run import run_folder
from mpl_tf.shards import tfrecord

LEFT_OUT = ("test", "validation")   # splits that are predicted only when --splits names them


def run(arguments):
    """Predicts as the command line says."""
    flags = parse(arguments)
    plan, tasks, todo = begin(flags)
    if todo:
        network = forward.Network(flags.model_dir, plan)
        forward.predict_all(flags.output_dir, todo, plan, network, flags.batch_size,
                            flags.skip_corrupt)
    end(flags, tasks)


def begin(flags):
    """Checks everything and writes the plan; (plan, Tasks of all files, those left to do here)."""
    plan, tasks = plan_and_tasks(flags.model_dir, flags.source_dir, flags.splits)
    os.makedirs(flags.output_dir, exist_ok=True)
    write_plan(flags.output_dir, plan)
    mine = tasks[flags.shard_index::flags.num_shards]
    todo = [task for task in mine if not finished(flags.output_dir, task, plan)]
    if len(todo) < len(mine):
        print(f"continuing: {len(mine) - len(todo)} of {len(mine)} files are there", flush=True)
    return plan, tasks, todo


def end(flags, tasks):
    """Says how much is done."""
    there = sum(os.path.isfile(predictions.shard_path(flags.output_dir, task.name))
                for task in tasks)
    print(f"{flags.output_dir}: {there} of {len(tasks)} files are predicted", flush=True)


def parse(arguments):
    """The command line's flags."""
    parser = Parser("data_prep.predict", __doc__)
    parser.add_argument("--model_dir", type=path_type, required=True, help="folder of q_large's finished run")
    parser.add_argument("--source_dir", type=path_type, required=True, action="append", help="folder of shards, or "
                        "digits; may be given several times")
    parser.add_argument("--output_dir", type=path_type, required=True, help="folder for the predictions")
    parser.add_argument("--splits", help="comma-separated (default: all but test and validation)")
    parser.add_argument("--shard_index", type=whole(0), default=0, help="of this machine, "
                        "from 0 (default: %(default)s)")
    parser.add_argument("--num_shards", type=whole(1), default=1, help="machines that "
                        "share the files (default: %(default)s)")
    parser.add_argument("--batch_size", type=whole(1), default=256, help="images of a "
                        "forward pass (default: %(default)s)")
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out, and count, images "
                        "that cannot be read; without it they are an error")
    flags = parser.parse_args(arguments)
    if flags.shard_index >= flags.num_shards:
        raise ValueError(f"--shard_index={flags.shard_index} with --num_shards={flags.num_shards}: "
                         f"expected 0 to {flags.num_shards - 1}; machines are counted from 0")
    return flags


def plan_and_tasks(folder, sources, splits=None):
    """(predictions.json's content, the list of Tasks) of a run's folder and source folders.

    Raises:
      ValueError, FileNotFoundError: in one line: no finished run, no shards, or two files of the
        same name.
    """
    of_run = config_module.of(**run_folder.read_flags(folder))
    model = predictions.model_fingerprint(folder)
    if of_run.dataset == "two_moons":
        raise ValueError(f"model_dir={folder} classifies points: expected a network of images")
    names = storage.read_json(os.path.join(folder, run_folder.CLASSES))
    if not names:
        raise ValueError(f"model_dir={folder} has no {run_folder.CLASSES}: train it again")
    tasks, sizes = tasks_of(sources, splits, of_run.dataset)
    size = of_run.image_size or {"digits": 8}.get(of_run.dataset, 32)
    crop = "inception" if of_run.image_size else "whole"
    where = [source if source == "digits" else os.path.abspath(source) for source in sources]
    return predictions.plan_of(model, len(names), names, size, crop, where, sizes), tasks


def tasks_of(sources, splits, dataset):
    """(Tasks of all files, {name: bytes}) of source folders, for a network of `dataset`."""
    tasks, sizes, splits = [], {}, splits.split(",") if splits else None
    for source in sources:
        for task, size in _tasks(source, splits, dataset):
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


def _tasks(source, splits, dataset):
    """[(Task, bytes)] of a source folder, or of the digits."""
    if source == "digits":
        if dataset != "digits":
            raise ValueError(f"--source_dir=digits with a network of {dataset}: expected a folder "
                             "of its own images' kind")
        name = tfrecord.shard_name("train", 0, 1)
        return [(forward.Task(name, None), forward.digits().nbytes)]
    if dataset == "digits":
        raise ValueError(f"--source_dir={source} with a network of digits: use --source_dir=digits")
    command.require_folder(source, expected="a folder of shards, or digits")
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
    temporary = os.path.join(folder, f"{storage.PARTIAL}{uuid.uuid4().hex}-{predictions.PLAN}")
    storage.write_json(temporary, plan)   # a name of its own: several machines may begin together
    os.replace(temporary, path)


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


if __name__ == "__main__":
    sys.exit(command.main(run))

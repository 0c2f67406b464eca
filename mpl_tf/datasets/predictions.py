"""Looks up the stored predictions (prediction_files.py) for the examples of a data set."""

import os
import tempfile

import numpy as np

from mpl_tf.common import room
from mpl_tf.datasets import prediction_files as files
from mpl_tf.datasets.prediction_files import AGAIN
from mpl_tf.shards import schema
from mpl_tf.shards.tfrecord import CorruptRecord, position

IN_MEMORY = 2 << 30     # bytes; more are left on disk
SAMPLE = 5              # records of a file whose keys are compared with those that are stored


def check_fits(folder, plan, num_classes, class_names=None):
    """Raises ValueError unless the predictions in `folder` are over these classes."""
    path = os.path.join(folder, files.PLAN)
    if plan["num_classes"] != num_classes:
        raise ValueError(f"{path} is of {plan['num_classes']} classes, but the data have "
                         f"{num_classes}: use predictions of a network that was trained on these "
                         "data")
    if class_names and plan["class_names"] and list(class_names) != plan["class_names"]:
        k = next(k for k in range(num_classes) if class_names[k] != plan["class_names"][k])
        raise ValueError(f"{path}: class {k} is {plan['class_names'][k]!r}, but "
                         f"{class_names[k]!r} in the data: use predictions of a network that was "
                         "trained on these data")


def load(folder, index, num_classes, class_names=None):
    """Returns the stored distribution for each of the N examples of an Index, in its order.

    Args:
      folder: the folder of predictions; shards are recognised by name and size.
      index: record_index.Index; it may hold an example several times.
      num_classes: K. class_names: those of the data, or None.

    Returns:
      float16 [N, K], a np.memmap if it takes more than IN_MEMORY bytes. A record that was skipped
      when the predictions were made has 1/K everywhere: training cannot read it either.

    Raises:
      ValueError: in one line: the predictions do not belong to these examples.
    """
    plan = files.read_plan(folder)
    check_fits(folder, plan, num_classes, class_names)
    probs = _empty(folder, len(index), num_classes)
    probs[:] = 1 / num_classes
    keys = []
    for i in np.unique(index.shard):
        name, examples = os.path.basename(index.paths[i]), np.flatnonzero(index.shard == i)
        shard = files.read_shard(folder, name, plan)
        if shard.bytes != index.sizes[i]:
            raise ValueError(f"{files.shard_path(folder, name)} is of a file of {shard.bytes} "
                             f"bytes, but {index.paths[i]} has {index.sizes[i]}: the data were "
                             "changed; predict them again into another folder")
        wanted = index.number[examples]
        rows = np.searchsorted(shard.number, wanted)
        found = np.take(np.append(shard.number, -1), rows, mode="clip") == wanted
        missing = np.setdiff1d(wanted[~found], shard.skipped)
        if len(missing):
            raise ValueError(f"{files.shard_path(folder, name)} lacks record {missing[0]} of "
                             f"{index.paths[i]} (and {len(missing) - 1} more): move it elsewhere, and "
                             f"{AGAIN}")
        probs[examples[found]] = shard.probs[rows[found]]
        check_keys(files.shard_path(folder, name), index.paths[i], shard.key[rows[found]],
                   wanted[found], lambda j, at=examples[found]: index.read(at[j]))
        keys.append(shard.key[np.unique(rows[found])])
    _check_unique(folder, np.concatenate(keys))
    return probs


def check_keys(path, source, keys, numbers, read,
               again="predict them, and select from them, again into other folders"):
    """Compares the keys of SAMPLE stored examples with the records of a shard.

    This is needed because a shard that was prepared again in another order may have the same name
    and the same size.

    Args:
      path: file of the stored examples. source: path of the shard.
      keys: bytes [n], the stored keys. numbers: int [n], the record of the shard that each has.
      read: function of j, 0 to n - 1, that returns the payload of record numbers[j].
      again: what to do where the records are others.

    Raises:
      ValueError: a record has another key than the stored one.
    """
    for j in sorted({int(j) for j in np.linspace(0, len(keys) - 1, SAMPLE)} if len(keys) else ()):
        try:
            record = schema.decode(read(j), position(source, numbers[j], 0), labels=False)
        except CorruptRecord:       # whoever needs its image will say so
            continue
        key = record.filename.encode("utf-8", "surrogateescape")
        if key != keys[j]:
            raise ValueError(f"{path}: record {numbers[j]} is of {files.shown(keys[j])}, but "
                             f"{source} has {files.shown(key)} there: the data were prepared again "
                             f"afterwards; {again}")


def load_for_arrays(folder, split, count, num_classes, class_names=None):
    """As `load`, for a data set in memory, whose examples are train_00000 to train_<count - 1>.

    Args:
      split: "train", for example; the predictions for all of its shards are read, in any order.
      count: N, how many examples the split has.

    Returns:
      float16 [N, K].

    Raises:
      ValueError: in one line: the predictions do not belong to these examples.
    """
    plan = files.read_plan(folder)
    check_fits(folder, plan, num_classes, class_names)
    names = files.splits_of(plan).get(split)
    if not names:
        raise ValueError(f"{folder} has no predictions of shards of {split!r}, only of "
                         f"{', '.join(map(repr, files.splits_of(plan))) or 'nothing'}: predict the "
                         "data set's own shards too")
    probs = np.zeros([count, num_classes], np.float16)
    seen = np.zeros(count, bool)
    for name in names:
        shard = files.read_shard(folder, name, plan)
        numbers = array_numbers(files.shard_path(folder, name), shard.key, split, count)
        twice = numbers[seen[numbers]]
        if len(twice):
            raise ValueError(f"{files.shard_path(folder, name)}: {split}_{twice[0]:05d} is "
                             "predicted twice: keep the files of one way of sharding, or predict "
                             "into an empty folder")
        seen[numbers], probs[numbers] = True, shard.probs
    if not seen.all():
        raise ValueError(f"{folder} lacks {int((~seen).sum())} of the {count} examples of "
                         f"{split!r}, the first is {split}_{int(np.argmin(seen)):05d}: predict all "
                         "of the data set's shards")
    return probs


def array_numbers(path, keys, split, count):
    """The numbers, int64 [n], in keys such as b"train_00042"; ValueError for any other key."""
    prefix = f"{split}_".encode()
    numbers = np.array([int(key[len(prefix):]) if key.startswith(prefix)
                        and key[len(prefix):].isdigit() else -1 for key in keys.tolist()], np.int64)
    if np.any((numbers < 0) | (numbers >= count)):
        raise ValueError(f"{path} has keys such as {files.shown(keys[0])}: expected {split}_00000 "
                         f"to {split}_{count - 1:05d}, as data_prep names the examples of this "
                         "data set; predict the shards that it wrote")
    return numbers


def _empty(folder, count, num_classes):
    """float16 [count, num_classes], in a nameless file beside the predictions if it is large."""
    if count * num_classes * 2 <= IN_MEMORY:
        return np.zeros([count, num_classes], np.float16)
    with room.named(folder), tempfile.TemporaryFile(dir=folder) as file:   # the mapping outlives it
        if hasattr(os, "posix_fallocate"):      # a full disk would end the process by a signal
            os.posix_fallocate(file.fileno(), 0, count * num_classes * 2)
        return np.memmap(file, np.float16, "w+", shape=(count, num_classes))


def _check_unique(folder, keys):
    keys, count = np.unique(keys, return_counts=True)
    if np.any(count > 1):
        raise ValueError(f"{folder}: the key {files.shown(keys[count > 1][0])} is predicted "
                         f"{count.max()} times, in several files: expected every example once; "
                         "give the images names of their own, and prepare and predict them again")

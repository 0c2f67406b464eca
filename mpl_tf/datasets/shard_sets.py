"""What data sets that stay in their shards are made of: indices, parts, other unlabeled images.

The shards are data_prep's, or those of Szegedy et al. as they are. An index says where every record
is; the first time in a folder without one, labeled files are read through, others' headers only, and
it is kept beside them.
"""

import contextlib
import logging
import os

import numpy as np

from mpl_tf.datasets import prepared
from mpl_tf.datasets.splits import Split, select
from mpl_tf.shards import record_index, tfrecord
from mpl_tf.shards.images import ShardImages

TEST_SPLITS = ("test", "validation")

log = logging.getLogger("mpl_tf")


def read_index(folder, split, num_classes=None, labeled=None, skip_corrupt=False):
    """The Index of a split's shards.

    Args:
      folder: with shards; data_prep's index beside them is used if it is there. Where there is
        none it is made, and kept there if the folder can be written.
      num_classes: labels are 0 to num_classes - 1.
      labeled: bool [number of shards]: whose labels are read where there is no index; None: all.
      skip_corrupt: leaves out, and tells, what cannot be used.

    Raises:
      ValueError, FileNotFoundError: in one line, for what is not there or cannot be used.
    """
    paths = tfrecord.find_shards(folder, split)
    labeled = np.ones(len(paths), bool) if labeled is None else labeled
    own = prepared.index_path(folder, split, labeled)
    ready = [path for path in (prepared.index_path(folder, split), own) if os.path.isfile(path)]
    if ready:
        index = record_index.load_index(ready[0])
        wrong = np.flatnonzero(index.label >= num_classes) if num_classes else []
        if len(wrong):
            raise tfrecord.CorruptRecord(
                f"{index.where(wrong[0])}: label {index.label[wrong[0]]} is outside "
                f"0-{num_classes - 1}: prepare the folder again")
        return index
    parts, complete = [], True
    for some in (True, False):
        chosen = [path for path, has in zip(paths, labeled) if has == some]
        if chosen:
            index, skipped = record_index.build_index(
                chosen, num_classes if some else None, some, skip_corrupt, progress=True)
            for line in skipped:
                log.warning("skipped: %s", line)
            complete &= not skipped
            parts.append(index)
    index = in_order_of(record_index.joined(parts), paths)
    if complete:
        with contextlib.suppress(OSError):      # a folder that only others write
            record_index.save_index(own, index)
    return index


def read_unlabeled(folder, split, skip_corrupt=False):
    """The Index of a split's shards whose labels, if there are any, do not matter."""
    shards = len(tfrecord.find_shards(folder, split))
    return read_index(folder, split, labeled=np.zeros(shards, bool), skip_corrupt=skip_corrupt)


def in_order_of(index, paths):
    """The Index with its shards in the order of `paths`."""
    place = {path: number for number, path in enumerate(paths)}
    new = np.array([place[path] for path in index.paths])
    sizes = np.zeros(len(paths), np.int64)
    sizes[new] = index.sizes
    shard = new[index.shard].astype(np.int32)
    order = np.argsort(shard, kind="stable")
    moved = index.subset(order)
    return record_index.Index(tuple(paths), sizes, shard[order], moved.number, moved.offset,
                              moved.length, moved.label)


def load_unlabeled(folder, image_size, crop, skip_corrupt=False):
    """ShardImages of all shards in `folder` but test sets, labels or not: --unlabeled_dir.

    crop: "whole" for images that were prepared at image_size, else "inception".
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"unlabeled_dir={folder}: there is no such folder; prepare one "
                                "with `python -m data_prep.unlabeled`")
    splits = sorted(tfrecord.find_splits(folder))
    if not splits:
        raise FileNotFoundError(f"unlabeled_dir={folder} has no shards: expected files like "
                                "unlabeled-00000-of-00008; prepare them with "
                                "`python -m data_prep.unlabeled`")
    kept = [split for split in splits if split not in TEST_SPLITS]
    if not kept:
        raise ValueError(f"unlabeled_dir={folder} has shards of {', '.join(splits)} only, which are "
                         "for testing: expected others; choose another folder")
    return ShardImages(record_index.joined([
        read_unlabeled(folder, split, skip_corrupt) for split in kept]), image_size, crop,
        skip_corrupt)


def folder(data_dir, name, how):
    """data_dir as a str; FileNotFoundError, in one line, where none is given.

    name: of the data set. how: the command that says how its shards are made.
    """
    if not data_dir:
        raise FileNotFoundError(f"data_dir is missing: {name} is read from shards that you have "
                                f"prepared; see {how}, and add --data_dir=DIR")
    return os.fspath(data_dir)


def class_names(sidecar):
    """The K names, a tuple, in a dataset.json; () where it has none, or there is none."""
    return tuple(sidecar.get("class_names") or ()) if sidecar else ()


def parts(train, may, held, num_classes, count, selection, seed, holdout):
    """(labeled, unlabeled, held) examples of an Index, int arrays.

    may: bool [N], the examples that may have labels. held: bool [N], those held out in any case.
    """
    candidates = np.flatnonzero(may)
    labels = train.label[candidates].astype(np.int64)
    chosen = candidates[select(labels, count or len(labels), selection, seed, num_classes,
                               holdout)]
    labeled, more = chosen[:len(chosen) - holdout], chosen[len(chosen) - holdout:]
    held = held.copy()
    held[more] = True
    return labeled, np.flatnonzero(~held), np.flatnonzero(held)


def as_images(train, labeled, unlabeled, held, test, image_size, skip_corrupt):
    """(labeled Split, unlabeled images, test Split, holdout Split or None) of `parts`' examples.

    train, test: Index. labeled, unlabeled, held: examples of train, int arrays.
    """
    def split(index):
        return Split(ShardImages(index, image_size, "inception", skip_corrupt),
                     index.label.astype(np.int64))

    return (split(train.subset(labeled)),
            ShardImages(train.subset(unlabeled), image_size, "inception", skip_corrupt),
            split(test), split(train.subset(held)) if len(held) else None)

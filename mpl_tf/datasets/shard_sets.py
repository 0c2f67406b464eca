"""Common steps of the data sets in shards: index the records, split them, find more unlabeled ones.

The shards are data_prep's or, unchanged, those of Szegedy et al. An index says where every record
is. A folder without one is indexed when it is first used: labeled shards are read completely, of
unlabeled ones only the headers, and the index is kept beside them.
"""

import contextlib
import logging
import os

import numpy as np

from mpl_tf.datasets import prepared
from mpl_tf.datasets.splits import Split, select
from mpl_tf.shards import record_index, schema, tfrecord
from mpl_tf.shards.images import ShardImages

TEST_SPLITS = ("test", "validation")

log = logging.getLogger("mpl_tf")


def read_index(folder, split, num_classes=None, labeled=None, skip_corrupt=False):
    """Returns the Index of a split's shards.

    Args:
      folder: folder of the shards. An index in it is used; where there is none, or this function made it
        and a shard of the same size was written since, one is made, and kept there if the folder is writable.
      num_classes: labels must be 0 to num_classes - 1; None: any label is right.
      labeled: bool [number of shards], whose records get labels where an index is made; None: all.
      skip_corrupt: leaves out records that cannot be used, and logs them.

    Raises:
      ValueError, FileNotFoundError: in one line: a shard is missing or cannot be used, or what
        dataset.json says of the split is not what is there.
    """
    prepared.check_finished(folder)
    paths = tfrecord.find_shards(folder, split)
    labeled = np.ones(len(paths), bool) if labeled is None else labeled
    own = prepared.index_path(folder, split, labeled)
    ready = [path for path in (prepared.index_path(folder, split), own) if os.path.isfile(path)]
    index = record_index.load_index(ready[0]) if ready else None
    times = record_index.times_of(paths)        # before they are read: who writes meanwhile is seen next time
    if index is not None and ready[0] == own and not record_index.is_of(own, times):
        log.warning("%s: shards of %r were written since they were indexed: they are indexed again", folder, split)
        index = None
    if index is not None:
        wrong = np.flatnonzero(index.label >= num_classes) if num_classes else []
        if len(wrong):
            raise tfrecord.CorruptRecord(schema.outside(
                index.where(wrong[0]), index.label[wrong[0]], num_classes))
        prepared.check_counts(folder, split, index)
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
    prepared.check_counts(folder, split, index, fewer=not complete)
    if complete:
        with contextlib.suppress(OSError):      # a folder that only others write
            record_index.save_index(own, index, times)
    return index


def read_unlabeled(folder, split, skip_corrupt=False):
    """The Index of a split's shards without reading labels, whether or not there are any."""
    shards = len(tfrecord.find_shards(folder, split))
    return read_index(folder, split, labeled=np.zeros(shards, bool), skip_corrupt=skip_corrupt)


def in_order_of(index, paths):
    """The same Index with its shards, and so its records, in the order of `paths`."""
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
    """Returns ShardImages of all shards in `folder`, which is --unlabeled_dir.

    Labels are ignored, and the splits in TEST_SPLITS left out.

    Args:
      image_size: side of the images, pixels.
      crop: "whole" for images that were prepared at image_size, else "inception".

    Raises:
      ValueError, FileNotFoundError: in one line: there are no such shards, or they cannot be used.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--unlabeled_dir={folder}: there is no such folder; prepare one "
                                "with `python -m data_prep.unlabeled`")
    splits = sorted(tfrecord.find_splits(folder))
    if not splits:
        raise FileNotFoundError(f"--unlabeled_dir={folder} has no shards: expected files like "
                                "unlabeled-00000-of-00008; prepare them with "
                                "`python -m data_prep.unlabeled`")
    kept = [split for split in splits if split not in TEST_SPLITS]
    if not kept:
        raise ValueError(f"--unlabeled_dir={folder} has only shards of {', '.join(splits)}, which are "
                         "for testing; choose a folder with others")
    return ShardImages(record_index.joined([
        read_unlabeled(folder, split, skip_corrupt) for split in kept]), image_size, crop,
        skip_corrupt)


def folder(data_dir, name, how):
    """Returns data_dir as a str.

    Args:
      name: of the data set. how: the command that says how its shards are made.

    Raises:
      FileNotFoundError: in one line, where data_dir is None or empty.
    """
    if not data_dir:
        raise FileNotFoundError(f"data_dir is missing: {name} is read from shards that you have "
                                f"prepared; see {how}, and add --data_dir=DIR")
    return os.fspath(data_dir)


def class_names(sidecar):
    """The class names in a dataset.json, a tuple; () where it has none or is None."""
    return tuple(sidecar.get("class_names") or ()) if sidecar else ()


def parts(train, may, held, num_classes, count, selection, seed, holdout):
    """Splits the N examples of an Index; returns (labeled, unlabeled, held out), int arrays.

    Args:
      train: the Index.
      may: bool [N], the examples that may have labels. held: bool [N], those held out in any case.
      num_classes, selection, seed, holdout: see splits.select.
      count: how many examples have labels, those that `holdout` takes away included; 0: all.
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
    """Makes images of the examples that `parts` returned.

    Args:
      train, test: Index. labeled, unlabeled, held: examples of train, int arrays.
      image_size: side of the images, pixels. skip_corrupt: see ShardImages.

    Returns:
      (labeled Split, unlabeled images, test Split, holdout Split or None).
    """
    def split(index, every_class=False):
        return Split(ShardImages(index, image_size, "inception", skip_corrupt, every_class),
                     index.label.astype(np.int64))

    return (split(train.subset(labeled), every_class=True),
            ShardImages(train.subset(unlabeled), image_size, "inception", skip_corrupt),
            split(test), split(train.subset(held)) if len(held) else None)

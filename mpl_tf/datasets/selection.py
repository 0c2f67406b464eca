"""Reads and writes a selection: the most confidently predicted unlabeled examples of each class.

A student learns on these examples alone (Section 3.2). `python -m data_prep.select` writes a
folder with:

    selection.npz       the M selected examples, class by class: see Selection
    selection.json      the predictions and options they were selected by, the sha256 of
                        selection.npz, and a report
    selection.png       some of the images

TensorFlow is not imported here.
"""

import dataclasses
import logging
import os

import numpy as np

from mpl_tf.common import arrays, storage
from mpl_tf.common.structure import WHOLE
from mpl_tf.datasets.predictions import array_numbers, check_keys
from mpl_tf.shards.tfrecord import split_of

ARRAYS, REPORT, MONTAGE = "selection.npz", "selection.json", "selection.png"
_COLUMNS = ("shard", "number", "key", "label", "confidence")
AGAIN = "select again with `python -m data_prep.select`"
log = logging.getLogger("mpl_tf")


@dataclasses.dataclass(frozen=True)
class Selection:
    """M examples; one may be there several times.

    Attributes:
      shards: tuple of str, names of the shards. sizes: int64 [number of shards], bytes of each.
      shard, number: int32 [M], the index of the example's shard in `shards`, and the number of its
        record there.
      key: bytes [M] (dtype S), see prediction_files.Shard.
      label: int32 [M], the class that the example was selected for.
      confidence: float32 [M], the probability of that class.
    """
    shards: tuple
    sizes: np.ndarray
    shard: np.ndarray
    number: np.ndarray
    key: np.ndarray
    label: np.ndarray
    confidence: np.ndarray


def save(folder, selection, report):
    """Writes a Selection and its report, a dict with "model" and "num_classes"."""
    path = os.path.join(folder, ARRAYS)
    arrays.write(path, dataclasses.asdict(selection))
    storage.write_json(os.path.join(folder, REPORT), {**report, "sha256": storage.sha256(path)})


def load(folder, plan=None):
    """Reads the Selection in a folder.

    Args:
      plan: the plan of the predictions (prediction_files.read_plan) that it has to be made of, or
        None for any.

    Raises:
      ValueError: in one line: there is no selection, it is damaged, or it was made of another
        network's predictions.
    """
    path = os.path.join(folder, ARRAYS)
    report = storage.read_json(os.path.join(folder, REPORT), AGAIN,
                               {"model": str, "num_classes": WHOLE, "sha256": str})
    if report is None or not os.path.isfile(path):
        raise ValueError(f"--selection={folder} holds no selection: expected {ARRAYS} and {REPORT}; "
                         "write them with `python -m data_prep.select`, or correct the path")
    if storage.sha256(path) != report["sha256"]:
        raise ValueError(f"{path} is not the one that {REPORT} is of: one of them is damaged or "
                         f"was changed; {AGAIN}")
    try:
        found = arrays.read(path, [field.name for field in dataclasses.fields(Selection)])
    except ValueError as error:
        raise ValueError(f"{path} is no selection ({error}): {AGAIN}") from error
    chosen = Selection(**{**found, "shards": tuple(str(name) for name in found["shards"])})
    if (len({len(getattr(chosen, name)) for name in _COLUMNS}) != 1
            or len(chosen.sizes) != len(chosen.shards)
            or any(((of < 0) | (of >= most)).any() for of, most in (
                (chosen.shard, len(chosen.shards)), (chosen.label, report["num_classes"])))):
        raise ValueError(f"{path} is no selection, its arrays do not belong together: {AGAIN}")
    if plan and (report["model"], report["num_classes"]) != (plan["model"], plan["num_classes"]):
        raise ValueError(f"{path} was selected by predictions of another network than the "
                         f"predictions to learn from: {AGAIN}")
    return chosen


def positions(folder, index, plan=None):
    """Returns the positions of the selected examples in an Index, int64 [at most M].

    Repeated examples stay repeated. Selected examples that the Index does not hold, because they
    are held out, are left out, and the log says how many.

    Raises:
      ValueError: as `load`; or a shard of the selection is not one of the Index's, or has changed.
    """
    chosen = load(folder, plan)
    place = {os.path.basename(path): i for i, path in enumerate(index.paths)}
    for i in np.unique(chosen.shard):
        name, size = chosen.shards[i], chosen.sizes[i]
        if name not in place or index.sizes[place[name]] != size:
            found = (f"has {index.sizes[place[name]]} bytes there" if name in place else
                     "is not there")
            raise ValueError(f"--selection={folder} has examples of {name} ({size} bytes), which "
                             f"{found}: name the folder that was predicted and selected from, or "
                             "select again")
    shard = np.array([place.get(name, -1) for name in chosen.shards])[chosen.shard]
    combined = index.shard.astype(np.int64) << 32 | index.number
    order = np.argsort(combined, kind="stable")
    wanted = shard.astype(np.int64) << 32 | chosen.number
    at = np.searchsorted(combined[order], wanted)
    at = order[np.minimum(at, len(order) - 1)]
    found = combined[at] == wanted
    for i in np.unique(chosen.shard[found]):
        rows = np.flatnonzero(found & (chosen.shard == i))
        check_keys(os.path.join(folder, ARRAYS), index.paths[place[chosen.shards[i]]],
                   chosen.key[rows], chosen.number[rows],
                   lambda j, rows=rows: index.read(at[rows[j]]))
    return _found(folder, at, found)


def positions_in_arrays(folder, counts, keep, plan=None):
    """As `positions`, for a data set in memory.

    Args:
      counts: {split: number of examples} in the order in which the splits are concatenated.
      keep: bool [N], which of all examples may be used: those not held out.
    """
    chosen = load(folder, plan)
    splits = np.array([split_of(name) for name in chosen.shards])[chosen.shard]
    first, at = 0, np.full(len(chosen.key), -1, np.int64)
    for split, count in counts.items():
        of_split = splits == split
        at[of_split] = first + array_numbers(
            os.path.join(folder, ARRAYS), chosen.key[of_split], split, count)
        first += count
    if (at < 0).any():
        raise ValueError(f"--selection={folder} has examples of the split {splits[at < 0][0]!r}, but "
                         f"the data set has only {', '.join(counts)}: give the folder of their "
                         "shards as unlabeled_dir, or select again")
    return _found(folder, at, keep[at])


def _found(folder, at, found):
    if not found.any():
        raise ValueError(f"--selection={folder}: none of its {len(at)} examples are among the "
                         "unlabeled ones; select from those with `python -m data_prep.select`")
    if not found.all():
        log.warning("%d of the %d selected examples are held out or are not among the unlabeled "
                    "ones; they are left out", int((~found).sum()), len(at))
    return at[found]


def fingerprint(folder):
    """sha256 of the selection in a folder; ValueError as `load`."""
    load(folder)
    return storage.sha256(os.path.join(folder, ARRAYS))

"""Reads and writes stored features: what a pretrained network makes of each image of some shards.

`python -m data_prep.features` writes a folder of features:

    features.json           which backbone, how it saw the images, and which shards: see PLAN_CONTENTS
    backbone.keras          the backbone itself: images in [-1, 1] -> features [B, F]
    <name of a shard>.npz   the features of one shard's images: see Shard

Every .npz names its backbone and the settings of the views, so files from several machines may be put
into one folder. TensorFlow is not imported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from typing import Any, Mapping

import numpy as np

from mpl_tf.common import arrays, storage
from mpl_tf.common.structure import WHOLE
from mpl_tf.shards.tfrecord import split_of

PLAN, BACKBONE = "features.json", "backbone.keras"
VERSION = 1         # of the files and of how views are made: others are refused
TEST_SPLITS = ("test", "validation")    # of these no augmented views are made
CONTENTS = {        # of PLAN, as structure.py describes it
    "version": WHOLE,
    "backbone": {"name": str, "digest": str, "features": WHOLE},
    "view": {"size": WHOLE, "crop": str},
    "augmented": {"views": WHOLE, "seed": WHOLE, "flip": bool, "randaugment_layers": WHOLE,
                  "randaugment_magnitude": float, "cutout": WHOLE},
    "class_names": [str], "sources": [str], "labeled": [str],
    "shards": {...: {"bytes": WHOLE, "records": (WHOLE, None), "sha256?": str}}}
AGAIN = "write it again with `python -m data_prep.features`"
_KINDS = {"key": "S", "number": "i", "label": "i", "features": "f", "skipped": "i", "plan": "U",
          "bytes": "i"}


@dataclasses.dataclass(frozen=True)
class Shard:
    """The features of the n images of one shard that could be read, in the order of its records.

    Attributes:
      key: bytes [n] (dtype S), the file name of each image, by which it is recognised.
      number: int32 [n], increasing: the number of the image's record in the shard.
      label: int32 [n], 0-based; -1 for an image without one.
      features: float16 [n, V, F]. View 0 is the image as evaluations see it; then come `views` weak
        ones and as many strong ones, but for splits in TEST_SPLITS, where V is 1.
      skipped: int32 [m], numbers of the records that could not be used.
      plan: `made_by` of the plan. bytes: int, size of the shard's file in bytes.
    """
    key: np.ndarray
    number: np.ndarray
    label: np.ndarray
    features: np.ndarray
    skipped: np.ndarray
    plan: str
    bytes: int


def made_by(plan: Mapping[str, Any]) -> str:
    """A digest of everything on which the features of an image depend, but for the image."""
    text = json.dumps([plan[key] for key in ("version", "backbone", "view", "augmented")],
                      sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def count_of_views(plan: Mapping[str, Any], name: str) -> int:
    """How many views of each image the features of the shard `name` have."""
    return 1 if split_of(name) in TEST_SPLITS else 1 + 2 * plan["augmented"]["views"]


def read_plan(folder: str) -> dict[str, Any]:
    """Reads features.json of a folder.

    Raises:
      ValueError: in one line: the file is missing, of another version, or data_prep.features did not
        write it.
    """
    path = os.path.join(folder, PLAN)
    remedy = ("expected a folder of features; write one with `python -m data_prep.features`, or "
              "correct the path")
    version = storage.read_json(path, remedy, {"version": WHOLE})
    if version is None:
        raise ValueError(f"{path} is missing: {remedy}")
    if version["version"] != VERSION:
        raise ValueError(f"{path} is of version {version['version']}, and this program reads version "
                         f"{VERSION}: {AGAIN} into an empty folder")
    plan = storage.read_json(path, remedy, CONTENTS)
    if not plan["shards"] or len(plan["class_names"]) < 2 or not plan["backbone"]["features"]:
        raise ValueError(f"{path} is damaged, it has {len(plan['shards'])} shards, "
                         f"{len(plan['class_names'])} classes and {plan['backbone']['features']} "
                         f"features: {remedy}")
    return plan


def remove_shards(folder: str) -> bool:
    """Removes the features and the backbone that a folder's plan names, and nothing else.

    features.json stays: it says whose the files are until another replaces it.

    Returns:
      Whether there is a plan.

    Raises:
      ValueError: in one line, as `read_plan`: whose the files are cannot be told.
    """
    if not os.path.lexists(os.path.join(folder, PLAN)):
        return False
    names = [name for name in read_plan(folder)["shards"] if os.path.basename(name) == name]
    for path in (*(shard_path(folder, name) for name in names), os.path.join(folder, BACKBONE)):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    return True


def splits_of(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """The shards of a plan by split: {split: sorted list of names}."""
    splits: dict[str, list[str]] = {}
    for name in sorted(plan["shards"]):
        splits.setdefault(split_of(name), []).append(name)
    return splits


def shard_path(folder: str, name: str) -> str:
    """The path of the features of the shard `name`."""
    return os.path.join(folder, f"{name}.npz")


def write_shard(path: str, shard: Shard) -> None:
    """Writes a Shard, whole or not at all.

    Raises:
      ValueError: a feature is no number that float16 can hold, see `check`.
    """
    check(path, shard.features)
    arrays.write(path, dataclasses.asdict(shard), shared=True)


def check(path: str, features: np.ndarray) -> None:
    """Raises ValueError unless all features [n, V, F] are numbers of a size that float16 can hold."""
    wrong = ~np.isfinite(features).all(axis=(1, 2))
    if wrong.any():
        raise ValueError(f"{path}: image {int(np.flatnonzero(wrong)[0])} has features that are no "
                         f"numbers below 65,504 ({int(wrong.sum())} such images): use a backbone "
                         "whose features are normalized, with its weights")


def read_shard(folder: str, name: str, plan: Mapping[str, Any]) -> Shard:
    """Reads and checks the Shard called `name` in the plan.

    Raises:
      ValueError: in one line: it is missing or damaged, or belongs to another backbone, to other views
        or to another file.
    """
    path = shard_path(folder, name)
    if not os.path.isfile(path):
        raise ValueError(_missing(path))
    try:
        found = arrays.read(path, _KINDS)
        shard = Shard(**{**found, "plan": str(found["plan"]), "bytes": int(found["bytes"])})
        n = len(shard.key)
        if (shard.number.shape != (n,) or shard.label.shape != (n,) or shard.features.ndim != 3
                or len(shard.features) != n
                or any(found[key].dtype.kind != kind for key, kind in _KINDS.items()
                       if found[key].size)):
            raise ValueError("its arrays do not belong together")
    except arrays.DAMAGED as error:
        raise ValueError(_unread(path, error)) from error
    if shard.plan != made_by(plan):
        raise ValueError(f"{path} is of another backbone or other views than {PLAN} says: move it "
                         f"elsewhere, and {AGAIN}")
    expected = (count_of_views(plan, name), plan["backbone"]["features"])
    if shard.features.shape[1:] != expected:
        raise ValueError(f"{path} has {shard.features.shape[1]} views of {shard.features.shape[2]} "
                         f"features, but {PLAN} says {expected[0]} of {expected[1]}: move it "
                         f"elsewhere, and {AGAIN}")
    if shard.bytes != plan["shards"][name]["bytes"]:
        raise ValueError(f"{path} is of a file {name} of {shard.bytes} bytes, but the one that "
                         f"{PLAN} lists has {plan['shards'][name]['bytes']}: move it elsewhere, and "
                         f"{AGAIN}")
    numbers = np.sort(np.concatenate([shard.number, shard.skipped]))
    if np.any(np.diff(shard.number) <= 0) or not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(f"{path}: its {len(numbers)} records are not numbered 0 to "
                         f"{len(numbers) - 1}, each once: delete the file, and {AGAIN}")
    check(path, shard.features)
    return shard


def _missing(path):
    return (f"{path} is missing: run the same `python -m data_prep.features` to the end, with every "
            "--shard_index")


def _unread(path, error):
    """One line of why the features in `path` cannot be read. Not every reason is damage."""
    if isinstance(error, FileNotFoundError):
        return _missing(path)
    # NumPy and zipfile look for what damaged files name in places that are none: EINVAL.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return (f"{path} cannot be read ({error.strerror}): give this process permission to read it, "
                "and see that its disk is there")
    reason = " ".join(str(error).split())[:120]
    return f"{path} is damaged ({reason}): move it elsewhere, and {AGAIN}"


def fingerprint(folder: str, plan: Mapping[str, Any]) -> str:
    """sha256 of the contents of a folder of features, from the checksums inside its files.

    Raises:
      ValueError: the features of a shard of the plan are missing or damaged.
    """
    digest = hashlib.sha256(made_by(plan).encode())
    for name in sorted(plan["shards"]):
        path = shard_path(folder, name)
        try:
            digest.update(repr((name, arrays.members(path))).encode())
        except arrays.DAMAGED as error:
            raise ValueError(_unread(path, error)) from error
    return digest.hexdigest()

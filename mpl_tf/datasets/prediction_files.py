"""Reads and writes stored predictions: a large network's distribution for each example.

The network is Section 3.2's q_large. `python -m data_prep.predict` writes a folder of predictions:

    predictions.json        which network predicted, and which shards: see `plan_of`
    <name of a shard>.npz   the predictions for one shard: see Shard

Every .npz names its network, so files from several machines may be put into one folder. TensorFlow
is not imported here.
"""

import dataclasses
import errno
import hashlib
import os
import zipfile

import numpy as np

from mpl_tf.common import arrays, storage
from mpl_tf.common.structure import WHOLE
from mpl_tf.shards.tfrecord import split_of

PLAN = "predictions.json"
CONTENTS = {        # of PLAN, as structure.py describes it
    "model": str, "num_classes": WHOLE, "class_names": ([str], None),
    "view": {"size": WHOLE, "crop": str}, "sources": [str], "shards": {...: WHOLE}}
TOLERANCE = 1e-2    # of a stored sum: float16 rounds each of K probabilities by up to 1/2048 of it
AGAIN = "write it again with `python -m data_prep.predict`"
_KINDS = {"key": "S", "number": "i", "probs": "f", "top": "i", "rest": "f", "skipped": "i",
          "model": "U", "bytes": "i"}


@dataclasses.dataclass(frozen=True)
class Shard:
    """The predictions for the n examples of one shard, in the order of its records.

    Attributes:
      key: bytes [n] (dtype S), the file name of each example, by which it is recognised.
      number: int32 [n], increasing: the number of the example's record in the shard.
      probs: float16 [n, K], the distribution over the classes.
      top: int32 [n], the likeliest class, before rounding to float16.
      rest: float32 [n], one minus the likeliest class's probability, computed as the sum of the
        other classes' probabilities: it still ranks examples whose probability is 1 in float16.
      skipped: int32 [m], numbers of the records that could not be used.
      model: fingerprint of the network. bytes: int, size of the shard's file in bytes.
    """
    key: np.ndarray
    number: np.ndarray
    probs: np.ndarray
    top: np.ndarray
    rest: np.ndarray
    skipped: np.ndarray
    model: str
    bytes: int


def model_fingerprint(folder):
    """sha256 of the exported student's weights in the folder of a finished run.

    Raises:
      ValueError: the folder has no saved_model.
    """
    path = os.path.join(folder, "saved_model", "variables", "variables.data-00000-of-00001")
    if not os.path.isfile(path):
        raise ValueError(f"--model_dir={folder} has no saved_model: the run is not finished, or "
                         "has --noexport; give the command that trained it again, with --export")
    return storage.sha256(path)


def plan_of(model, num_classes, class_names, size, crop, sources, shards):
    """Returns the contents of predictions.json, a dict.

    Args:
      model: fingerprint of the network. num_classes: K. class_names: list of str, or None.
      size, crop: how the network saw the images, see shards.images.ShardImages.
      sources: list of str, the folders of the shards, for people and montages.
      shards: {name: size in bytes} of all shards that are to be predicted.
    """
    return {"model": model, "num_classes": num_classes, "class_names": class_names,
            "view": {"size": size, "crop": crop}, "sources": sources, "shards": shards}


def read_plan(folder):
    """Reads predictions.json of a folder, a dict.

    Raises:
      ValueError: in one line: the file is missing, or data_prep.predict did not write it.
    """
    path = os.path.join(folder, PLAN)
    remedy = ("expected a folder of predictions; write one with `python -m data_prep.predict`, or "
              "correct the path")
    plan = storage.read_json(path, remedy, CONTENTS)
    if plan is None:
        raise ValueError(f"{path} is missing: {remedy}")
    names = plan["class_names"]
    if set(plan) != set(CONTENTS) or not plan["shards"] or (
            names is not None and len(names) != plan["num_classes"]):
        raise ValueError(f"{path} is damaged, it has {', '.join(plan)} with {len(plan['shards'])} "
                         f"shards, {plan['num_classes']} classes and {len(names or ())} names of "
                         f"them: {remedy}")
    return plan


def shard_path(folder, name):
    """The path of the predictions for the shard `name`."""
    return os.path.join(folder, f"{name}.npz")


def write_shard(path, shard):
    """Writes a Shard, whole or not at all.

    Raises:
      ValueError: a row is no distribution, see `check`.
    """
    check(path, shard.probs)
    arrays.write(path, dataclasses.asdict(shard), shared=True)


def check(path, probs):
    """Raises ValueError unless each row of `probs`, [n, K], is a distribution up to TOLERANCE."""
    sums = probs.sum(axis=1, dtype=np.float64)
    wrong = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= TOLERANCE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = ("NaN" if np.isnan(probs[row]).any() else "a negative probability"
                 if (probs[row] < 0).any() else f"a sum of {sums[row]:.4g}")
        raise ValueError(f"{path}: row {row} has {found} ({int(wrong.sum())} such rows): expected "
                         f"distributions that sum to 1 within {TOLERANCE:g}; {AGAIN}")


def read_shard(folder, name, plan):
    """Reads and checks the Shard called `name` in the plan.

    Raises:
      ValueError: in one line: it is missing or damaged, belongs to another network, to another
        number of classes or to another file, has a key twice, or has rows that are no
        distributions.
    """
    path = shard_path(folder, name)
    if name not in plan["shards"]:
        raise ValueError(f"{folder} has no predictions of {name}, only of "
                         f"{len(plan['shards'])} files such as {min(plan['shards'])}: predict "
                         "its folder too, or name another folder of predictions")
    if not os.path.isfile(path):
        raise ValueError(f"{path} is missing: {name} has not been predicted; run the same "
                         "`python -m data_prep.predict` to the end, with every --shard_index")
    try:
        found = arrays.read(path, _KINDS)
        shard = Shard(**{**found, "model": str(found["model"]), "bytes": int(found["bytes"])})
        n = len(shard.key)
        if (shard.number.shape != (n,) or shard.top.shape != (n,) or shard.rest.shape != (n,)
                or shard.probs.ndim != 2 or len(shard.probs) != n
                or any(found[key].dtype.kind != kind for key, kind in _KINDS.items()
                       if found[key].size)):
            raise ValueError("its arrays do not belong together")
    except arrays.DAMAGED as error:
        raise ValueError(_unread(path, error)) from error
    if shard.model != plan["model"]:
        raise ValueError(f"{path} is of another network than {PLAN} ({shard.model[:12]} instead "
                         f"of {plan['model'][:12]}): move it elsewhere, and {AGAIN}")
    if shard.probs.shape[1] != plan["num_classes"]:
        raise ValueError(f"{path} has {shard.probs.shape[1]} classes instead of "
                         f"{plan['num_classes']}: move it elsewhere, and {AGAIN}")
    if shard.bytes != plan["shards"][name]:
        raise ValueError(f"{path} is of a file {name} of {shard.bytes} bytes, but the one that "
                         f"{PLAN} lists has {plan['shards'][name]}: move it elsewhere, and {AGAIN}")
    _check_numbers(path, shard)
    check(path, shard.probs)
    _check_ranks(path, shard)
    return shard


def count(folder, name, array="number"):
    """Reads from the header of a shard's predictions how many examples they are for.

    Args:
      folder: of the predictions. name: of the shard.
      array: "number" counts the examples that were predicted, "skipped" those that could not be
        used.

    Raises:
      ValueError: in one line: the file is missing or damaged.
    """
    path = shard_path(folder, name)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{array}.npy") as file:
            np.lib.format.read_magic(file)
            return np.lib.format.read_array_header_1_0(file)[0][0]
    except arrays.DAMAGED as error:
        raise ValueError(_unread(path, error)) from error


def _unread(path, error):
    """One line of why the predictions in `path` cannot be read. Not every reason is damage."""
    if isinstance(error, FileNotFoundError):
        return (f"{path} is missing: run the same `python -m data_prep.predict` to the end, with "
                "every --shard_index")
    # NumPy and zipfile look for what damaged files name in places that are none: EINVAL.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return (f"{path} cannot be read ({error.strerror}): give this process permission to read it, "
                "and see that its disk is there")
    reason = " ".join(str(error).split())[:120]
    return f"{path} is damaged ({reason}): move it elsewhere, and {AGAIN}"


def _check_ranks(path, shard):
    """Raises ValueError unless `top` and `rest` agree with the distributions."""
    if not len(shard.top):
        return
    if shard.top.min() < 0 or shard.top.max() >= shard.probs.shape[1]:
        wrong = (shard.top < 0) | (shard.top >= shard.probs.shape[1])
    else:
        probs = shard.probs.astype(np.float32)
        top = probs[np.arange(len(probs)), shard.top]
        wrong = (top < probs.max(axis=1)) | ~(np.abs(1 - shard.rest - top) <= TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{path}: row {row} gives class {shard.top[row]} as the likeliest, with "
                         f"probability {1 - shard.rest[row]:.4g} ({int(wrong.sum())} such rows), "
                         f"but its distribution says otherwise: move it elsewhere, and {AGAIN}")


def _check_numbers(path, shard):
    numbers = np.sort(np.concatenate([shard.number, shard.skipped]))
    if np.any(np.diff(shard.number) <= 0) or not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(f"{path}: its {len(numbers)} records are not numbered 0 to "
                         f"{len(numbers) - 1}, each once: one is missing or there twice; move "
                         f"the file elsewhere, and {AGAIN}")
    keys, count = np.unique(shard.key, return_counts=True)
    if np.any(count > 1):
        raise ValueError(f"{path}: the key {shown(keys[count > 1][0])} is there "
                         f"{count.max()} times: expected every example once; give the images names "
                         "of their own, and prepare and predict them again")


def splits_of(plan):
    """The shards of a plan by split: {split: sorted list of names}."""
    splits = {}
    for name in sorted(plan["shards"]):
        splits.setdefault(split_of(name), []).append(name)
    return splits


def fingerprint(folder):
    """sha256 of the contents of a folder of predictions, from the checksums inside its files.

    Raises:
      ValueError: the predictions for a shard of the plan are missing or damaged.
    """
    plan = read_plan(folder)
    digest = hashlib.sha256(plan["model"].encode())
    for name in sorted(plan["shards"]):
        path = shard_path(folder, name)
        try:
            digest.update(repr((name, arrays.members(path))).encode())
        except arrays.DAMAGED as error:
            raise ValueError(_unread(path, error)) from error
    return digest.hexdigest()


def shown(key):
    """A key, bytes, as readable text."""
    return key.decode("utf-8", "backslashreplace")

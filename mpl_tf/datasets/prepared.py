"""Reads what data_prep wrote: dataset.json beside the shards, and small data sets as arrays."""

import hashlib
import os

import numpy as np

from mpl_tf.common import storage, structure
from mpl_tf.common.structure import NAME, WHOLE
from mpl_tf.datasets.splits import Split, official_order
from mpl_tf.shards import image_files, record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

SIDECAR = "dataset.json"
_REMEDY = "give back the file that data_prep wrote, or prepare the folder again"
# What SIDECAR holds, as structure.py describes it: of a file that somebody wrote by hand to name
# the classes of his shards, and of one that data_prep wrote, which has its plan.
_ANY = {"name": str, "class_names?": ([NAME], None), "flip?": bool, "splits": {...: dict}}
CONTENTS = {
    "name": str, "num_classes": (WHOLE, None), "class_names": ([NAME], None), "flip": bool,
    "splits": {...: {
        "examples": WHOLE, "labeled": bool, "class_histogram": ([WHOLE], None), "skipped": [str],
        "shards": [{"file": str, "examples": WHOLE, "bytes": WHOLE, "sha256": str}]}},
    "plan": {"splits": {...: {"examples": WHOLE, "shards": WHOLE}}}}
PROGRESS = ".progress"      # folder of data_prep's notes; beside no SIDECAR it is not finished
_OTHERS = "get or prepare the folder again, or give back the file that data_prep wrote"


def index_path(folder, split, labeled=None):
    """The path where the index of a split is kept, see record_index.

    labeled: None for an index that data_prep writes. For shards that data_prep did not write, bool
    [number of shards]: whose records the index gives labels. Each choice has a file of its own.
    """
    if labeled is None:
        return os.path.join(folder, f"{split}.index.npz")
    which = hashlib.sha256(np.packbits(labeled).tobytes()).hexdigest()[:8]
    return os.path.join(folder, f"{split}.labels-of-{int(labeled.sum())}-{which}.index.npz")


def read_sidecar(folder):
    """Reads dataset.json in `folder`: a dict, or None where there is no such file.

    Raises:
      ValueError: the file is not one that data_prep writes.
    """
    path = os.path.join(folder, SIDECAR)
    if not os.path.isfile(path):
        return None
    sidecar = storage.read_json(path, _REMEDY, _ANY)
    wrong = ""
    if "plan" in sidecar:
        wrong = structure.mismatch(sidecar, CONTENTS) or _unlike_plan(sidecar)
    # Nobody but data_prep writes an index of this name.
    lost = [split for split in tfrecord.find_splits(folder) if split not in sidecar["splits"]
            and os.path.isfile(index_path(folder, split))]
    if wrong or lost:
        wrong = wrong or f"it lacks the split {lost[0]!r}, whose shards are there"
        raise ValueError(f"{path} is damaged, {wrong}: {_REMEDY}")
    return sidecar


def _unlike_plan(sidecar):
    """In what `sidecar` is not what its own plan makes; "" where it is."""
    names, planned = sidecar["class_names"], sidecar["plan"]["splits"]
    if (len(names) if names else None) != sidecar["num_classes"]:
        return f"{len(names or ())} class_names, but num_classes {sidecar['num_classes']}"
    if "class_names" in sidecar["plan"] and sidecar["plan"]["class_names"] != names:
        return "class_names are not those of plan"
    for split in sorted({*planned, *sidecar["splits"]}):
        if (split in planned) != (split in sidecar["splits"]):
            return f"the split {split!r} is in one of splits and plan only"
        listed = len(sidecar["splits"][split]["shards"])
        if listed != planned[split]["shards"]:
            return f"{listed} shards of {split!r}, but {planned[split]['shards']} in plan"
        unlike = _unlike_count(sidecar["splits"][split], planned[split], sidecar["num_classes"])
        if unlike:
            return f"{split!r} has {unlike}"
    return ""


def _unlike_count(part, planned, num_classes):
    """Which number of a split is not what its other numbers make; "" where all are."""
    examples, histogram = part["examples"], part["class_histogram"]
    skipped, in_shards = len(part["skipped"]), sum(shard["examples"] for shard in part["shards"])
    if examples + skipped != planned["examples"]:
        return f"{examples} examples and {skipped} skipped, but {planned['examples']} in plan"
    if in_shards != examples:
        return f"{examples} examples, but {in_shards} in its shards"
    if part["labeled"] != (histogram is not None):
        return "labels, but no class_histogram" if part["labeled"] else "a class_histogram, but no labels"
    if histogram is not None and (len(histogram), sum(histogram)) != (num_classes, examples):
        return (f"a class_histogram of {len(histogram)} classes and {sum(histogram)} examples, but "
                f"{num_classes} classes and {examples} examples")
    return ""


def check_finished(folder):
    """Raises ValueError if data_prep has begun to write `folder`, and has not finished it."""
    if os.path.isdir(os.path.join(folder, PROGRESS)) and not os.path.exists(
            os.path.join(folder, SIDECAR)):
        raise ValueError(f"{folder} is not finished, as it has no {SIDECAR}: run the command of "
                         "data_prep that began it to its end")


def check_listed(folder, sidecar, splits):
    """Raises ValueError if shards of one of `splits` lie in `folder`, and `sidecar` lacks it."""
    there = tfrecord.find_splits(folder)
    for split in splits:
        if split in there and split not in sidecar["splits"]:
            raise ValueError(f"{folder} has shards of {split!r} which its {SIDECAR} does not list: "
                             f"{_OTHERS}; shards that another command made belong into a folder of "
                             "their own, see --unlabeled_dir")


def check_counts(folder, split, index, fewer=False):
    """Compares an Index with what dataset.json, where data_prep wrote one, says of its split.

    Args:
      fewer: whether examples may be missing, as long as each class has one: those that
        --skip_corrupt left out.

    Raises:
      CorruptRecord: in one line: the number of examples, of those of a class, or the size of a shard
        is another.
    """
    try:
        part = (read_sidecar(folder) or {"splits": {}})["splits"].get(split)
    except ValueError:      # not data_prep's; whoever needs it reads it before
        return
    part = part if isinstance(part, dict) else {}

    def compare(said, found, what):
        if isinstance(said, int) and (found > said or found < said and not fewer):
            raise CorruptRecord(f"{os.path.join(folder, SIDECAR)} says {said} {what} of {split!r}, "
                                f"but there are {found}: {_OTHERS}")

    compare(part.get("examples"), len(index), "examples")
    histogram = part.get("class_histogram")
    if isinstance(histogram, list) and len(index) and np.all(index.label >= 0):
        counts = np.bincount(index.label, minlength=len(histogram)).tolist()
        histogram = histogram + [0] * (len(counts) - len(histogram))
        for label, (said, found) in enumerate(zip(histogram, counts)):
            compare(said, found, f"examples of label {label + 1}")
            if said and not found:
                raise CorruptRecord(f"{folder}: none of the {said} examples of label {label + 1} of "
                                    f"{split!r} can be used: get or prepare the folder again; "
                                    "--skip_corrupt leaves out examples, not a whole class")
    shards = part.get("shards")
    if isinstance(shards, list) and len(shards) == len(index.paths) and not fewer:
        for path, size, shard in zip(index.paths, index.sizes, shards):
            said = shard.get("bytes") if isinstance(shard, dict) else None
            if isinstance(said, int) and said != size:
                raise CorruptRecord(f"{path} has {size} bytes, but {SIDECAR} says {said}: {_OTHERS}")


def require_classes(folder, class_names, labels):
    """Raises ValueError unless each class has an example; labels: int [N]."""
    absent = sorted(set(range(len(class_names))) - set(labels.tolist()))
    if absent:
        raise ValueError(f"{folder} has no labeled training image of {len(absent)} of its "
                         f"{len(class_names)} classes, such as {class_names[absent[0]]!r}: prepare "
                         "it again with images of each class, or without these classes")


def read_arrays(folder, name, splits):
    """Reads a data set of small images of one size from shards into memory.

    Args:
      folder: a folder that data_prep wrote, or any other folder, or None.
      name: the name of the data set that is expected there, "cifar10" for example.
      splits: names of the splits to read.

    Returns:
      {split: Split} in the official order; None where `folder` has no dataset.json.

    Raises:
      ValueError: the folder holds another data set, or lacks a split.
      CorruptRecord: the files do not hold what was prepared.
    """
    sidecar = None if folder is None else read_sidecar(folder)
    if sidecar is None:
        return None
    if sidecar["name"] != name:
        raise ValueError(f"{folder} holds the prepared data set {sidecar['name']!r}, but {name!r} "
                         "is expected: correct data_dir")
    for split in splits:
        if split not in sidecar["splits"]:
            raise ValueError(f"{folder} has no split {split!r} of {name}, only "
                             f"{', '.join(sidecar['splits'])}: prepare the folder again from raw "
                             "files that include the split's")
    return {split: _read_split(os.fspath(folder), split) for split in splits}


def _read_split(folder, split):
    index = record_index.load_index(index_path(folder, split))
    check_counts(folder, split, index)
    images, labels, names = None, np.zeros(len(index), np.int64), []
    with_files = [open(path, "rb", buffering=0) for path in index.paths]
    try:
        for i in range(len(index)):
            where = index.where(i)
            payload = tfrecord.read(with_files[index.shard[i]], int(index.offset[i]),
                                        int(index.length[i]), index.number[i])
            record = schema.decode(payload, where)
            try:
                with image_files.opened(record.encoded, image_files.OF_RECORDS) as image:
                    pixels = np.asarray(image)
            except MemoryError:
                raise
            except Exception as error:      # a damaged image can raise nearly anything
                raise CorruptRecord(f"{where}: the image cannot be decoded ({error}): prepare the "
                                    "file again") from error
            if images is None:
                images = np.zeros([len(index), *pixels.shape], np.uint8)
            if pixels.shape != images.shape[1:] or record.label != index.label[i]:
                raise CorruptRecord(f"{where}: the image has shape {list(pixels.shape)} and label "
                                    f"{record.label}, expected {list(images.shape[1:])} and "
                                    f"{index.label[i]}: prepare the file again")
            images[i], labels[i] = pixels, record.label
            names.append(record.filename)
    finally:
        for file in with_files:
            file.close()
    order = official_order(names)
    if np.array_equal(order, np.arange(len(order))):
        return Split(images, labels)
    return Split(images[order], labels[order])

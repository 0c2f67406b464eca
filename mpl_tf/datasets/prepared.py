"""Reads what data_prep wrote: dataset.json beside the shards, and small data sets as arrays."""

import hashlib
import os

import numpy as np

from mpl_tf.common import storage
from mpl_tf.datasets.splits import Split, official_order
from mpl_tf.shards import image_files, record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

SIDECAR = "dataset.json"


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
    sidecar = storage.read_json(path)
    if not (isinstance(sidecar, dict) and isinstance(sidecar.get("splits"), dict)
            and isinstance(sidecar.get("name"), str)):
        raise ValueError(f"{path} is not a file that data_prep wrote: expected JSON with a name "
                         "and splits; prepare the folder again")
    return sidecar


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

"""Data sets that data_prep wrote: the note beside the shards, and small ones as NumPy arrays."""

import hashlib
import os

import numpy as np

from mpl_tf.common import storage
from mpl_tf.datasets.splits import Split, official_order
from mpl_tf.shards import image_files, record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

SIDECAR = "dataset.json"


def index_path(folder, split, labeled=None):
    """Where a split's Index is kept; `labeled`, bool by shard: that of files of others, which has
    the labels of some shards only."""
    if labeled is None:
        return os.path.join(folder, f"{split}.index.npz")
    which = hashlib.sha256(np.packbits(labeled).tobytes()).hexdigest()[:8]
    return os.path.join(folder, f"{split}.labels-of-{int(labeled.sum())}-{which}.index.npz")


def read_sidecar(folder):
    """What dataset.json in `folder` says, a dict; None where there is none.

    Raises:
      ValueError: it is there and is not what data_prep writes.
    """
    path = os.path.join(folder, SIDECAR)
    if not os.path.isfile(path):
        return None
    sidecar = storage.read_json(path)
    if not (isinstance(sidecar, dict) and isinstance(sidecar.get("splits"), dict)
            and isinstance(sidecar.get("name"), str)):
        raise ValueError(f"{path} is not a note of data_prep's: expected JSON with a name and "
                         "splits; prepare the folder again")
    return sidecar


def read_arrays(folder, name, splits):
    """A data set of small images of one size, from its shards.

    Args:
      folder: what data_prep wrote, or any folder, or None.
      name: "cifar10", for one.
      splits: names of what to read.

    Returns:
      {split: Split} in the official order; None where there is no dataset.json.

    Raises:
      ValueError: the folder holds another data set or lacks a split; CorruptRecord: what is in the
        files is not what was prepared.
    """
    sidecar = None if folder is None else read_sidecar(folder)
    if sidecar is None:
        return None
    if sidecar["name"] != name:
        raise ValueError(f"{folder} holds {sidecar['name']!r}, prepared: expected {name!r}; "
                         "correct data_dir")
    for split in splits:
        if split not in sidecar["splits"]:
            raise ValueError(f"{folder} has no split {split!r} of {name}, only "
                             f"{', '.join(sidecar['splits'])}: prepare it with that split's files")
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
            except Exception as error:      # a damaged image can raise nearly anything
                raise CorruptRecord(f"{where}: an image that cannot be decoded ({error}): prepare "
                                    "the file again") from error
            if images is None:
                images = np.zeros([len(index), *pixels.shape], np.uint8)
            if pixels.shape != images.shape[1:] or record.label != index.label[i]:
                raise CorruptRecord(f"{where}: an image {list(pixels.shape)} with label "
                                    f"{record.label} instead of {list(images.shape[1:])} with "
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

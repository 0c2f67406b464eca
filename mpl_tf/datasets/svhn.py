"""SVHN: its facts, and a reader of its official MATLAB files of cropped digits (format 2)."""

import pathlib

import numpy as np

from mpl_tf.common import formats, storage
from mpl_tf.datasets import prepared, tfds
from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split, check_sizes

URL = "http://ufldl.stanford.edu/housenumbers/"
CLASSES = tuple("0123456789")
SIZES = {"train": 73257, "test": 26032, "extra": 531131}
SHA256 = {
    "train": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    "extra": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
}


@source("svhn", "73,257 + 26,032 images of 32x32, and 531,131 extra ones", labeled_examples=1000,
        labeled_selection="first", objective="uda", student_network="wrn-28-2",
        class_names=CLASSES, sizes=SIZES, image_size=32, photographs=True, per_class=35_000)
def svhn(data_dir, extra_unlabeled, download=True):
    """Reads SVHN as {"train": Split, "test": Split} in the official order.

    Args:
      data_dir: a folder with the official files, or one that data_prep wrote. In any other folder
        TensorFlow Datasets reads SVHN, or downloads it there if `download`.
      extra_unlabeled: adds "extra" to the result, a Split.
    """
    splits = ("train", "test", "extra") if extra_unlabeled else ("train", "test")
    found = (prepared.read_arrays(data_dir, "svhn", splits) or read(data_dir, splits)
             or tfds.read("svhn_cropped", data_dir, splits, URL + file_name("train"), download)
             or tfds.missing("svhn", data_dir))
    return check_sizes(found, SIZES, f"svhn in {data_dir}")


def file_name(split):
    """"train_32x32.mat" for "train"."""
    return f"{split}_32x32.mat"


def find(data_dir, splits=("train", "test")):
    """Returns the list of the splits' files in `data_dir`, or None where none of them exists.

    Raises:
      FileNotFoundError: some of them exist, but not all.
    """
    if data_dir is None:
        return None
    paths = [pathlib.Path(data_dir) / file_name(split) for split in splits]
    if not any(path.is_file() for path in paths):
        return None
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: get it from {URL}{path.name}")
    return paths


def read(data_dir, splits=("train", "test"), sizes=None, sha256=None):
    """Reads SVHN from its official files.

    Args:
      data_dir: the folder with `train_32x32.mat` and the others; None: there is no folder.
      splits: names among "train", "test" and "extra" (1.6 GB of memory, and as much again while it
        is read).
      sizes, sha256: {split: expected number of images} and {split: expected checksum}; None: the
        published SIZES and SHA256; {}: not checked.

    Returns:
      {split: Split} in the official order, images uint8 [N, 32, 32, 3], labels 0-9, the digits;
      None where there are no such files.

    Raises:
      FileNotFoundError, ValueError: a file is missing, or is not the published one.
    """
    paths = find(data_dir, splits)
    if paths is None:
        return None
    sizes, sha256 = SIZES if sizes is None else sizes, SHA256 if sha256 is None else sha256
    for split, path in zip(splits, paths):
        if split in sha256:
            _check_file(path, sha256[split])
    return {split: read_mat(path, sizes.get(split)) for split, path in zip(splits, paths)}


def read_mat(path, size=None):
    """Reads one of SVHN's files and returns a Split.

    The file has X uint8 [32, 32, 3, N] and y [N, 1], where the digit 0 has the label 10.

    Raises:
      ValueError: the file is no such file, or does not hold `size` images (None: any number).
    """
    try:
        from scipy.io import loadmat
        stored = loadmat(path, variable_names=["X", "y"])
        images, labels = stored["X"], stored["y"].reshape(-1).astype(np.int64)
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
            raise ValueError(f"X is {images.dtype} {list(images.shape)} and y has {len(labels)}, "
                             "expected uint8 [32, 32, 3, N] and N")
        if np.any((labels < 1) | (labels > 10)):
            raise ValueError("y has labels outside 1-10")
    except (PermissionError, MemoryError):
        raise
    except Exception as error:      # a damaged file can raise nearly anything
        what = formats.of_file(path)
        reason = (what and f"it is {what}; ") + " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a file of SVHN's cropped digits ({reason}): get it again "
                         f"from {URL}{pathlib.Path(path).name}") from error
    if size is not None and len(labels) != size:
        raise ValueError(f"{path} has {len(labels)} images instead of {size}: get it again from "
                         f"{URL}{pathlib.Path(path).name}")
    return Split(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10)


def _check_file(path, published):
    found = storage.sha256(path)
    if found != published:
        what = formats.of_file(path)
        raise ValueError(f"{path} ({path.stat().st_size} bytes{', ' + what if what else ''}) has "
                         f"sha256 {found} instead of the published {published}: it is truncated or "
                         f"changed; get it again from {URL}{path.name}")

"""CIFAR-10: its facts, and a reader of its official pickle files that runs no code from them."""

import hashlib
import io
import lzma
import pathlib
import pickle
import tarfile
import zlib

import numpy as np

from mpl_tf.common import formats
from mpl_tf.datasets import prepared, tfds
from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split, check_sizes

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck")
SIZES = {"train": 50000, "test": 10000}
_MOST = 400_000_000     # bytes; the published archive unpacks to 186 million
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


@source("cifar10", "50,000 + 10,000 images of 32x32", labeled_examples=4000,
        labeled_selection="first", objective="uda", student_network="wrn-28-2",
        class_names=CLASSES, sizes=SIZES, image_size=32, flip=True, photographs=True,
        per_class=50_000)
def cifar10(data_dir, download=True):
    """Reads CIFAR-10 as {"train": Split, "test": Split} in the official order.

    data_dir: a folder with the official files, or one that data_prep wrote. In any other folder
    TensorFlow Datasets reads CIFAR-10, or downloads it there if `download`.
    """
    splits = ("train", "test")
    found = (prepared.read_arrays(data_dir, "cifar10", splits) or read(data_dir)
             or tfds.read("cifar10", data_dir, splits, URL, download)
             or tfds.missing("cifar10", data_dir))
    return check_sizes(found, SIZES, f"cifar10 in {data_dir}")


def read(data_dir):
    """Reads CIFAR-10 from its official files.

    Args:
      data_dir: the folder with `cifar-10-batches-py/` or `cifar-10-python.tar.gz`, or
        `cifar-10-batches-py/` itself; None: there is no folder.

    Returns:
      {"train": Split of 50,000, "test": Split of 10,000} in the official order, images uint8
      [N, 32, 32, 3]; None where there are no such files.

    Raises:
      FileNotFoundError, ValueError: a file is missing, or is not the published one.
    """
    where, contents = _files(data_dir)
    if contents is None:
        return None
    for name, md5 in MD5.items():
        check_file(contents.get(name), md5, f"{name} in {where}")
    *batches, test = [unpickle_batch(contents.pop(name), name) for name in MD5]
    return {"train": Split(np.concatenate([batch.images for batch in batches]),
                           np.concatenate([batch.labels for batch in batches])),
            "test": test}


def _files(data_dir):
    """(where the official files are, {name: bytes} of them); None for the latter where none are."""
    if data_dir is None:
        return None, None
    folder = pathlib.Path(data_dir)
    for candidate in (folder, folder / FOLDER):
        files = [candidate / name for name in MD5 if (candidate / name).is_file()]
        if files:
            return candidate, {file.name: _whole(file) for file in files}
    archive = folder / pathlib.PurePosixPath(URL).name
    if not archive.is_file():
        return None, None
    what, found, others = formats.of_file(archive), {}, []
    try:        # in memory: nothing in it is written anywhere
        with formats.Unpacked(archive, _MOST) as unpacked, tarfile.open(
                fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                name = pathlib.PurePosixPath(member.name).name
                if name in MD5 and member.isfile():
                    found[name] = tar.extractfile(member).read()
                elif len(others) < 3:
                    others.append(member.name)
    except PermissionError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error,
            lzma.LZMAError) as error:
        raise ValueError(f"{archive} cannot be read as the archive of CIFAR-10 "
                         f"({' '.join(str(error).split())[:120]}; it is {what or 'no tar archive'}): "
                         f"it is truncated, damaged or another file; get it again from {URL}"
                         ) from error
    if not found:
        raise ValueError(f"{archive} ({what or 'of an unknown kind'}) holds "
                         f"{', '.join(others) or 'nothing, only zeros or the end of a tar archive,'} "
                         f"and no file of CIFAR-10: get it again from {URL}")
    return archive, found


def _whole(file):
    """The bytes of a file that is no larger than one of CIFAR-10 can be."""
    size = file.stat().st_size
    if size > _MOST:
        raise ValueError(f"{file} has {size} bytes, more than all of CIFAR-10: it is another file; "
                         f"get it again from {URL}")
    return file.read_bytes()


def check_file(contents, md5, source):
    """Raises an error unless `contents`, bytes (None: no such file), have the published md5."""
    if contents is None:
        raise FileNotFoundError(f"there is no {source}: get all of CIFAR-10's files from {URL}")
    found = hashlib.md5(contents).hexdigest()
    if found != md5:
        what = formats.described(contents[:512])
        raise ValueError(f"{source} ({len(contents)} bytes{', ' + what if what else ''}) has md5 "
                         f"{found} instead of the published {md5}: it is truncated or changed; get "
                         f"it again from {URL}")


class _Unpickler(pickle.Unpickler):
    """Builds arrays and Python's own containers, numbers and strings; calls nothing else."""

    def find_class(self, module, name):
        reconstruct = np.empty(0).__reduce__()[0]    # its module's name differs between NumPys
        allowed = {("numpy.core.multiarray", "_reconstruct"): reconstruct,
                   ("numpy._core.multiarray", "_reconstruct"): reconstruct,
                   ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return allowed[module, name]


def unpickle_batch(contents, source):
    """Reads one of CIFAR-10's Python batches and returns a Split.

    Args:
      contents: a pickle of a dict: b"data" uint8 [N, 3072], channel by channel, b"labels" a list
        of N.
      source: the file's name for an error.

    Raises:
      ValueError: `contents` is no such pickle.
    """
    try:
        batch = _Unpickler(io.BytesIO(contents), encoding="bytes").load()
        images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return Split(np.ascontiguousarray(images, np.uint8), np.array(batch[b"labels"], np.int64))
    except Exception as error:    # a damaged pickle can raise nearly anything
        raise ValueError(f"{source} is not a CIFAR-10 python batch ({error}): get it from "
                         f"{URL}") from error

"""Files of named arrays (.npz): written whole or not at all, and read with every damage told."""

from __future__ import annotations

import errno
import os
import struct
import zipfile
import zlib
from typing import Any, Iterable, Mapping

import numpy as np

from mpl_tf.common import storage

# What NumPy and zipfile raise for damaged files, also where damage looks like encryption, or like
# an array that is larger than memory.
DAMAGED = (KeyError, IndexError, ValueError, TypeError, EOFError, OSError, RuntimeError,
           OverflowError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile)
_PACKED = 100       # a file that is so many times smaller than its contents is none that we wrote


def write(path: str | os.PathLike[str], arrays: Mapping[str, Any], shared: bool = False) -> None:
    """Writes `arrays`, {name: array}, to `path`; for `shared` see storage.partial.

    np.savez leaves its archive open where the disk is full, which is then told a second time.
    """
    with storage.partial(path, shared) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def members(path: str | os.PathLike[str]) -> list[tuple[str, int, int]]:
    """(name, checksum, size) of each array in the file, by which its contents are told from others.

    Raises:
      any of DAMAGED.
    """
    with zipfile.ZipFile(path) as file:
        return [(member.filename, member.CRC, member.file_size) for member in file.infolist()]


def read(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads {name: array} of those called `names`.

    Raises:
      ValueError: in one line without the file's name: it is damaged, lacks an array, or unpacks to
        far more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _PACKED * os.path.getsize(path):
            raise ValueError(f"{unpacked} bytes in a file of {os.path.getsize(path)}")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except DAMAGED as error:
        # NumPy and zipfile look for what damaged files name in places that are none: EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise       # of permission or a disk, which is no damage
        raise ValueError(" ".join(str(error).split())[:120]) from error

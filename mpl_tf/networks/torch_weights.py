"""Reads arrays from a file of weights in PyTorch's older format, without PyTorch.

Such a file is a row of pickles: a magic number, the format's version, facts of the machine, the
weights by name, and the names of the storages; then the storages' bytes. A pickle can call whatever
it names, so that only the four things that weights are made of are given to it.
"""

from __future__ import annotations

import collections
import dataclasses
import pickle
from typing import Any, BinaryIO, Dict, Tuple

import numpy as np

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_MOST = 1 << 31     # bytes of a storage; no network that is read here has a larger one


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A part of a storage: (key of the storage, type), and where its elements lie, counted in them."""
    storage: Tuple[str, np.dtype]
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


def _rebuild(storage, offset, shape, strides, *_):
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Builds Python's own containers, numbers and strings, and tensors of two types; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> Tuple[str, np.dtype]:
        kind, dtype, key, _, _, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it refers to {kind!r} of another kind than weights")
        return str(key), dtype


def read(path: str) -> Dict[str, np.ndarray]:
    """Reads {name: array} of all weights in a file.

    Raises:
      ValueError: in one line: the file is damaged, of another format, or asks for code to be run.
      OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except OSError:
        raise
    except Exception as error:      # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is no file of weights in PyTorch's older format "
                         f"({type(error).__name__}: {reason}): get it again") from error


def _read(file: BinaryIO) -> Dict[str, np.ndarray]:
    if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _VERSION:
        raise ValueError("another magic number or version")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("a big-endian machine wrote it")
    tensors = _Unpickler(file).load()
    types = {tensor.storage[0]: tensor.storage[1] for tensor in tensors.values()}
    storages = {}
    for key in _Unpickler(file).load():
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        size = count * types[key].itemsize
        if not 0 <= size <= _MOST:
            raise ValueError(f"a storage of {size} bytes")
        storages[key] = np.frombuffer(file.read(size), types[key])
        if len(storages[key]) != count:
            raise ValueError("it ends within a storage")
    return {name: _array(tensor, storages[tensor.storage[0]]) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """The elements of a tensor in its storage, copied."""
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides))
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= len(storage):
        raise ValueError("a tensor goes beyond its storage")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset:], tensor.shape, strides).copy()

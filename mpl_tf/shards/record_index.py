"""An index of all records of a split: where each one is, and its label.

With it examples are read directly, in any order, so that a data set can be shuffled, split and
resumed without reading all of it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import os
import struct
from typing import Sequence

import numpy as np

from mpl_tf.common import arrays
from mpl_tf.common.bar import Bar
from mpl_tf.shards import schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

_ARRAYS = {"shard": np.int32, "offset": np.int64, "length": np.int64, "number": np.int32,
           "label": np.int32}


@dataclasses.dataclass(frozen=True)
class Index:
    """All N records of a split, in the order of its shards.

    Attributes:
      paths: one per shard. sizes: int64 [number of shards], bytes of each.
      shard: int32 [N], the index of the record's shard in `paths`.
      number: int32 [N], the number of the record in its shard.
      offset, length: int64 [N], as tfrecord.scan gives them.
      label: int32 [N], 0-based; -1: none.
    """
    paths: tuple[str, ...]
    sizes: np.ndarray
    shard: np.ndarray
    number: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.shard)

    def where(self, i: int) -> str:
        """File and position of example i, in words."""
        return tfrecord.position(self.paths[self.shard[i]], self.number[i], self.offset[i])

    def read(self, i: int) -> bytes:
        """Reads the payload of example i; CorruptRecord if it is not what was written."""
        return tfrecord.read(self.paths[self.shard[i]], int(self.offset[i]),
                                 int(self.length[i]), self.number[i])

    def record(self, i: int, num_classes: int | None = None) -> schema.Record:
        """Reads example i; its label is None where the index has none.

        Raises:
          CorruptRecord: the record is damaged, or its label is not the one in the index.
        """
        expected = int(self.label[i])
        record = schema.decode(self.read(i), self.where(i), expected >= 0, num_classes)
        if expected >= 0 and record.label != expected:
            raise CorruptRecord(f"{self.where(i)}: {schema.LABEL} is {record.label + 1} instead of "
                                f"{expected + 1}: the file has changed since it was indexed; index "
                                "it again")
        return record

    def subset(self, chosen: np.ndarray) -> Index:
        """The Index of the examples `chosen`, int [M] or bool [N]; its shards stay the same."""
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})


def joined(parts: Sequence[Index]) -> Index:
    """Concatenates Indices to one and renumbers their shards."""
    firsts = np.cumsum([0, *(len(part.paths) for part in parts)])
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in ("offset", "length", "number", "label")}
    return Index(
        sum((part.paths for part in parts), ()), np.concatenate([part.sizes for part in parts]),
        shard=np.concatenate([part.shard + first for part, first in zip(parts, firsts)]), **columns)


def build_index(paths: Sequence[str | os.PathLike[str]], num_classes: int | None = None,
                labels: bool = True, skip_corrupt: bool = False, progress: bool = False,
                workers: int = 8) -> tuple[Index, list[str]]:
    """Indexes TFRecord files.

    Args:
      paths: the files, in the order that the index is to have.
      num_classes: the largest image/class/label that is accepted; None: any is.
      labels: True: every record is read, checked and decoded (not its image), and a repeated record
        is refused. False: only headers are read; label is -1, and a payload is checked when it is
        read later.
      skip_corrupt: leaves out records that cannot be used, and after a damaged header the rest of
        the file, instead of raising.
      progress: shows a bar on stderr.
      workers: number of threads.

    Returns:
      (Index, skipped): skipped has a line for each record left out, naming file and position.

    Raises:
      CorruptRecord: a record cannot be used and skip_corrupt is off, no record is left, or labels
        seem to start at 0: the first class would be left out, and the others be taken for theirs.
    """
    paths = tuple(os.fspath(path) for path in paths)
    parts: list[dict[str, np.ndarray]] = []
    problems: list[CorruptRecord] = []
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        tasks = [pool.submit(_index_shard, shard, path, num_classes, labels, skip_corrupt)
                 for shard, path in enumerate(paths)]
        with Bar(len(paths), " files", "indexing", show=progress) as bar:
            for task in tasks:
                part, found = task.result()
                parts.append(part)
                problems += found
                bar.update(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    columns = {name: np.concatenate([part[name] for part in parts]) if parts else np.zeros(0)
               for name in (*_ARRAYS, "key")}
    index = Index(paths, np.array([os.path.getsize(path) for path in paths], np.int64),
                  **{name: columns[name].astype(kind) for name, kind in _ARRAYS.items()})
    if labels:
        index, twice = _without_doubles(index, columns["key"])
        if twice and not skip_corrupt:
            raise twice[0]
        problems += twice
    zero = next((problem for problem in problems if isinstance(problem, schema.LabelZero)), None)
    if zero and num_classes and not (index.label == num_classes - 1).any():
        raise CorruptRecord(f"{zero}; no record has the last label, {num_classes}, so they seem to "
                            "start at 0, and skip_corrupt would lose a class")
    if not len(index):
        raise CorruptRecord(f"{', '.join(paths[:1]) or 'no files'}{', ...' if paths[1:] else ''}: "
                            f"there is no usable record ({len(problems)} skipped): get or prepare "
                            "the files again")
    return index, [str(problem) for problem in problems]


def _index_shard(shard, path, num_classes, labels, skip_corrupt):
    """({column: array}, problems) of one file."""
    problems = []
    offsets, lengths = tfrecord.scan(path, problems if skip_corrupt else None)
    rows = []
    with open(path, "rb", buffering=0) as file:
        for number, (offset, length) in enumerate(zip(offsets, lengths)):
            label, key = -1, 0
            if labels:
                try:
                    label, key = _check(file, path, offset, length, number, num_classes)
                except CorruptRecord as problem:
                    if not skip_corrupt:
                        raise
                    problems.append(problem)
                    continue
            rows.append((shard, offset, length, number, label, key))
    table = np.array(rows, np.int64).reshape(-1, 6)
    return dict(zip((*_ARRAYS, "key"), table.T)), problems


def _check(file, path, offset, length, number, num_classes):
    payload = tfrecord.read(file, offset, length, number)
    record = schema.decode(payload, tfrecord.position(path, number, offset),
                            num_classes=num_classes)
    return record.label, struct.unpack("<q", schema.identity(payload, record))[0]


def _without_doubles(index, key):
    """(Index with the first of each group of equal records, CorruptRecords for the others)."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    original = first[inverse.reshape(-1)]
    doubles = np.flatnonzero(original != np.arange(len(key)))
    problems = [CorruptRecord(f"{index.where(i)}: it is the same record as "
                              f"{index.where(original[i])}: expected every example once; get or "
                              "prepare the files again")
                for i in doubles]
    return (index.subset(np.delete(np.arange(len(key)), doubles)) if len(doubles) else index,
            problems)


def save_index(path: str | os.PathLike[str], index: Index, times: Sequence[int] | None = None) -> None:
    """Writes an Index to `path` (.npz), whole or not at all; its shards must lie in that folder.

    times: `times_of` the shards, before they were read, for `is_of`; None where others watch over them.
    """
    names = np.array([os.path.basename(name) for name in index.paths])
    arrays.write(path, {"names": names, "sizes": index.sizes,
                        **({} if times is None else {"times": np.array(times, np.int64)}),
                        **{name: getattr(index, name) for name in _ARRAYS}})


def times_of(paths: Sequence[str]) -> list[int]:
    """When each file was written, in nanoseconds."""
    return [os.stat(path).st_mtime_ns for path in paths]


def is_of(path: str | os.PathLike[str], times: Sequence[int]) -> bool:
    """Whether save_index noted these times, or, as an earlier version, none.

    A shard in which a label was corrected has the size that it had.
    """
    if "times.npy" not in {name for name, _, _ in arrays.members(path)}:
        return True
    return arrays.read(path, ["times"])["times"].tolist() == list(times)


def load_index(path: str | os.PathLike[str]) -> Index:
    """Reads what save_index wrote.

    Raises:
      FileNotFoundError: there is no such file, or a shard that it lists is missing.
      CorruptRecord: the file is no index, or the size of a shard has changed.
    """
    path = os.fspath(path)
    try:
        stored = arrays.read(path, ("names", "sizes", *_ARRAYS))
        names, sizes = stored["names"], _whole(stored["sizes"], np.int64)
        columns = {name: _whole(stored[name], kind) for name, kind in _ARRAYS.items()}
        paths = tuple(os.path.join(os.path.dirname(path), str(name)) for name in names)
        index = Index(paths, sizes, **columns)
        shapes = {array.shape for array in columns.values()}
        ends = index.offset + index.length + tfrecord.HEADER + tfrecord.FOOTER
        if (len(shapes) != 1 or index.shard.ndim != 1 or sizes.shape != (len(paths),)
                or np.any(index.offset < 0) or np.any(index.length < 0)
                or np.any(ends > sizes[index.shard]) or np.any(index.shard < 0)
                or np.any(index.label < -1) or np.any(index.number < 0)
                or names.ndim != 1 or names.dtype.kind != "U"):
            raise ValueError("its arrays do not belong together")
    except arrays.DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} is missing: get or prepare its folder again") from error
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise CorruptRecord(f"{path}: the index cannot be read ({error.strerror}): give this process "
                                "permission to read it, and see that its disk is there") from error
        raise CorruptRecord(f"{path}: the file is no index of records "
                            f"({' '.join(str(error).split())[:120]}): move it elsewhere, and the next "
                            "run makes it again") from error
    for shard, expected in zip(paths, sizes):
        if not os.path.isfile(shard):
            raise FileNotFoundError(f"{shard} is missing, but {os.path.basename(path)} lists it: "
                                    "get or prepare it again")
        found = os.path.getsize(shard)
        if found != expected:
            raise CorruptRecord(f"{shard}: it has {found} bytes instead of the {expected} that it "
                                "had when it was indexed: get or prepare it again, or move "
                                f"{os.path.basename(path)} elsewhere to index the present files")
    return index


def _whole(array, kind):
    """`array` as whole numbers of the type `kind`; ValueError where it holds something else."""
    if array.dtype.kind not in "iu":
        raise ValueError(f"it has values of type {array.dtype} instead of whole numbers")
    return array.astype(kind)

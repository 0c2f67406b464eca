"""An index of all records of a split: where each one is, and its label.

With it any example is read at once, in any order, so that a data set can be shuffled, cut and
resumed without being read through.
"""

import concurrent.futures
import dataclasses
import os
import struct
import zipfile

import numpy as np

from mpl_tf.common import storage
from mpl_tf.common.bar import Bar
from mpl_tf.shards import schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

_ARRAYS = {"shard": np.int32, "offset": np.int64, "length": np.int64, "number": np.int32,
           "label": np.int32}


@dataclasses.dataclass(frozen=True)
class Index:
    """All N records of a split, in the order of its shards.

    Attributes:
      paths: tuple of str, one per shard. sizes: int64 [number of shards], bytes of each.
      shard: int32 [N], which path. number: int32 [N], which record of the file.
      offset, length: int64 [N], as tfrecord.scan gives them.
      label: int32 [N], 0-based; -1: none.
    """
    paths: tuple
    sizes: np.ndarray
    shard: np.ndarray
    number: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    label: np.ndarray

    def __len__(self):
        return len(self.shard)

    def where(self, i):
        """File and position of example i, in words."""
        return tfrecord.position(self.paths[self.shard[i]], self.number[i], self.offset[i])

    def read(self, i):
        """The serialized example i, bytes; CorruptRecord if it is not what was written."""
        return tfrecord.read(self.paths[self.shard[i]], int(self.offset[i]),
                                 int(self.length[i]), self.number[i])

    def record(self, i, num_classes=None):
        """Example i, a schema.Record; its label is None where the index has none.

        Raises:
          CorruptRecord: it is not what was written, or its label not the one that was indexed.
        """
        expected = int(self.label[i])
        record = schema.decode(self.read(i), self.where(i), expected >= 0, num_classes)
        if expected >= 0 and record.label != expected:
            raise CorruptRecord(f"{self.where(i)}: {schema.LABEL} is {record.label + 1} instead of "
                                f"{expected + 1}: the file has changed since it was indexed; index "
                                "it again")
        return record

    def subset(self, chosen):
        """The Index of the examples `chosen`, int [M] or bool [N], of the same shards."""
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})


def joined(parts):
    """One Index of all records of several, shards renumbered."""
    firsts = np.cumsum([0, *(len(part.paths) for part in parts)])
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in ("offset", "length", "number", "label")}
    return Index(
        sum((part.paths for part in parts), ()), np.concatenate([part.sizes for part in parts]),
        shard=np.concatenate([part.shard + first for part, first in zip(parts, firsts)]), **columns)


def build_index(paths, num_classes=None, labels=True, skip_corrupt=False, progress=False,
                workers=8):
    """Indexes the files `paths`.

    Args:
      paths: of TFRecord files, in the order that the index is to have.
      num_classes: labels above it are refused; None: any is right.
      labels: True: every record is read, checked and decoded (not its image), and one that is there
        twice is refused. False: headers only; label is -1, and payloads are checked when read.
      skip_corrupt: leaves out what cannot be used instead of raising: records, or behind a damaged
        header all the rest of the file.
      progress: shows a bar on stderr.
      workers: threads.

    Returns:
      (Index, skipped): skipped is a list of lines, each naming file and position.

    Raises:
      CorruptRecord: the first problem, without skip_corrupt; always where no record is left.
    """
    paths = tuple(os.fspath(path) for path in paths)
    parts, problems = [], []
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
    if not len(index):
        raise CorruptRecord(f"{', '.join(paths[:1]) or 'no files'}{', ...' if paths[1:] else ''}: "
                            f"no usable record ({len(problems)} skipped): get or prepare the files "
                            "again")
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
    """(index, problems): the first of equal records stays."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    original = first[inverse.reshape(-1)]
    doubles = np.flatnonzero(original != np.arange(len(key)))
    problems = [CorruptRecord(f"{index.where(i)}: the same record as {index.where(original[i])}: "
                              "expected every example once; get or prepare the files again")
                for i in doubles]
    return (index.subset(np.delete(np.arange(len(key)), doubles)) if len(doubles) else index,
            problems)


def save_index(path, index):
    """Writes an Index to `path` (.npz), whole or not at all; its shards lie in the same folder."""
    names = np.array([os.path.basename(name) for name in index.paths])
    with storage.partial(os.fspath(path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, names=names, sizes=index.sizes,
                 **{name: getattr(index, name) for name in _ARRAYS})


def load_index(path):
    """Reads what save_index wrote.

    Raises:
      FileNotFoundError: no such file, or a shard of it is gone.
      CorruptRecord: no index, or a shard whose size is not what it was.
    """
    path = os.fspath(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, sizes = stored["names"], stored["sizes"].astype(np.int64)
            columns = {name: stored[name].astype(kind) for name, kind in _ARRAYS.items()}
        paths = tuple(os.path.join(os.path.dirname(path), str(name)) for name in names)
        index = Index(paths, sizes, **columns)
        shapes = {array.shape for array in columns.values()}
        ends = index.offset + index.length + tfrecord.HEADER + tfrecord.FOOTER
        if (len(shapes) != 1 or index.shard.ndim != 1 or sizes.shape != (len(paths),)
                or np.any(index.offset < 0) or np.any(index.length < 0)
                or np.any(ends > sizes[index.shard]) or np.any(index.shard < 0)):
            raise ValueError("its arrays do not belong together")
    except (KeyError, IndexError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptRecord(f"{path}: no index of records ({' '.join(str(error).split())[:120]}): "
                            "delete it, and it is made again") from error
    for shard, expected in zip(paths, sizes):
        if not os.path.isfile(shard):
            raise FileNotFoundError(f"{shard} is missing, which {os.path.basename(path)} lists: "
                                    "get or prepare it again")
        found = os.path.getsize(shard)
        if found != expected:
            raise CorruptRecord(f"{shard}: {found} bytes instead of the {expected} that it had "
                                "when it was indexed: get or prepare it again, or delete "
                                f"{os.path.basename(path)} to index what is there")
    return index

"""TFRecord files: names shards, finds where their records begin, and reads any record, checked.

A TFRecord file is a sequence of records: uint64 length, uint32 masked crc32c of those 8 bytes, the
payload, uint32 masked crc32c of the payload; little-endian. So the headers alone lead from record
to record, and with a list of offsets any record is read directly. What a payload holds is said in
schema.py.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO, Iterable

import google_crc32c

from mpl_tf.common import formats, room

HEADER, FOOTER = 12, 4      # bytes before and after a payload


class CorruptRecord(ValueError):
    """A record or file cannot be used; the message is one line that names file and position."""


class UnreadableFile(CorruptRecord):
    """The system does not give the file, so that nothing is known of its records: never skipped."""


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns "train-00000-of-01024" for ("train", 0, 1024)."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}"


def split_of(name: str) -> str:
    """Returns "train" for "train-00000-of-01024"."""
    return name.rsplit("-", 3)[0]


_SHARD = re.compile(r"(.+)-(\d{5,})-of-(\d{5,})")


def find_splits(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Finds all shards in `folder`: {split: sorted file names}; a split may be incomplete."""
    splits: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        match = _SHARD.fullmatch(name)
        if match and not name.startswith("."):      # files that are being written are hidden
            splits.setdefault(match.group(1), []).append(name)
    return splits


def find_shards(folder: str | os.PathLike[str], split: str) -> list[str]:
    """Returns the paths of a split's shards, in order.

    Raises:
      FileNotFoundError: there is no such folder, or none of its files is a shard of `split`.
      ValueError: a shard is missing, or shards of different totals (-of-00008) are mixed.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder}: expected one with shards like "
                                f"{shard_name(split, 0, 8)}; correct the path")
    splits = find_splits(folder)
    names = splits.get(split)
    packed = sorted(name for name in os.listdir(folder)
                    if _SHARD.fullmatch(name.rpartition(".")[0]) and split_of(name) == split)
    if not names and packed:
        raise FileNotFoundError(
            f"{folder} has {packed[0]}, which is no name of a shard: expected names like "
            f"{shard_name(split, 0, 8)}; rename the files, and unpack compressed ones first")
    if not names:
        raise FileNotFoundError(
            f"{folder} has no shards of {split!r}: expected files like {shard_name(split, 0, 8)}, "
            f"found shards of {', '.join(map(repr, splits)) or 'nothing'}; correct the path")
    counts = sorted({int(_SHARD.fullmatch(name).group(3)) for name in names})
    if len(counts) > 1:
        raise ValueError(f"{folder} has shards of {split!r} of {len(counts)} data sets, "
                         f"{' and '.join(f'-of-{count:05d}' for count in counts)}: keep only one "
                         "of them")
    expected = [shard_name(split, shard, counts[0]) for shard in range(counts[0])]
    missing = sorted(set(expected) - set(names))
    if missing or len(names) != len(expected):
        wrong = f"{missing[0]} is missing" if missing else f"{max(names)} is one too many"
        raise ValueError(f"{folder} has {len(names)} shards of {split!r} instead of {counts[0]}: "
                         f"{wrong}; complete the folder")
    return [os.path.join(folder, name) for name in expected]


def write(path: str | os.PathLike[str], serialized: Iterable[bytes]) -> None:
    """Writes a TFRecord file with the payloads `serialized`; OSError, in one line, if it cannot."""
    import tensorflow as tf
    try:
        with tf.io.TFRecordWriter(os.fsencode(path)) as writer:
            for payload in serialized:
                writer.write(payload)
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise room.full_disk(error, path) or OSError(
            f"{path} cannot be written ({reason}): give permission, and run the same command "
            "again") from error


def masked_crc(data: bytes) -> int:
    """crc32c of bytes as TFRecord files store it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def scan(path: str | os.PathLike[str],
         problems: list[CorruptRecord] | None = None) -> tuple[list[int], list[int]]:
    """Finds the records of a file by reading their headers alone, no payload.

    Args:
      path: of a TFRecord file.
      problems: a list to which a CorruptRecord is appended instead of being raised; the result is
        then the records before it. None: it is raised.

    Returns:
      (offsets, lengths): the byte at which each record's header begins, and the bytes of its
      payload.

    Raises:
      CorruptRecord: the file ends inside a record, holds no record, or a header is damaged, so that
        nothing after it can be found.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    offset = 0
    size = os.path.getsize(path)
    try:
        with open(path, "rb", buffering=0) as file:
            if not size:
                raise CorruptRecord(f"{path}: the file is empty, 0 bytes: expected at least one "
                                    "record; prepare the file again")
            while offset < size:
                place = position(path, len(offsets), offset)
                length = _length(file.read(HEADER), place, None if offset else path)
                end = offset + HEADER + length + FOOTER
                if end > size:
                    raise CorruptRecord(
                        f"{place}: the file ends at byte {size} instead of {end} or later: it is "
                        "truncated here; get or prepare it again")
                offsets.append(offset)
                lengths.append(length)
                offset = end
                file.seek(offset)
    except CorruptRecord as error:
        if problems is None:
            raise
        problems.append(error)
    return offsets, lengths


def read(file: str | os.PathLike[str] | BinaryIO, offset: int, length: int,
         number: int | None = None) -> bytes:
    """Reads the payload of one record and compares its checksum.

    Args:
      file: path, or an open binary file (any number of threads may read from it at once).
      offset, length: as `scan` gives them. number: of the record, for the line of an error.

    Returns:
      The payload, `length` bytes.

    Raises:
      CorruptRecord: no record of this length is there, or its bytes are not those that were
        written.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb", buffering=0) as opened:
            return read(opened, offset, length, number)
    place = position(file.name, number, offset)
    block = _read_at(file, HEADER + length + FOOTER, offset)
    if len(block) != HEADER + length + FOOTER:
        raise CorruptRecord(f"{place}: the file ends inside the record: it is truncated; get or "
                            "prepare it again")
    found = _length(block[:HEADER], place, None if offset else file.name)
    if found != length:
        raise CorruptRecord(f"{place}: a record of {_bytes(found)} is there, and the index says "
                            f"{_bytes(length)}: the file has changed since it was indexed; index it "
                            "again")
    payload = block[HEADER:-FOOTER]
    if masked_crc(payload) != struct.unpack("<I", block[-FOOTER:])[0]:
        raise CorruptRecord(f"{place}: the checksum of its {length} bytes is wrong: the record is "
                            "damaged; get or prepare the file again")
    return payload


def _other_file(path):
    """What a file is instead of a TFRecord file, and what to do about it; "" if that is unknown."""
    what = formats.of_file(path)
    if what in ("compressed by gzip", "compressed by zlib"):
        kind = what.rpartition(" ")[2].upper()
        return (f"the file is {what}, and only uncompressed shards can be read at any place; write "
                f"it again by a TFRecordWriter without options (yours had {kind!r}), or unpack it"
                + (" with gunzip" if kind == "GZIP" else ""))
    return what and f"the file is {what}, no TFRecord file; get or prepare it again"


def _read_at(file, size, offset):
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    with open(file.name, "rb") as own:      # Windows: a position of its own instead of a lock
        own.seek(offset)
        return own.read(size)


def _length(header, place, path):
    """Returns the payload's length from a record's header; CorruptRecord where it is damaged.

    path: of the file, if the record is its first one: it may be a file of another kind.
    """
    if len(header) < HEADER:
        raise CorruptRecord(f"{place}: {len(header)} bytes are left instead of a header of "
                            f"{HEADER} bytes: the file is truncated here; get or prepare it again")
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        raise CorruptRecord(f"{place}: no header of a record is here: " + (
            path and _other_file(path) or "the file is damaged from this byte on, or is no TFRecord file; "
            "get or prepare it again"))
    return length


def _bytes(count):
    return f"{count} byte{'s' * (count != 1)}"


def position(path: str | os.PathLike[str], number: int | None, offset: int) -> str:
    """The file and the position in it, in words: the beginning of a CorruptRecord's message."""
    return f"{path}, {'record' if number is None else f'record {number}'} at byte {offset}"

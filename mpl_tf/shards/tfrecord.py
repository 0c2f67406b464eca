"""TFRecord files: names of shards, where their records are, and any record at once, checked.

A TFRecord file is a row of records: uint64 length, uint32 masked crc32c of those 8 bytes, the
payload, uint32 masked crc32c of the payload; little-endian. So the headers alone lead from record to
record, and a list of offsets makes every record equally near. What is in a payload: schema.py.
"""

import os
import re
import struct

import google_crc32c

HEADER, FOOTER = 12, 4      # bytes around a payload


class CorruptRecord(ValueError):
    """A record or file that cannot be used; one line that names the file and the position."""


def shard_name(split, shard, num_shards):
    """"train-00000-of-01024" for ("train", 0, 1024)."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}"


def split_of(name):
    """"train" for "train-00000-of-01024"."""
    return name.rsplit("-", 3)[0]


_SHARD = re.compile(r"(.+)-(\d{5,})-of-(\d{5,})")


def find_splits(folder):
    """{split: sorted names of its files} of all shards in `folder`, complete or not."""
    splits = {}
    for name in sorted(os.listdir(folder)):
        match = _SHARD.fullmatch(name)
        if match and not name.startswith("."):      # half written ones are hidden
            splits.setdefault(match.group(1), []).append(name)
    return splits


def find_shards(folder, split):
    """Paths (str) of a split's shards, in order.

    Raises:
      FileNotFoundError: no such folder, or none of its files is a shard of `split`.
      ValueError: a shard is missing, or there are shards of two ways of sharding.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder}: expected one with shards like "
                                f"{shard_name(split, 0, 8)}; correct the path")
    splits = find_splits(folder)
    names = splits.get(split)
    if not names:
        raise FileNotFoundError(
            f"{folder} has no shards of {split!r}: expected files like {shard_name(split, 0, 8)}, "
            f"found shards of {', '.join(map(repr, splits)) or 'nothing'}; correct the path")
    counts = sorted({int(_SHARD.fullmatch(name).group(3)) for name in names})
    if len(counts) > 1:
        raise ValueError(f"{folder} has shards of {split!r} of {len(counts)} data sets, "
                         f"{' and '.join(f'-of-{count:05d}' for count in counts)}: keep those of "
                         "one")
    expected = [shard_name(split, shard, counts[0]) for shard in range(counts[0])]
    missing = sorted(set(expected) - set(names))
    if missing or len(names) != len(expected):
        wrong = f"{missing[0]} is missing" if missing else f"{max(names)} is one too many"
        raise ValueError(f"{folder} has {len(names)} shards of {split!r} instead of {counts[0]}: "
                         f"{wrong}; complete the folder")
    return [os.path.join(folder, name) for name in expected]


def write(path, serialized):
    """Writes the records `serialized`, an iterable of bytes, to a TFRecord file; OSError if not."""
    import tensorflow as tf
    try:
        with tf.io.TFRecordWriter(os.fspath(path)) as writer:
            for payload in serialized:
                writer.write(payload)
    except tf.errors.OpError as error:      # a full disk, no permission
        reason = " ".join(error.message.split())[:200]
        raise OSError(f"{path} cannot be written ({reason}): make room or give permission, and run "
                      "the same command again") from error


def masked_crc(data):
    """crc32c of bytes as TFRecord files store it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def scan(path, problems=None):
    """Where the records of a file are, from their headers alone; no payload is read.

    Args:
      path: of a TFRecord file.
      problems: a list: takes the CorruptRecord, and the records before it are the result.

    Returns:
      (offsets, lengths), lists of int: where a record's header begins, and the bytes of its payload.

    Raises:
      CorruptRecord: the file ends inside a record, holds none, or a header is damaged, so that
        nothing behind it can be found.
    """
    offsets, lengths, offset = [], [], 0
    size = os.path.getsize(path)
    try:
        with open(path, "rb", buffering=0) as file:
            if not size:
                raise CorruptRecord(f"{path}: empty, 0 bytes: expected at least one record; "
                                    "prepare the file again")
            while offset < size:
                place = position(path, len(offsets), offset)
                length = _length(file.read(HEADER), place)
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


def read(file, offset, length, number=None):
    """The payload of one record, checked.

    Args:
      file: path, or an open binary file (any number of threads may read from it at once).
      offset, length: as `scan` gives them. number: of the record, for the line of an error.

    Returns:
      bytes [length].

    Raises:
      CorruptRecord: not this record is there, or its bytes are not those that were written.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb", buffering=0) as opened:
            return read(opened, offset, length, number)
    place = position(file.name, number, offset)
    block = _read_at(file, HEADER + length + FOOTER, offset)
    if len(block) != HEADER + length + FOOTER:
        raise CorruptRecord(f"{place}: the file ends inside the record: it is truncated; get or "
                            "prepare it again")
    found = _length(block[:HEADER], place)
    if found != length:
        raise CorruptRecord(f"{place}: a record of {found} bytes instead of {length}: the file "
                            "has changed since it was indexed; index it again")
    payload = block[HEADER:-FOOTER]
    if masked_crc(payload) != struct.unpack("<I", block[-FOOTER:])[0]:
        raise CorruptRecord(f"{place}: checksum of its {length} bytes differs: the record is "
                            "damaged; get or prepare the file again")
    return payload


def _read_at(file, size, offset):
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    with open(file.name, "rb") as own:      # Windows: a position of its own instead of a lock
        own.seek(offset)
        return own.read(size)


def _length(header, place):
    """The length that a header gives."""
    if len(header) < HEADER:
        raise CorruptRecord(f"{place}: {len(header)} bytes are left instead of a header of "
                            f"{HEADER}: the file is truncated here; get or prepare it again")
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        raise CorruptRecord(f"{place}: no header of a record: the file is damaged from here on, "
                            "or no TFRecord file; get or prepare it again")
    return length


def position(path, number, offset):
    """File and position in words, as every CorruptRecord begins."""
    return f"{path}, {'record' if number is None else f'record {number}'} at byte {offset}"

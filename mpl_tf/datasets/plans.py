"""What programs that write a file for each shard, on several machines, have in common."""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping, Sequence

from mpl_tf.common import storage
from mpl_tf.datasets.predictions import check_keys
from mpl_tf.shards import tfrecord


def claim(path: str, plan: Mapping[str, Any], read: Callable[[], Mapping[str, Any]], elsewhere: str,
          said: Callable[[str, Mapping[str, Any]], str] = lambda key, old: key) -> None:
    """Writes a plan, or checks that the one that is there is equal but for its sources.

    Args:
      path: of the plan's file, in the folder of the results.
      read: reads the plan that is there.
      elsewhere: what to do where it is another, such as "predict into an empty folder".
      said: names a part of the plan, a key, in words; it is given the plan that is there too.

    Raises:
      ValueError: in one line: it is not equal, or the folder holds other files.
    """
    folder, name = os.path.split(path)
    if os.path.exists(path):
        old = read()
        wrong = [said(key, old) for key in plan if key != "sources" and old[key] != plan[key]]
        if wrong:
            raise ValueError(f"{path} belongs to {' and '.join(map(_other, wrong))}: {elsewhere}")
        return
    foreign = sorted(each for each in os.listdir(folder) if not each.startswith(storage.PARTIAL))
    if foreign:
        raise ValueError(f"--output_dir={folder} holds {foreign[0]!r} and no {name}: choose a new or "
                         "empty folder")
    storage.write_json(path, plan, shared=True)     # several machines may begin together


def _other(words):
    """"another network", "other shards"."""
    several = words.partition(" (")[0].endswith("s")
    return f"{'other' if several else 'another'} {words}"


def check_source(path: str, source: str, keys: Sequence[bytes], numbers: Sequence[int],
                 **again: str) -> None:
    """Compares the keys that a file has stored with those of the shard that it was made of.

    Args:
      path, source, keys, numbers, again: as of predictions.check_keys.

    Raises:
      ValueError: a record has another key, or is not there any more.
    """
    problems: list[Exception] = []
    offsets, lengths = tfrecord.scan(source, problems)

    def read(j):
        if numbers[j] >= len(offsets):
            raise problems[0] if problems else tfrecord.CorruptRecord(
                f"{source} has {len(offsets)} records, no number {numbers[j]}")
        return tfrecord.read(source, offsets[numbers[j]], lengths[numbers[j]])

    check_keys(path, source, keys, numbers, read, **again)

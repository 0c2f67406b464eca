"""Reads shards through once, batch by batch: threads read and decode ahead of whoever computes.

All images of a batch are from one shard, so that what is computed for a shard depends on it, the
network and the batch size alone.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import queue
import sys
import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

from mpl_tf.common.cores import cores
from mpl_tf.shards import schema, tfrecord


@dataclasses.dataclass(frozen=True)
class Task:
    """A shard to read: its name and path; the path is None for scikit-learn's digits."""
    name: str
    path: str | None


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some records of a task.

    Attributes:
      task: the Task. first: number of the first record, whether or not it could be read.
      keys, numbers, items: of the records that could be read, what identifies each (bytes), its
        number in the shard, and what was decoded of it.
      skipped: numbers of those that could not. last: whether the task ends with this batch.
    """
    task: Task
    first: int
    keys: list
    numbers: list
    items: list
    skipped: list
    last: bool


def batches(tasks: Iterable[Task], decode: Callable[[schema.Record], Any], batch_size: int,
            skip_corrupt: bool = False, labeled: Callable[[str], bool] = lambda name: False,
            most: Optional[Mapping[str, int]] = None) -> Iterator[Batch]:
    """Yields the Batches of all tasks, which have paths, in order, decoded by threads.

    Args:
      decode: makes of a schema.Record what is wanted of it; it raises what it likes.
      batch_size: records of a batch; the last batch of a shard may be smaller.
      skip_corrupt: leaves out records that cannot be used.
      labeled: a function of a task's name: whether its records have labels, which are read.
      most: {a task's name: how many of its records are read}; others are read to their end.

    Raises:
      tfrecord.CorruptRecord: a record cannot be used, and skip_corrupt is off.
    """
    with concurrent.futures.ThreadPoolExecutor(cores()) as threads:
        for task in tasks:
            problems = [] if skip_corrupt else None
            offsets, lengths = tfrecord.scan(task.path, problems)
            for problem in problems or ():
                print(f"skipped, with what is behind it: {problem}", file=sys.stderr, flush=True)
            count = min(len(offsets), (most or {}).get(task.name, len(offsets)))
            labels = labeled(task.name)
            with open(task.path, "rb", buffering=0) as file:
                yield from of_one(
                    task, count, lambda i: _read(file, offsets[i], lengths[i], i, decode, labels),
                    threads, batch_size, skip_corrupt)


def of_one(task, count, read, threads, batch_size, skip_corrupt):
    """Yields the Batches of one task; `read` gives (key, item, problem or None) of a number."""
    for first in range(0, max(count, 1), batch_size):       # one batch of none ends an empty file
        numbers = range(first, min(first + batch_size, count))
        found = list(threads.map(read, numbers))
        problems = [problem for *_, problem in found if problem]
        if problems and not skip_corrupt:
            raise problems[0]
        used = [i for i, (*_, problem) in zip(numbers, found) if not problem]
        yield Batch(task, first, [found[i - first][0] for i in used], used,
                    [found[i - first][1] for i in used],
                    [i for i in numbers if found[i - first][2]], last=first + batch_size >= count)


def _read(file, offset, length, number, decode, labels):
    """Reads a record: (key, what `decode` makes of it, None), or (None, None, CorruptRecord)."""
    place = tfrecord.position(file.name, number, offset)
    try:
        record = schema.decode(tfrecord.read(file, offset, length, number), place, labels=labels)
        try:
            item = decode(record)
        except MemoryError:
            raise
        except Exception as error:      # a damaged image raises whatever its decoder does
            reason = " ".join(str(error).split())[:120]
            raise tfrecord.CorruptRecord(
                f"{place}: image {record.filename} cannot be decoded ({reason}): remove or mend "
                "it, or use --skip_corrupt") from error
    except tfrecord.CorruptRecord as problem:
        return None, None, problem
    return record.filename.encode("utf-8", "surrogateescape"), item, None


def ahead(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yields `items`, which a thread makes up to `count` ahead, and raises its exceptions here."""
    waiting, ended = queue.Queue(count), threading.Event()

    def put(item):
        while not ended.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work():
        try:
            for item in items:
                put((item, None))
                if ended.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:      # raised again where the items are taken
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        ended.set()
        thread.join()


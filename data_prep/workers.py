"""Runs work on shards in several processes; each shard is written whole or not at all."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

from mpl_tf.common import storage
from mpl_tf.shards import schema, tfrecord


def results(function, arguments, workers):
    """Yields function(*each) for each of `arguments`, in any order.

    Args:
      function: a function that can be pickled. arguments: an iterable of tuples.
      workers: number of processes; 1: the calls are made in this process.
    """
    if workers > 1:
        yield from _in_processes(function, arguments, workers)
    else:
        for each in arguments:
            yield function(*each)


def _in_processes(function, arguments, workers):
    """As `results`, in processes.

    The next arguments are taken only when a worker is nearly free, so that few wait in memory.
    """
    context = multiprocessing.get_context("spawn")      # a fork of TensorFlow's threads hangs
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(),))
    running = set()
    try:
        for each in arguments:
            running.add(pool.submit(function, *each))
            if len(running) > workers + 1:
                done, running = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED)
                yield from (task.result() for task in done)
        for task in concurrent.futures.as_completed(running):
            yield task.result()
    except BrokenProcessPool as error:
        raise OSError("a worker process was killed, perhaps because memory ran out: run the same "
                      "command with fewer --workers to continue") from error
    except BaseException:       # Ctrl-C: what is being written is written again by the next run
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent):
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent ends its workers

    def watch():        # a parent that was killed leaves its workers waiting, or writing
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


class _Unreadable(Exception):
    """Ends the writing of a shard so that it is discarded."""


def write_shard(file, items, make, path, skip_corrupt):
    """Makes records of `items` and writes them to `path`, whole or not at all.

    Returns:
      (file, note, problems, began): note is a dict about the finished shard. If an image cannot be read and
      skip_corrupt is off, the shard is not written, note is None, and problems has a line for each
      such image. began is when the first image was taken up, a time of time.monotonic(), which all
      processes share: until then importing TensorFlow takes seconds.
    """
    skipped, lengths, labels, began = [], [], [], []

    def serialized():
        began.append(time.monotonic())
        for item in items:
            try:
                record = make(item)
            except (ValueError, OSError) as error:
                reason = getattr(error, "strerror", None) or error
                skipped.append(f"{item[0]}: {reason}")
                continue
            payload = schema.encode(record)
            lengths.append(len(payload))
            labels.append(-1 if record.label is None else record.label)
            yield payload

    try:
        with storage.partial(path, shared=True) as temporary:
            tfrecord.write(temporary, serialized())
            if skipped and not skip_corrupt:
                raise _Unreadable
            if not lengths:
                fewer = "" if file.endswith("-of-00001") else ", or give fewer shards"
                raise ValueError(f"{file} would be empty, as none of its {len(items)} images can "
                                 f"be read ({skipped[0]}): replace them{fewer}")
            digest, size = storage.sha256(temporary), os.path.getsize(temporary)
    except _Unreadable:
        return file, None, skipped, began[0]
    return file, {"examples": len(lengths), "bytes": size, "sha256": digest,
                  "skipped": skipped, "lengths": lengths, "labels": labels}, [], began[0]

"""Local processes that work on one study: they end when this one ends, in whatever way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from mpl_tf.common import command
from mpl_tf.common.stop_request import StopRequest
from mpl_tf.tune import study as studies

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 5        # after a second Ctrl-C


def share_cores(number, count):
    """Leaves this process, worker `number` of `count`, its part of the cores, where there are enough.

    TensorFlow starts a thread for each core that it may use: with all cores in every worker they would
    wait for each other. Call it before TensorFlow is imported.
    """
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        if 1 < count <= len(own):
            os.sched_setaffinity(0, own[number::count])
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")      # they may share a GPU


def end_with_parent():
    """Has SIGTERM end this worker, which saves first, once its parent is gone: stdin then ends."""
    def watch():
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=watch, daemon=True).start()


def run(arguments, count, folder, seen):
    """Runs `count` processes of this program with `arguments`, and waits for them.

    A worker that fails ends the others. SIGTERM and Ctrl-C end all of them, after each has saved; a
    second Ctrl-C without saving.

    Args:
      folder: the study's, in which each worker has a file for what it prints.
      seen: a function that is called every now and then while they work.

    Raises:
      command.Stopped: if a signal ended them.
      ChildFailed: if a worker failed.
    """
    with StopRequest("stopping: each worker saves its trial; Ctrl-C again ends them without "
                     "saving") as stop:
        children = []
        try:
            for number in range(count):
                children.append(_start(arguments, number, count, folder))
            told = False
            while any(child.poll() is None for child in children):
                failed = any(child.poll() not in (None, 0) for child in children)
                if (stop.asked or failed) and not told:
                    told = True
                    for child in children:
                        child.terminate()
                time.sleep(POLL_SECONDS / 5)
                seen()
        finally:
            _end(children)
    seen(last=True)
    if stop.asked:
        raise command.Stopped("stopped, and each worker saved its trial: the same command continues",
                              stop.asked)
    # Those that were ended because of another's failure ended by a signal, or stopped.
    failed = [(number, child.returncode) for number, child in enumerate(children) if child.returncode]
    if failed:
        raise ChildFailed(_why(folder, *min(failed, key=lambda each: each[1] >= 128 or each[1] == -15)))


def _end(children):
    """Ends those that still run: by a Ctrl-C that they can note as no failure of their trials, then by force."""
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
        child.stdin.close()
        child.wait()


class ChildFailed(Exception):
    """A worker failed. The text, of one line, says why."""


def _log(folder, number):
    return os.path.join(folder, studies.LOGS, f"worker-{number}.log")


def _start(arguments, number, count, folder):
    """Starts a worker. A session of its own keeps a terminal's Ctrl-C from it, which we pass on."""
    with open(_log(folder, number), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mpl_tf.tune", f"--worker={number}/{count}", *arguments],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _why(folder, number, code):
    path = _log(folder, number)
    if code < 0:
        return (f"worker {number} was ended by signal {-code}, perhaps because memory ran out: the same "
                f"command continues, with fewer --workers; see {path}")
    with open(path, "rb") as file:
        lines = file.read()[-10_000:].decode("utf-8", "replace").strip().splitlines() or [""]
    return f"worker {number} failed: {lines[-1].removeprefix('error: ')} (see {path})"

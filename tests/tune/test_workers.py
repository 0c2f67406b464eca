"""Local workers: how they are ended."""

import signal
import subprocess
import sys

from mpl_tf.tune import workers


def test_workers_are_asked_to_end_before_they_are_killed(monkeypatch):
    """By what Ctrl-C sends, which is no failure of their trials; one that does not hear is killed."""
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 3)
    start = "import signal, sys, time; signal.signal(signal.SIGINT, {}); print(flush=True); time.sleep(60)"
    children = [subprocess.Popen([sys.executable, "-c", start.format(what)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE) for what in ("lambda *_: sys.exit(7)", "signal.SIG_IGN")]
    for child in children:
        child.stdout.readline()         # it has its handler
    workers._end(children)
    assert [child.returncode for child in children] == [7, -signal.SIGKILL]
    for child in children:
        child.stdout.close()

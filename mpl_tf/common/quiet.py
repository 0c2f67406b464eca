"""Keeps back what TensorFlow says of itself while it is imported, and repetitions; errors stay visible.

TensorFlow 2.16 and later writes such lines past TF_CPP_MIN_LOG_LEVEL, from C++, so that only the file
descriptor can be filtered. A process of its own filters, because an import can end in an abort (a
processor without AVX), and its last line is the one that counts.
"""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import subprocess
import sys

# Informations and warnings in the form of absl's log; what begins that log; and an error that every
# TensorFlow for GPUs reports, although nothing is wrong.
NOISE = (r"^[IW][0-9]{4} [0-9:.]+ +[0-9]+ [^ ]+:[0-9]+\] "
         r"|^WARNING: All log messages before absl::InitializeLog\(\)"
         r"|^E[0-9]{4} [0-9:.]+ +[0-9]+ [^ ]+:[0-9]+\] Unable to register cu[A-Za-z]+ (factory|plugin)")
SECONDS = 5     # within which the filter ends, unless another process writes to it still


@contextlib.contextmanager
def filtered(noise=NOISE):
    """A context that drops the lines on file descriptor 2 that match `noise`, as grep -E means it.

    The other lines appear at the end of the context, or of the process. Where there is no grep, or
    the file descriptor is closed, all lines appear.
    """
    try:
        kept = os.dup(2)
        child = subprocess.Popen(["grep", "-avE", noise], stdin=subprocess.PIPE, stdout=kept,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError:
        yield
        return
    _flush()
    os.dup2(child.stdin.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, 2)
        os.close(kept)
        child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(SECONDS)


def _flush():
    with contextlib.suppress(AttributeError, ValueError, OSError):      # closed, or none
        sys.stderr.flush()


class _Hook(importlib.abc.MetaPathFinder):
    """Finds one module on the path as usual, and has it executed in the context `filtered`."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        """The usual spec of the module, with `filtered` around its execution."""
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module):
                with filtered():
                    execute(module)
            spec.loader.exec_module = quietly
        return spec


def while_importing(name):
    """Filters file descriptor 2 when the module `name` is imported, unless it has been already."""
    known = any(isinstance(finder, _Hook) and finder.name == name for finder in sys.meta_path)
    if name not in sys.modules and not known:
        # Directly before the usual finder, so that other hooks, as of mpl_tf.moved, come first.
        usual = importlib.machinery.PathFinder
        place = sys.meta_path.index(usual) if usual in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, _Hook(name))


@contextlib.contextmanager
def repetitions():
    """A context in which each line of this project's log is said once."""
    said, log = set(), logging.getLogger("mpl_tf")

    def is_new(record):
        line = record.getMessage()
        return not (line in said or said.add(line))
    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)

"""Tells a lack of room, on a disk or in memory, from other errors, whichever library met it.

Python's own errors have a number, TensorFlow's and HDF5's a text. TensorFlow is not imported here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import Iterator

_ROOM = {
    errno.ENOSPC: "make room", errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or choose another disk"}
# TensorFlow's words, and NumPy's, with what follows: a folder may be called "Unable to allocate".
_NO_MEMORY = re.compile(
    r"OOM when allocating tensor with shape\[|Unable to allocate [\d.]+ \S+ for an array")


def explained(error: BaseException) -> str | None:
    """The line for an error of which a lack of room is the cause; None for any other error."""
    if isinstance(error, MemoryError) or (
            not isinstance(error, (ValueError, OSError)) and _NO_MEMORY.search(str(error))):
        first = (str(error).strip().splitlines() or ["MemoryError"])[0].rpartition("}} ")[2]
        return (f"memory ran out ({first[:120]}): use smaller batches, images or networks, or a "
                "machine with more memory; what has been saved is kept")
    for each in _chain(error):
        number, path = _number_and_path(each)
        if number:
            return (f"{path or 'the output'} cannot be written ({os.strerror(number)}): "
                    f"{_ROOM[number]}; the same command continues")
    return None


def full_disk(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """The OSError, of the file `path`, that says what `error` says of a full disk, or None."""
    number, _ = _number_and_path(error)
    return OSError(number, os.strerror(number), os.fspath(path)) if number else None


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context manager: the error of a full disk that does not name its file gets the name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _ROOM:
            error.filename = os.fspath(path)
        raise


def memory() -> int | None:
    """The bytes of memory, swap included, that this process can have; None where nothing says so."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):       # Windows
        return None
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _text(path)
        total = min(total, int(limit)) if limit.isdigit() else total
    swap = [int(line.split()[1]) * 1024 for line in _text("/proc/meminfo").splitlines()
            if line.startswith("SwapTotal:")]
    return total + sum(swap)


def _text(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _chain(error):
    """`error`, and the errors that it was raised from or during."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return seen


def _number_and_path(error):
    """(number in _ROOM, path or "") of an error of a full disk; (None, "") of another."""
    if isinstance(error, OSError) and error.errno in _ROOM:
        return error.errno, os.fsdecode(error.filename or "")
    if isinstance(error, ValueError):       # its text may quote a user's
        return None, ""
    for number in _ROOM:
        words = re.escape(os.strerror(number))      # a folder of this name is followed by a slash
        found = re.search(rf"; {words}(?= \[Op:|\s*$)", str(error), re.MULTILINE)
        if found:       # TensorFlow: {{the operation}} PATH; No space left on device
            path = str(error)[:found.start()]
            return number, path.rpartition("}} ")[2].rpartition("\n")[2]
        # HDF5's words, and Python's of an error that another library made text of.
        if re.search(rf"(error message = '|\[Errno {number}\] ){words}(?!/)|(^|: ){words}\s*$", str(error)):
            return number, ""
    return None, ""

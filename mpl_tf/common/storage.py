"""Files that appear whole or not at all, JSON, checksums, and folders that one process holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from typing import Any

from mpl_tf.common import room, structure

PARTIAL = ".partial-"       # how the name of what is being written begins


def read_json(path: str | os.PathLike[str], remedy: str = "get or write it again",
              expected: Any = dict) -> Any:
    """Returns what a JSON file holds, or None where there is no such file.

    Args:
      remedy: what to do about a damaged file; it ends the line that refuses one.
      expected: what the file has to hold, as structure.py describes it.

    Raises:
      ValueError: in one line, naming the file, where it cannot be read, is no JSON, or holds
        something else than expected.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:      # editors may write a byte-order mark
            value = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): give this process "
                         "permission to read it") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, no JSON ({' '.join(str(error).split())[:80]}): "
                         f"{remedy}") from error
    wrong = structure.mismatch(value, expected)
    if wrong:
        raise ValueError(f"{path} is damaged, {wrong}: {remedy}")
    return value


def write_json(path, value, shared=False):
    """Writes `value` to a JSON file, whole or not at all; for `shared` see `partial`."""
    with partial(path, shared) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def entries(folder: str, flag: str) -> list[str] | None:
    """The names in a folder but for those that are being written; None where there is no such folder.

    Raises:
      ValueError: in one line that begins with `flag`=`folder`, where it is none or cannot be read.
    """
    try:
        return [name for name in os.listdir(folder) if not name.startswith(PARTIAL)]
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise ValueError(f"{flag}={folder} is a file, or lies in one: expected a folder; choose "
                         f"another {flag}") from error
    except OSError as error:
        raise ValueError(f"{flag}={folder} cannot be read ({error.strerror}): expected a folder; choose "
                         f"another {flag}") from error


def sha256(path):
    """The SHA-256 of a file of any size: a str of 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def partial(path, shared=False):
    """Yields a temporary name beside `path`, and renames what was written there to `path`.

    The caller writes a file or a folder of the yielded name. If it raises, that is removed, and
    `path` stays as it was.

    Args:
      path: the file or folder that is to appear.
      shared: whether other processes may write the same file at the same time. Each then has a
        temporary name of its own, and the last to finish wins.
    """
    folder, name = os.path.split(os.fspath(path))
    temporary = os.path.join(folder, f"{PARTIAL}{uuid.uuid4().hex + '-' if shared else ''}{name}")
    remove(temporary)
    try:
        with room.named(path):
            yield temporary
    except BaseException:
        remove(temporary)
        raise
    if os.path.isdir(path):     # a folder cannot be renamed onto one that is not empty
        old = os.path.join(folder, f"{PARTIAL}old-{name}")
        remove(old)
        os.rename(path, old)
        os.rename(temporary, path)
        remove(old)
    else:
        os.replace(temporary, path)


def remove(path):
    """Removes a file, a link, or a folder with all that is in it, if there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def remove_partial(folder):
    """Removes what killed processes left half written in `folder`; `hold` the folder meanwhile."""
    for name in os.listdir(folder):
        if name.startswith(PARTIAL):
            remove(os.path.join(folder, name))


def hold(folder, flag):
    """Holds `folder` for this process until it is closed.

    The system releases the folder when the process ends, in whatever way. On Windows, and on file
    systems without locks, nothing is held and no one is refused.

    Args:
      folder: an existing folder.
      flag: the flag that named it, with which an error begins.

    Returns:
      A context manager that releases the folder when it is closed.

    Raises:
      ValueError: in one line, if another process holds the folder.
    """
    stack = contextlib.ExitStack()
    try:
        import fcntl
    except ImportError:     # Windows
        return stack
    descriptor = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stack.close()
        raise ValueError(f"{flag}={folder} is in use by another process: wait for it, or choose "
                         f"another --{flag.lstrip('-')}") from None
    except OSError:         # a file system without locks
        pass
    return stack

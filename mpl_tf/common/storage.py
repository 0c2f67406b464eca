"""Files that appear whole or not at all, JSON, checksums, folders held by one process. No TensorFlow."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid

PARTIAL = ".partial-"       # begins the name of whatever is being written


def read_json(path, remedy="get or write it again"):
    """What a JSON file holds; None where there is no such file.

    Args:
      remedy: what to do about a damaged file, the end of the line that refuses it.

    Raises:
      ValueError: in one line, naming the file, where it cannot be read or is no JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): give this process "
                         f"permission to read it") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, no JSON ({' '.join(str(error).split())[:80]}): "
                         f"{remedy}") from error


def write_json(path, value, shared=False):
    """Writes a JSON file, whole or not at all; `shared` as `partial`'s."""
    with partial(path, shared) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def sha256(path):
    """The checksum of a file of any size, a str of 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def partial(path, shared=False):
    """Yields a name beside `path` to write a file or a folder to, then gives it the name `path`.

    Args:
      shared: whether other processes may be writing the same file at the same time; each has a
        temporary name of its own then, and the last to finish wins.
    """
    folder, name = os.path.split(os.fspath(path))
    temporary = os.path.join(folder, f"{PARTIAL}{uuid.uuid4().hex + '-' if shared else ''}{name}")
    remove(temporary)
    try:
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
    """Removes a file, a link or a folder with all that is in it; nothing where there is none."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def remove_partial(folder):
    """Removes what killed processes left half written in `folder`; call it only while holding it."""
    for name in os.listdir(folder):
        if name.startswith(PARTIAL):
            remove(os.path.join(folder, name))


def hold(folder, flag):
    """Holds `folder` until closed; the system lets go of it when the process ends, however.

    Args:
      flag: the flag that named the folder, as the line of an error begins.

    Returns:
      A context manager.

    Raises:
      ValueError: in one line, where another process holds it.
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

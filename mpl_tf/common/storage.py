"""Files that appear whole or not at all, JSON, checksums, and folders held by one process. No TensorFlow."""

import contextlib
import hashlib
import json
import os
import shutil

PARTIAL = ".partial-"       # begins the name of whatever is being written


def read_json(path):
    """What a JSON file holds; None where there is no file or no JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    with partial(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
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
def partial(path):
    """Yields a name beside `path` to write a file or a folder to, then gives it the name `path`."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, PARTIAL + name)
    _remove(temporary)
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        raise
    if os.path.isdir(path):     # a folder cannot be renamed onto one that is not empty
        old = os.path.join(folder, f"{PARTIAL}old-{name}")
        _remove(old)
        os.rename(path, old)
        os.rename(temporary, path)
        _remove(old)
    else:
        os.replace(temporary, path)


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def hold(folder):
    """Holds `folder` until closed; the system lets go of it when the process ends, however."""
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
        raise ValueError(f"model_dir={folder} is in use by another process; wait for "
                         "it, or choose another --model_dir") from None
    except OSError:         # a file system without locks
        pass
    return stack

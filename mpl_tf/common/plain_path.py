"""Names by which TensorFlow opens any path.

TensorFlow's checkpoints take the characters *, ?, [ and \\ of a path for a pattern: what was saved in
`lr=[0.1,0.2]` is not found again, and in `a*` the files of other folders are removed too. Names that
are no UTF-8 it refuses altogether. A path with such a part is handed to it through a symbolic link.
"""

import atexit
import contextlib
import os
import tempfile
import uuid

_SPECIAL = frozenset("*?[" + "\\" * (os.sep == "/"))
_LINKS = {}     # {target: the path of its link}
_FOLDERS = []   # the one folder of this process's links, once there are any


def plain(path):
    """Returns `path`, or a path of the same file or folder that TensorFlow takes as it stands.

    Call it anew before a later use: a link that somebody has cleared away is made again. Links are
    removed when the process ends. Where none can be made, `path` is returned.
    """
    head, rest = os.fspath(path), ""
    if _is_plain(head):
        return head
    while _is_plain(os.path.basename(head)):        # to the last part that is not plain
        head, name = os.path.split(head)
        rest = os.path.join(name, rest) if rest else name
    try:
        link = _link(os.path.abspath(head))
    except OSError:         # a system without links, or no room
        return os.fspath(path)
    return os.path.join(link, rest) if rest else link


def _is_plain(path):
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not _SPECIAL.intersection(path)


def _link(target):
    if target not in _LINKS:
        if not _FOLDERS:
            _FOLDERS.append(_new_folder())
            atexit.register(_remove, _FOLDERS[0])
        suffix = os.path.splitext(target)[1]        # Keras goes by it
        _LINKS[target] = os.path.join(
            _FOLDERS[0], uuid.uuid4().hex[:8] + suffix * suffix[1:].isalnum())
    link = _LINKS[target]
    if not os.path.islink(link):
        os.makedirs(os.path.dirname(link), mode=0o700, exist_ok=True)
        os.symlink(target, link)
    return link


def _new_folder():
    for parent in (None, os.path.join(os.sep, "tmp"), os.getcwd()):     # None: the system's
        if parent is None or os.path.isdir(parent):
            folder = tempfile.mkdtemp(prefix="mpl_tf-", dir=parent)
            if _is_plain(folder):
                return folder
            os.rmdir(folder)
    raise OSError("there is no folder for links whose name is plain")


def _remove(folder):
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)

"""Lists the image files in a folder, through linked folders too, and says what it left out."""

from __future__ import annotations

import dataclasses
import heapq
import os
from typing import Iterator

from mpl_tf.common.command import counted
from mpl_tf.shards.image_files import SUFFIXES


@dataclasses.dataclass
class Listing:
    """What lies in a folder: relative paths with "/", each list sorted.

    Attributes:
      names: the files whose suffix is in SUFFIXES, linked ones included.
      others: files that are no images by their name.
      hidden: files and folders whose name begins with a dot.
      broken: links that lead nowhere.
      again: linked folders that lead to a folder which is listed already, or round in a circle.
    """
    names: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    hidden: list[str] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    again: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: Listing, prefix: str = "") -> None:
        """Adds what another Listing has, its paths with `prefix` before them."""
        for field in dataclasses.fields(self):
            getattr(self, field.name).extend(
                prefix + name for name in getattr(other, field.name))

    def left_out(self, prefix: str = "") -> list[str]:
        """Says, a line for each kind, what is left out; `prefix` stands before shown names."""
        def such(names):
            return f", such as {prefix}{min(names)}"

        lines = []
        if self.others:
            lines.append(counted(len(self.others), "file that is no image by its name is left out",
                                 "files that are no images by their name are left out")
                         + such(self.others))
        if self.hidden:
            lines.append(counted(len(self.hidden), "hidden file or folder is left out",
                                 "hidden files or folders are left out")
                         + f"{such(self.hidden)}: rename what belongs to the data")
        if self.broken:
            lines.append(counted(len(self.broken), "link leads nowhere", "links lead nowhere")
                         + f"{such(self.broken)}: mend what belongs to the data")
        if self.again:
            lines.append(counted(len(self.again), "linked folder is not read again",
                                 "linked folders are not read again")
                         + f"{such(self.again)}: its images are read already, or it leads above this one")
        return lines


def list_images(folder: str | os.PathLike[str], deep: bool = True) -> Listing:
    """Lists the image files in `folder`; hidden ones are left out.

    A linked folder is read like any other, unless it leads to one that is read already, or to a
    folder above `folder`. What is found under two names has that which leads through fewer links,
    and the order of the file system decides nothing.

    Args:
      folder: the folder. deep: whether to list its folders too, at any depth.
    """
    found = Listing()
    visited = set(_with_those_above(folder))
    waiting: list[str] = [""]
    links: list[tuple[int, str]] = []       # a heap: (how many links lead there, path)
    through = 0
    while waiting or links:
        if waiting:
            inside = waiting.pop()
        else:
            through, inside = heapq.heappop(links)
        where = os.path.join(folder, inside)
        if inside:
            seen = _identity(where)
            if seen in visited:
                found.again.append(inside)
                continue
            visited.add(seen)
        with os.scandir(where) as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}" if inside else entry.name
                kind = _kind(entry)
                if kind == "folder" and deep and not entry.name.startswith("."):
                    if entry.is_symlink():
                        heapq.heappush(links, (through + 1, name))
                    else:
                        waiting.append(name)
                elif kind != "folder" or entry.name.startswith("."):
                    _note(found, kind, name, entry.name)
    for field in dataclasses.fields(found):
        getattr(found, field.name).sort()
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    """"folder", "file", "broken" for a link that leads nowhere, or "other"."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "broken" if entry.is_symlink() and not os.path.exists(entry.path) else "other"
    except OSError:     # a link that leads to itself
        return "broken"


def _note(found: Listing, kind: str, name: str, base: str) -> None:
    image = base.lower().endswith(SUFFIXES)
    if base.startswith("."):
        found.hidden.append(name)
    elif kind == "broken":
        found.broken.append(name)
    else:
        (found.names if kind == "file" and image else found.others).append(name)


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _with_those_above(folder: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """Identities of `folder` and of all folders above it, also of those above what it links to."""
    for path in {os.path.abspath(folder), os.path.realpath(folder)}:
        while True:
            yield _identity(path)
            path, below = os.path.dirname(path), path
            if path == below:
                break

"""Finds the images that the cells of a labels file name."""

import os

from data_prep import class_folders


class Names:
    """Finds the files of a folder by the names that people write for them."""

    def __init__(self, folder, listing):
        self._folder, self._listing = folder, listing
        self._known = {class_folders.composed(name): name for name in listing.names}
        self._known.update({name: name for name in listing.names})
        self._alike = None

    def find(self, cell):
        """The relative path of the image that a cell names; LookupError, with a reason, if none."""
        for name in dict.fromkeys((cell, cell.replace("\\", "/"))):
            name = self._inside(name)
            found = self._known.get(name) or self._known.get(class_folders.composed(name))
            if found:
                return found
        if not cell:
            raise LookupError("the file's name is empty: give it, or remove the line")
        if name.startswith("../") or name == ".." or os.path.isabs(name):
            raise LookupError(f"{cell!r} leads out of {self._folder}: expected a path relative to it; "
                              "put the image there")
        for part, why in ((self._listing.others, "is no image by its name"),
                          (self._listing.hidden, "is hidden: rename it"),
                          (self._listing.broken, "is a link that leads nowhere")):
            if name in part:
                raise LookupError(f"{cell!r} {why}")
        raise LookupError(f"{cell!r} is not in {self._folder}{self._meant(name)}: correct the name, or "
                          "remove the line")

    def _inside(self, name):
        """`name` relative to the folder, its dots resolved."""
        if os.path.isabs(name):
            for base in (os.path.abspath(self._folder), os.path.realpath(self._folder)):
                relative = os.path.relpath(os.path.normpath(name), base)
                if not relative.startswith(".."):
                    return relative.replace(os.sep, "/")
        return os.path.normpath(name).replace(os.sep, "/") if name else name

    def _meant(self, name):
        """A hint at a file whose name differs in folder, case or suffix alone."""
        def key(path):
            return class_folders.loose(os.path.splitext(os.path.basename(path))[0])
        if self._alike is None:
            self._alike = {key(known): known for known in reversed(self._listing.names)}
        alike = self._alike.get(key(name)) or self._alike.get(class_folders.loose(os.path.basename(name)))
        return f"; is {alike!r} meant?" if alike else ""

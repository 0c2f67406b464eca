"""Reads a labels file, CSV as people and labeling tools write it, for images that lie in one folder.

    file,class,split        the columns in any order, by these or other usual names; more are ignored
    a.jpg,cat,train         paths are relative to the folder of the images
    b.jpg,cat,test
    c.jpg,,                 no class: unlabeled

UTF-8 with or without a byte-order mark; separated by commas, semicolons (Excel's in much of Europe) or
tabs. Everything that does not fit is refused, in one line with its place, before anything is written.
"""

import csv
import io
import os

from data_prep import class_folders, sources
from mpl_tf.common import formats
from mpl_tf.common.command import counted
from mpl_tf.shards.listing import list_images

COLUMNS = {
    "file": ("file", "filename", "filepath", "image", "imagefile", "imagename", "imagepath", "images",
             "img", "name", "path", "photo", "picture"),
    "class": ("class", "classname", "label", "labelname", "labels", "category", "choice", "tag",
              "target"),
    "split": ("split", "set", "subset", "partition")}
SPLITS = ("train", "test", "unlabeled")
SEPARATORS = ",;\t"
EXAMPLE = "such as file,class or file,class,split"


def read(path, folder):
    """What a labels file says of the images in a folder, a sources.Found.

    Images that it does not name are unlabeled ones.

    Raises:
      ValueError: in one line: the file, or a row of it, cannot be used.
    """
    rows = list(_rows(path))
    listing = list_images(folder)
    names = _Names(folder, listing)
    lines, seen, train, test, unlabeled = [], {}, [], [], []
    wrong = []
    for number, cells in rows:
        try:
            name = names.find(cells["file"])
        except LookupError as error:
            wrong.append(f"line {number}: {error}")
            continue
        if name in seen:
            raise ValueError(f"{path}: line {seen[name]} and line {number} both name {name!r}: leave one of "
                             "them")
        seen[name] = number
        split, class_name = _split(path, number, cells)
        {"train": train, "test": test, "unlabeled": unlabeled}[split].append((name, class_name, number))
    if wrong:
        more = f" (and {len(wrong) - 1} more such lines)" if len(wrong) > 1 else ""
        raise ValueError(f"{path}, {wrong[0]}{more}")
    dropped = [name for name, class_name, _ in unlabeled if class_name]
    if dropped:
        lines.append(counted(len(dropped), "image has", "images have")
                     + f" a class and the split unlabeled, such as {dropped[0]}: the class is not used")
    rest = sorted(set(listing.names) - set(seen))
    if rest:
        lines.append(counted(len(rest), f"image of {folder} is", f"images of {folder} are")
                     + f" not in {path}, such as {rest[0]}: taken as unlabeled")
    class_names = _class_names(path, train, test, lines)
    labels = {name: label for label, name in enumerate(class_names)}
    train, test = ([(name, labels[class_name]) for name, class_name, _ in part] for part in (train, test))
    listing.names = []
    listing.others = [name for name in listing.others
                      if not _same(os.path.join(folder, name), path)]
    return sources.Found(
        class_names, train, test or None, sorted([name for name, _, _ in unlabeled] + rest) or None,
        lines, listing, place="the class {!r}",
        more="label more of it, or name test images in a column split",
        test_note="the images that the labels file calls test ones",
        unlabeled_place=f"the unlabeled part of {path}")


def _same(one, other):
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _text(path):
    """The file's text; ValueError, in one line, where it is none."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ValueError(f"--labels_csv={path} cannot be read ({error.strerror or error}): expected a CSV "
                         f"file with a header {EXAMPLE}") from error
    kind = formats.described(content[:512])
    if kind:
        raise ValueError(f"--labels_csv={path} is {kind}, expected a CSV file with a header {EXAMPLE}: "
                         "save or export the table as CSV, UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        line = content[:error.start].count(b"\n") + 1
        what = "UTF-16" if wide else f"no UTF-8 (byte {error.start + 1}, in line {line})"
        raise ValueError(f"--labels_csv={path} is {what}: save it as CSV, UTF-8") from error


def _rows(path):
    """Yields (number of its line, {column: cell}) for each row that is not empty."""
    text = _text(path)
    first, _, rest = text.partition("\n")
    skipped = 0
    separators = SEPARATORS
    if first.strip().lower().startswith("sep="):        # a line for Excel
        text, skipped, separators = rest, 1, first.strip()[4:5] or SEPARATORS
    header, columns, separator = _header(path, text, separators)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begun, before = False, 0
    try:
        for cells in reader:
            number, before = skipped + before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not begun:
                begun = True
                continue
            if any(cell.strip() for cell in cells[len(header):]):
                raise ValueError(f"{path}, line {number} has {len(cells)} cells, but the header "
                                 f"{len(header)}: put names that have {separator!r} in them into double quotes")
            yield number, {column: cells[place].strip() if place < len(cells) else ""
                           for column, place in columns.items()}
    except csv.Error as error:
        raise ValueError(f"{path}, line {skipped + reader.line_num} is no CSV ({error}): mend it, or export "
                         "the table again") from error


def _header(path, text, separators):
    """(cells of the header, {column: its place}, the separator)."""
    line = next((line for line in text.splitlines() if line.strip(separators + " ")), "")
    best = []
    for separator in separators:
        try:
            header = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            continue
        best = max(best, header, key=len)
        columns = {}
        for column, names in COLUMNS.items():
            places = [place for place, cell in enumerate(header) if class_folders.loose(cell) in names]
            if len(places) > 1 and column != "split":
                one, other = (header[place] for place in places[:2])
                raise ValueError(f"{path} has the columns {one!r} and {other!r}, and either could be the "
                                 f"{column}: rename or remove one of them")
            columns.update({column: place for place in places[:1]})
        if "file" in columns and "class" in columns:
            return header, columns, separator
    shown = ", ".join(repr(cell[:40]) for cell in best[:6]) or "nothing"
    raise ValueError(f"{path} begins with the columns {shown}: expected a header with a column for the file "
                     f"and one for the class, {EXAMPLE}; write it as the first line")


def _split(path, number, cells):
    """(split, class name) of a row."""
    class_name = class_folders.composed(cells["class"])
    given = cells.get("split", "")
    split = class_folders.loose(given).replace("unlabelled", "unlabeled")
    split = split or ("train" if class_name else "unlabeled")
    if split not in SPLITS:
        raise ValueError(f"{path}, line {number}: the split is {given!r}, expected train, test, unlabeled or "
                         "nothing: correct it")
    if split != "unlabeled" and not class_name:
        raise ValueError(f"{path}, line {number}: the split is {given!r} and the class is empty: give a "
                         "class, or the split unlabeled")
    return split, class_name


def _class_names(path, train, test, lines):
    class_names = sorted({class_name for _, class_name, _ in train})
    if len(class_names) < 2:
        named = f", {class_names[0]!r}" if class_names else ""
        raise ValueError(f"{path} has labeled images of "
                         f"{counted(len(class_names), 'class', 'classes')}{named}: expected at least "
                         "2, each with images to train on")
    by_loose = {}
    for name in class_names:
        other = by_loose.setdefault(class_folders.loose(name), name)
        if other != name:
            lines.append(f"{path} has the classes {other!r} and {name!r}, whose names differ only in case or "
                         "spaces: write one name if one class is meant")
    for name, class_name, number in test:
        if class_name not in class_names:
            alike = class_folders.like(class_name, class_names)
            meant = f"; is {alike!r} meant?" if alike else ""
            raise ValueError(f"{path}, line {number}: the class {class_name!r} has test images, such as "
                             f"{name}, and none to train on{meant}: correct the class, or label others of it")
    return class_names


class _Names:
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

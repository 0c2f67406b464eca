"""Reads a labels file, CSV as people and labeling tools write it, for images that lie in one folder.

    file,class,split        the columns in any order, by these or other usual names; more are ignored
    a.jpg,cat,train         paths are relative to the folder of the images
    b.jpg,cat,test
    c.jpg,,                 no class: unlabeled

UTF-8 with or without a byte-order mark; separated by commas, semicolons (Excel's in much of Europe) or
tabs. Everything that does not fit is refused, in one line with its place, before anything is written.
Several files are read as one; what one leaves open another may say.
"""

import csv
import dataclasses
import io
import os

from data_prep import class_folders, sources
from data_prep.image_names import Names
from mpl_tf.common import formats, spreadsheet
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


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a file: where it stands, the file's name as it is written there, and what it says.

    Attributes:
      path, number: the labels file and the line. cell: the name of the image.
      split: one of SPLITS. class_name: "" where there is none. given: whether the split is written there.
    """
    path: str
    number: int
    cell: str
    split: str
    class_name: str
    given: bool

    @property
    def place(self):
        """The file and the line, for an error."""
        return f"{self.path}, line {self.number}"

    @property
    def silent(self):
        """Whether it says nothing of its image."""
        return not self.class_name and not self.given


def read(paths, folder):
    """What labels files say of the images in a folder, a sources.Found.

    Images that they do not name are unlabeled ones.

    Raises:
      ValueError: in one line: a file, or a row of it, cannot be used.
    """
    listing = list_images(folder)
    named, path = located(parsed(paths), folder, listing), " and ".join(paths)
    lines = unused_classes(named)
    train, test, unlabeled = ([(name, row) for name, row in named.items() if row.split == split]
                              for split in SPLITS)
    rest = sorted(set(listing.names) - set(named))
    tests = [name for name in rest if name.startswith("test/")]
    if tests:
        raise ValueError(f"{counted(len(tests), 'image', 'images')} of {os.path.join(folder, 'test')}, such as "
                         f"{tests[0]}, would become unlabeled, as {path} does not name "
                         f"{'it' if len(tests) == 1 else 'them'}: name test images with the split test, rename "
                         "the folder if they are none, or put the labeled images into labeled/CLASS/")
    if rest:
        lines.append(counted(len(rest), f"image of {folder} is", f"images of {folder} are")
                     + f" not in {path}, such as {rest[0]}: taken as unlabeled")
    class_names = _class_names(path, train, test, lines)
    labels = {name: label for label, name in enumerate(class_names)}
    train, test = ([(name, labels[row.class_name]) for name, row in part] for part in (train, test))
    listing.names = []
    listing.others = without(listing.others, folder, paths)
    return sources.Found(
        class_names, train, test or None, sorted([name for name, _ in unlabeled] + rest) or None,
        lines, listing, place="the class {!r}",
        more="label more of it, or name test images in a column split",
        test_note="the images that the labels file calls test ones",
        unlabeled_place=f"the unlabeled part of {path}")


def parsed(paths):
    """The Rows of labels files, a list."""
    return [Row(path, number, cells["file"], *_split(path, number, cells), bool(cells.get("split")))
            for path in paths for number, cells in _rows(path)]


def located(rows, folder, listing):
    """{relative path of an image: its Row}; where two files name it, the one that says something.

    listing: a Listing of the folder, whose names are those of the images.

    Raises:
      ValueError: in one line: there is no such image, or two rows do not agree about it.
    """
    names, found, wrong = Names(folder, listing), {}, []
    for row in rows:
        try:
            name = names.find(row.cell)
        except LookupError as error:
            wrong.append(f"{row.place}: {error}")
            continue
        before = found.get(name)
        if before and before.path == row.path and before.number != row.number:
            raise ValueError(f"{row.path}: line {before.number} and line {row.number} both name {name!r}: leave "
                             "one of them")
        if before and not before.silent and not row.silent and (
                before.class_name, before.split) != (row.class_name, row.split):
            raise ValueError(f"{before.place} and {row.place} do not agree about {name!r}, which "
                             f"{_said(before)} there and {_said(row)} here: correct one of them")
        if not before or before.silent:
            found[name] = row
    if wrong:
        more = f" (and {len(wrong) - 1} more such lines)" if len(wrong) > 1 else ""
        raise ValueError(f"{wrong[0]}{more}")
    return found


def _said(row):
    return f"is {f'{row.class_name!r} in {row.split}' if row.class_name else 'unlabeled'}"


def unused_classes(named):
    """Lines about images of {name: Row} whose class is not used."""
    dropped = [name for name, row in named.items() if row.class_name and row.split == "unlabeled"]
    return [counted(len(dropped), "image has", "images have")
            + f" a class and the split unlabeled, such as {dropped[0]}: the class is not used"] if dropped else []


def without(others, folder, paths):
    """The relative paths of `others` that are none of the labels files."""
    return [name for name in others if not any(_same(os.path.join(folder, name), path) for path in paths)]


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
            if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header):]):
                raise ValueError(
                    f"{path}, line {number} has {counted(len(cells), 'column', 'columns')}, the header "
                    f"{len(header)}: put {separator!r} between all columns, around empty ones too, and names "
                    "that have it in them into double quotes")
            yield number, {column: cells[place].strip() for column, place in columns.items()}
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
    class_name = class_folders.composed(spreadsheet.plain(cells["class"]))
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
    class_names = sorted({row.class_name for _, row in train})
    if len(class_names) < 2:
        named = f", {class_names[0]!r}" if class_names else ""
        raise ValueError(f"{path} has labeled images of "
                         f"{counted(len(class_names), 'class', 'classes')}{named}: expected at least "
                         "2, each with images to train on")
    lines += alike(class_names, path)
    for name, row in test:
        if row.class_name not in class_names:
            raise ValueError(only_tested(name, row, class_names))
    return class_names


def alike(class_names, path):
    """Lines about classes whose names differ hardly; path: what has them, in words."""
    lines, by_loose = [], {}
    for name in class_names:
        other = by_loose.setdefault(class_folders.loose(name), name)
        if other != name:
            lines.append(f"{path} has the classes {other!r} and {name!r}, whose names differ only in case or "
                         "spaces: write one name if one class is meant")
    return lines


def only_tested(name, row, class_names):
    """An error's line about the test image `name`, of whose class there are none to train on."""
    other = class_folders.like(row.class_name, class_names)
    meant = f"; is {other!r} meant?" if other else ""
    return (f"{row.place}: the class {row.class_name!r} has test images, such as {name}, and none to train "
            f"on{meant}: correct the class, or label others of it")

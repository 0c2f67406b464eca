"""Adds what labels files say to a folder that has labeled/CLASS/: nothing that the folders say is lost.

Rows give classes to images of unlabeled/. A row about an image of labeled/ or test/ may repeat what its
folder says, and nothing else.
"""

from data_prep import class_folders, folders, labels_csv
from mpl_tf.common.command import counted
from mpl_tf.shards.listing import list_images


def read(paths, source_dir):
    """What folders and labels files say together, a sources.Found.

    Raises:
      ValueError: in one line: a folder, a file or a row of it cannot be used, or a row contradicts a folder.
    """
    rows = labels_csv.parsed(paths)
    found = folders.read(source_dir, [row.class_name for row in rows
                                      if row.class_name and row.split != "unlabeled"])
    listing = list_images(source_dir)
    known = _folders_of(found)
    listing.names = sorted({*listing.names, *known})
    named = labels_csv.located(rows, source_dir, listing)
    for name, row in named.items():
        wrong = _contradiction(name, row, known, found.class_names)
        if wrong:
            raise ValueError(f"{row.place}: {wrong}")
    new = {name: row for name, row in named.items() if known[name][0] == "unlabeled"}
    return _together(found, known, named, new, source_dir, paths)


def _folders_of(found):
    """{name of an image: (the folder it lies in, its label or None)}."""
    return {**{name: ("unlabeled", None) for name in found.unlabeled or ()},
            **{name: ("labeled", label) for name, label in found.train},
            **{name: ("test", label) for name, label in found.test or ()}}


def _contradiction(name, row, known, class_names):
    """What is wrong with a row, in words; None if it can stand."""
    if name not in known:
        return (f"{name!r} lies in none of labeled/, unlabeled/ and test/: move it into unlabeled/, or give "
                "--labels_csv for a folder without labeled/")
    folder, label = known[name]
    if folder == "unlabeled":
        return None
    of_folder = class_names[label]
    same = class_folders.composed(of_folder) == row.class_name
    if row.class_name and not same:
        return (f"{name!r} lies in a folder of the class {of_folder!r}, and the row says {row.class_name!r}: "
                "correct the row, or move the image")
    if folder == "test" and not (same and row.split == "test"):
        return (f"{name!r} is a test image by its folder: remove the line, or move the image into unlabeled/ "
                "first")
    if folder == "labeled" and row.given and row.split != "train":
        return (f"{name!r} is a labeled image by its folder, and the row says {row.split}: remove the line, or "
                f"move the image into {row.split}/")
    return None


def _together(found, known, named, new, source_dir, paths):
    """Adds the rows `new`, of images of unlabeled/, to what lies in the folders."""
    labels = {class_folders.composed(name): label for label, name in enumerate(found.class_names)}
    train, test = ([(name, labels[row.class_name]) for name, row in new.items() if row.split == split]
                   for split in ("train", "test"))
    path, own_test = " and ".join(paths), found.test is not None
    lines = labels_csv.unused_classes(new)
    by_folders = len(found.train) + len(found.test or ())
    lines.append(f"{counted(by_folders, 'image is', 'images are')} labeled by their folders, "
                 f"{len(train) + len(test)} by {path}")
    repeated = sum(bool(row.class_name) for name, row in named.items() if name not in new)
    if repeated:
        lines.append(f"{counted(repeated, 'row repeats', 'rows repeat')} in {path} what a folder says")
    left = sum(not row.class_name for row in new.values())
    if left:
        lines.append(f"{counted(left, 'image has', 'images have')} no class in {path}: unlabeled, as before")
    lines += labels_csv.alike(found.class_names, f"{source_dir} with {path}")
    lines += _check_new(found, train, test, new, own_test)
    found.lines += lines
    found.train, found.later = found.train + train, frozenset(name for name, _ in train)
    if own_test:
        found.test = found.test + test
    else:
        found.more_test = tuple(test)
    taken = {name for name, _ in (*train, *test)}
    found.unlabeled = [name for name in found.unlabeled or () if name not in taken] or None
    found.left_out.others = labels_csv.without(found.left_out.others, source_dir, paths)
    found.place, found.more = "the class {!r}", "label more of it, or put more images into its folder"
    return found


def _check_new(found, train, test, new, own_test):
    """Lines about classes that only rows have; ValueError if there is one by mistake."""
    of_folders = {label for _, label in found.train}
    lines = []
    for label in sorted({label for _, label in (*train, *test)} - of_folders):
        members = [name for name, each in train if each == label]
        if not members:
            first = next(name for name, each in test if each == label)
            raise ValueError(labels_csv.only_tested(
                first, new[first], [found.class_names[each] for each in sorted(of_folders)]))
        alike = class_folders.like(found.class_names[label], [found.class_names[each] for each in of_folders])
        row = new[members[0]]
        words = f"the class {row.class_name!r} has no folder in labeled/"
        if alike and len(members) == 1 and not own_test:
            raise ValueError(f"{row.place}: {words}, and this image alone; is {alike!r} meant? Correct the class, "
                             "or label others of it")
        lines.append(f"{words}, and {counted(len(members), 'image', 'images')} to train on by {row.path}"
                     + (f"; is {alike!r} meant?" if alike else ""))
    return lines

"""Reads a user's folder that has labeled/CLASS/, and perhaps unlabeled/ and test/CLASS/."""

import os

from data_prep import class_folders
from data_prep import command
from data_prep import sources
from mpl_tf.shards.listing import list_images

FOLDERS = ("labeled", "unlabeled", "test")


def are_classes(source_dir):
    """Whether labeled/ is there and has folders, which are the classes."""
    labeled = os.path.join(source_dir, "labeled")
    return os.path.isdir(labeled) and bool(sources.list_folders(labeled))


def read(source_dir, added=()):
    """What lies in a user's folder with labeled/, a sources.Found.

    added: classes that have other images, and perhaps no folder.
    """
    lines, left_out = unused(source_dir)
    present, more = _class_names(source_dir, added)
    lines += more
    known = {class_folders.composed(name) for name in present}
    class_names = sorted([*present, *(name for name in set(added) if class_folders.composed(name) not in known)])
    train = _class_items(source_dir, "labeled", present, class_names, lines, left_out)
    own_test = os.path.isdir(os.path.join(source_dir, "test"))
    test = _test_items(source_dir, class_names, lines, left_out) if own_test else None
    return sources.Found(
        class_names, train, test, _unlabeled(source_dir, left_out), lines, left_out, place="labeled/{}",
        more="add images, or a test/ folder", test_note="the images of test/",
        unlabeled_place=os.path.join(source_dir, "unlabeled"))


def unused(source_dir):
    """(lines, Listing) about what lies in SOURCE and is none of the folders that are read.

    Raises:
      ValueError: in one line: what has the name of one of them is no folder.
    """
    for path in (os.path.join(source_dir, name) for name in FOLDERS):
        if os.path.lexists(path) and not os.path.isdir(path):
            found = "a file" if os.path.exists(path) else "a link that leads nowhere"
            raise ValueError(f"{path} is {found}: expected a folder of images; mend it, or rename "
                             "it")
    found = list_images(source_dir, deep=False)
    lines = []
    for name in sources.list_folders(source_dir):
        if name not in FOLDERS:
            alike = class_folders.like(name, FOLDERS)
            meant = f"; is {alike}/ meant? Then rename it" if alike else ""
            lines.append(f"{os.path.join(source_dir, name)} is not used: only labeled/, unlabeled/ "
                         f"and test/ are{meant}")
    if found.names:
        lines.append(command.counted(len(found.names), "image lies", "images lie")
                     + f" directly in {source_dir}, such as {found.names[0]}, and "
                     f"{'is' if len(found.names) == 1 else 'are'} left out: what belongs to the data goes "
                     "into unlabeled/, or into labeled/ and the folder of its class")
    found.names = []
    return lines, found


def _class_names(source_dir, added):
    """(names of the class folders, lines about them)."""
    labeled = os.path.join(source_dir, "labeled")
    if not os.path.isdir(labeled):
        alike = class_folders.like("labeled", set(sources.list_folders(source_dir)) - {"unlabeled", "test"})
        command.require_folder(source_dir, inside="labeled", expected="there a folder for each class, with its "
                               "images" + (f"; is {alike!r} meant? Then rename it" if alike else ""))
    class_names, lines = class_folders.names(labeled)
    if len({class_folders.composed(name) for name in (*class_names, *added)}) < 2:
        found, more = class_folders.outside(source_dir, "labeled")
        why = "; ".join([*more, *found.left_out("labeled/")])
        raise ValueError(f"{labeled} has "
                         + command.counted(len(class_names), "folder with a class", "folders with classes")
                         + f": expected at least 2, each with its images{f' ({why})' if why else ''}")
    return class_names, lines


def _test_items(source_dir, class_names, lines, left_out):
    """The images of test/, [(relative path, label)]; appends to `lines` and `left_out`."""
    folder = os.path.join(source_dir, "test")
    present = sources.list_folders(folder)
    if not present:
        raise ValueError(f"{folder} has no folders with classes: add them, or remove it, so that a "
                         "part of labeled/ becomes the test set")
    class_folders.names(folder)     # refuses what cannot be told apart
    return _class_items(source_dir, "test", present, class_names, lines, left_out)


def _class_items(source_dir, folder, present, class_names, lines, left_out):
    """The images of the class folders `present`, and what lies beside them, as _test_items."""
    labels = class_folders.labels(os.path.join(source_dir, folder), present, class_names)
    items, found, deep = class_folders.items(source_dir, folder, labels)
    beside, outside = class_folders.outside(source_dir, folder)
    left_out.add(found)
    left_out.add(beside, f"{folder}/")
    lines += [*outside, *deep]
    return items


def _unlabeled(source_dir, left_out):
    """The relative paths of the unlabeled images; None without unlabeled/."""
    folder = os.path.join(source_dir, "unlabeled")
    if not os.path.isdir(folder):
        return None
    found = list_images(folder)
    names = [f"unlabeled/{name}" for name in found.names]
    found.names = []
    left_out.add(found, "unlabeled/")
    if not names:
        raise ValueError(f"{folder} has no images: put some there, or remove it")
    return names

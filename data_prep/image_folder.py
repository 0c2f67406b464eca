"""Converts your own images to shards.

    python -m data_prep.image_folder --source_dir=SOURCE --output_dir=DIR

SOURCE is a folder that holds labeled/CLASS/ with the images of each class. It may also hold
unlabeled/ with images at any depth, and test/CLASS/ with test images of the same classes. Without
test/ a part of each class's labeled images, --test_fraction, becomes the test set. JPEG, PNG, GIF,
BMP, WebP, TIFF and PPM files are read, and their EXIF orientation is applied. Linked folders are
read too. What is left out is counted, with an example. Test images that also lie in unlabeled/, byte
for byte, are left out of it.

With --labels_csv=FILE the images lie in SOURCE in any way, and FILE says what they are: a table with the
columns file, class (empty: unlabeled) and perhaps split (train, test or unlabeled) in any order.
Images that it does not name are unlabeled ones.
"""

import argparse
import functools
import os
import shlex
import sys

from data_prep import class_folders
from data_prep import command
from data_prep import duplicates as equal
from data_prep import labels_csv
from data_prep import shards
from data_prep import sources
from mpl_tf.shards import image_files
from mpl_tf.shards.listing import list_images
from mpl_tf.shards.schema import Record

FOLDERS = ("labeled", "unlabeled", "test")
WITHOUT_GPU = ("--student_network=small_conv --teacher_network=small_conv --image_size=32 "
               "--train_steps=2000 --warmup_steps=100")


def run(arguments):
    """Prepares a folder of images as the command line says."""
    parser = command.parser("image_folder", __doc__, "folder with labeled/, and perhaps unlabeled/ and "
                            "test/; with --labels_csv, the folder that its paths are relative to")
    parser.add_argument("--labels_csv", type=command.path_type, help="a table, CSV in UTF-8, of the images' "
                        "files and classes, in place of folders for the classes")
    parser.add_argument("--test_fraction", type=_fraction, default=0.2, help="the fraction of each "
                        "class's labeled images, at least one image, that becomes the test set "
                        "where there is no test/ (default: %(default)s)")
    parser.add_argument("--duplicates", choices=("refuse", "keep"), default="refuse", help="what "
                        "to do with an image that is, byte for byte, labeled in two classes, or "
                        "in labeled/ and in test/: refuse it, or keep it as it lies (default: "
                        "%(default)s)")
    flags = parser.parse_args(arguments)
    command.require_folder(flags.source_dir)
    made = plan(flags.source_dir, flags.seed, flags.test_fraction, flags.duplicates, flags.labels_csv)
    shards.prepare(made, functools.partial(make_record, flags.source_dir, made.class_names),
                   flags.output_dir, command.command_line("image_folder", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)
    command.say(*next_step(flags.output_dir))


def next_step(output_dir):
    """Lines that say how to train on what was prepared, and how long that takes without a GPU."""
    train = shlex.join(["python", "-m", "mpl_tf.train", "--flagfile=image_folder.cfg",
                        f"--data_dir={output_dir}", "--model_dir=runs/images"])
    features = shlex.join(["python", "-m", "data_prep.features", "--backbone=efficientnet-lite0",
                           f"--source_dir={output_dir}", "--output_dir=features"])
    return (f"with few labels, minutes on a laptop, see README: {features}",
            f"begin the training of full networks with: {train}",
            f"without a GPU add: {WITHOUT_GPU} (about 20 minutes on 2 cores)")


def by_folders(source_dir):
    """What lies in a user's folder with labeled/, a sources.Found."""
    lines, left_out = unused(source_dir)
    class_names, more = _class_names(source_dir)
    lines += more
    train = _class_items(source_dir, "labeled", class_names, class_names, lines, left_out)
    own_test = os.path.isdir(os.path.join(source_dir, "test"))
    test = _test_items(source_dir, class_names, lines, left_out) if own_test else None
    return sources.Found(
        class_names, train, test, _unlabeled(source_dir, left_out), lines, left_out, place="labeled/{}",
        more="add images, or a test/ folder", test_note="the images of test/",
        unlabeled_place=os.path.join(source_dir, "unlabeled"))


def plan(source_dir, seed, test_fraction, duplicates="refuse", labels=None):
    """Returns the Plan for a user's folder; ValueError, in one line, if it cannot be used.

    labels: the path of a labels file, or None for a folder with labeled/.
    """
    found = labels_csv.read(labels, source_dir) if labels else by_folders(source_dir)
    lines, class_names, train = found.lines, found.class_names, found.train
    own_test, test, unlabeled = found.test is not None, found.test or [], found.unlabeled
    absent = [name for label, name in enumerate(class_names)
              if own_test and label not in {label for _, label in test}]
    if absent:
        lines.append(f"{'the test set' if labels else 'test/'} has no images of "
                     + command.counted(len(absent), "class", "classes") +
                     f", such as {absent[0]!r}: the accuracy will say nothing about them")
    same = equal.same_files(source_dir, [
        *(name for name, _ in train), *(name for name, _ in test), *(unlabeled or ())])
    pairs = equal.conflicts(source_dir, train, test, same)
    if duplicates == "refuse":
        equal.refuse(*pairs, "leave each in one place, or use them as they lie with "
                             "--duplicates=keep")
    elif any(pairs):
        lines.append(f"used as they lie: {command.counted(len(pairs[0]), 'image', 'images')} in two "
                     f"classes, {len(pairs[1])} in labeled/ and test/")
    notes = {"test": found.test_note}
    if not own_test:
        train, test = set_aside(train, class_names, test_fraction, seed, same, found.place, found.more,
                                source_dir)
        notes["test"] = (f"{test_fraction:g} of each class's labeled images, at least one each, "
                         f"drawn by seed {seed}: there were no test images")
    left, more, counts = equal.split_unlabeled(unlabeled or [], train, test, same)
    if unlabeled and not left:
        raise ValueError(f"{found.unlabeled_place} has only images that are test images too, byte "
                         "for byte: put others there, or take these out")
    notes.update({key: count for key, count in counts.items() if count})
    command.say(*lines, *more, *found.left_out.left_out())
    splits = [("train", sources.shuffled(train, seed), f"shuffled by seed {seed}", True)]
    if unlabeled:
        splits.append(("unlabeled", sources.shuffled([(name, None) for name in left], seed),
                       f"shuffled by seed {seed}", False))
    splits.append(("test", sorted(test), "sorted by name", True))
    return shards.Plan(
        "image_folder", "image_folder", seed, class_names=class_names, notes=notes,
        options={"test_fraction": None if own_test else test_fraction},
        splits=tuple(shards.SplitPlan(
            split, sources.shards_for(len(items), sum(
                os.path.getsize(os.path.join(source_dir, item[0])) for item in items)),
            items, order, has_labels) for split, items, order, has_labels in splits))


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


def _class_names(source_dir):
    """(names of the classes, lines about them)."""
    labeled = os.path.join(source_dir, "labeled")
    if not os.path.isdir(labeled):
        alike = class_folders.like("labeled", sources.list_folders(source_dir))
        command.require_folder(labeled, expected="a folder for each class, with its images" + (
            f"; is {alike!r} meant? Then rename it" if alike else ""))
    class_names, lines = class_folders.names(labeled)
    if len(class_names) < 2:
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


def set_aside(items, class_names, fraction, seed, same=None, place="labeled/{}",
              more="add images, or a test/ folder", folder=None):
    """Splits items into (train, test), with at least one image of each class in both.

    same: of duplicates.same_files: equal images come into the same part. place, more: how an error
    names a class, and how it says to give it more images. folder: that of the items' files, which
    equal files are looked up in that are perhaps no images, such as empty ones.
    """
    train, test = [], []
    for label, class_name in enumerate(class_names):
        members = [item for item in items if item[1] == label]
        groups = equal.grouped(sources.shuffled(members, seed, "test"), same or {})
        if len(groups) < 2:
            found = f"1 image in {len(members)} copies" if len(members) > 1 else "1 image"
            if len(members) > 1 and folder and not equal.is_image(os.path.join(folder, members[0][0])):
                found = f"{len(members)} equal files, which are no images that can be read"
            raise ValueError(f"{place.format(class_name)} has {found}: expected at least 2 images, one "
                             f"to train and one to test; {more}")
        count = max(1, round(fraction * len(members)))
        for number, group in enumerate(groups):
            last = number == len(groups) - 1
            chosen = test if count > 0 and not last else train
            chosen += group
            count -= len(group) if chosen is test else 0
    return train, test


def make_record(source_dir, class_names, item):
    """Makes a Record from an item (relative path, label or None)."""
    name, label = item
    with open(os.path.join(source_dir, name), "rb") as file:
        image = image_files.convert(file.read(), orient=True)
    return Record(encoded=image.encoded, filename=name, label=label, height=image.height,
                  width=image.width, format=image.format,
                  text="" if label is None else class_names[label])


def _fraction(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number between 0 and 1, such as 0.2")
    return value


if __name__ == "__main__":
    sys.exit(command.main(run))

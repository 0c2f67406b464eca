"""Converts your own images to shards.

    python -m data_prep.image_folder --source_dir=SOURCE --output_dir=DIR

SOURCE is a folder that holds labeled/CLASS/ with the images of each class. It may also hold
unlabeled/ with images at any depth, and test/CLASS/ with test images of the same classes. Without
test/ a part of each class's labeled images, --test_fraction, becomes the test set. JPEG, PNG, GIF,
BMP, WebP, TIFF and PPM files are read, and their EXIF orientation is applied. Linked folders are
read too. What is left out is counted, with an example. Test images that also lie in unlabeled/, byte
for byte, are left out of it.

With --labels_csv=FILE a table says what images are. It has the columns file, class (empty: unlabeled) and
perhaps split (train, test or unlabeled) in any order. Where SOURCE has folders in labeled/, it adds to them:
it gives classes to images of unlabeled/, and the folders' labels and test images stay; all such images
train, unless a split says test, or their class has no two images in labeled/. Otherwise the images lie in
SOURCE in any way, and those that it does not name are unlabeled ones. The flag may be given several times.
"""

import argparse
import functools
import os
import shlex
import sys

from data_prep import command
from data_prep import duplicates as equal
from data_prep import folders
from data_prep import labels_added
from data_prep import labels_csv
from data_prep import shards
from data_prep import sources
from mpl_tf.shards import image_files
from mpl_tf.shards.schema import Record

WITHOUT_GPU = ("--student_network=small_conv --teacher_network=small_conv --image_size=32 "
               "--train_steps=2000 --warmup_steps=100")


def run(arguments):
    """Prepares a folder of images as the command line says."""
    parser = command.parser("image_folder", __doc__, "folder with labeled/, and perhaps unlabeled/ and "
                            "test/; with --labels_csv, the folder that its paths are relative to")
    parser.add_argument("--labels_csv", type=command.path_type, action="append", help="a table, CSV in UTF-8, "
                        "of images' files and classes, beside the folders of labeled/ or in their place; may "
                        "be given several times")
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


def _found(source_dir, labels):
    """What folders and labels files say, a sources.Found."""
    if not labels:
        return folders.read(source_dir)
    return (labels_added if folders.are_classes(source_dir) else labels_csv).read(labels, source_dir)


def plan(source_dir, seed, test_fraction, duplicates="refuse", labels=()):
    """Returns the Plan for a user's folder; ValueError, in one line, if it cannot be used.

    labels: paths of labels files, which a folder with labeled/ need not have.
    """
    found = _found(source_dir, labels)
    lines, class_names, train = found.lines, found.class_names, found.train
    own_test, unlabeled = found.test is not None, found.unlabeled
    test = found.test or list(found.more_test)
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
        train, drawn = set_aside(train, class_names, test_fraction, seed, same, found.place, found.more,
                                 source_dir, found.later)
        test += drawn
        notes["test"] = (f"{test_fraction:g} of each class's labeled images, at least one each, "
                         f"drawn by seed {seed}: there were no test images"
                         + ("; those that labels files name are not drawn" if found.later else ""))
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


def set_aside(items, class_names, fraction, seed, same=None, place="labeled/{}",
              more="add images, or a test/ folder", folder=None, later=frozenset()):
    """Splits items into (train, test), with at least one image of each class in both.

    same: of duplicates.same_files: equal images come into the same part. place, more: how an error
    names a class, and how it says to give it more images. folder: that of the items' files, which
    equal files are looked up in that are perhaps no images, such as empty ones. later: names of images that
    came after the others: these are divided as if there were none, where a class has enough of them.
    """
    train, test = [], []
    for label, class_name in enumerate(class_names):
        members = [item for item in items if item[1] == label]
        ordered = sources.shuffled(members, seed, "test")
        first = [item for item in ordered if item[0] not in later]
        groups = equal.grouped(first, same or {})
        if len(groups) < 2:
            first, groups = ordered, equal.grouped(ordered, same or {})
        if len(groups) < 2:
            found = f"1 image in {len(members)} copies" if len(members) > 1 else "1 image"
            if len(members) > 1 and folder and not equal.is_image(os.path.join(folder, members[0][0])):
                found = f"{len(members)} equal files, which are no images that can be read"
            raise ValueError(f"{place.format(class_name)} has {found}: expected at least 2 images, one "
                             f"to train and one to test; {more}")
        count = max(1, round(fraction * len(first)))
        for number, group in enumerate(groups):
            last = number == len(groups) - 1
            chosen = test if count > 0 and not last else train
            chosen += group
            count -= len(group) if chosen is test else 0
        tested, divided = {same[name] for name, _ in test if name in (same or {})}, set(first)
        for item in (item for item in ordered if item not in divided):
            (test if (same or {}).get(item[0]) in tested else train).append(item)
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

"""Converts your own images to shards.

    python -m data_prep.image_folder --source_dir=SOURCE --output_dir=DIR

SOURCE is a folder that holds labeled/CLASS/ with the images of each class. It may also hold
unlabeled/ with images at any depth, and test/CLASS/ with test images of the same classes. Without
test/ a part of each class's labeled images, --test_fraction, becomes the test set. JPEG, PNG, GIF,
BMP, WebP, TIFF and PPM files are read, and their EXIF orientation is applied.
"""

import argparse
import functools
import os
import shlex
import sys

from data_prep import command
from data_prep import shards
from data_prep import sources
from mpl_tf.shards import image_files
from mpl_tf.shards.schema import Record

WITHOUT_GPU = ("--student_network=small_conv --teacher_network=small_conv --image_size=32 "
               "--train_steps=2000 --warmup_steps=100")


def run(arguments):
    """Prepares a folder of images as the command line says."""
    parser = command.parser("image_folder", __doc__, "folder with labeled/, and perhaps unlabeled/ and test/")
    parser.add_argument("--test_fraction", type=_fraction, default=0.2, help="the fraction of each "
                        "class's labeled images, at least one image, that becomes the test set "
                        "where there is no test/ (default: %(default)s)")
    flags = parser.parse_args(arguments)
    command.require_folder(flags.source_dir)
    made = plan(flags.source_dir, flags.seed, flags.test_fraction)
    shards.prepare(made, functools.partial(make_record, flags.source_dir, made.class_names),
                   flags.output_dir, command.command_line("image_folder", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)
    print(next_step(flags.output_dir), flush=True)


def next_step(output_dir):
    """Lines that say how to train on what was prepared, and how long that takes without a GPU."""
    train = shlex.join(["python", "-m", "mpl_tf.train", "--flagfile=image_folder.cfg",
                        f"--data_dir={output_dir}", "--model_dir=runs/images"])
    return (f"begin the training with: {train}\n"
            f"without a GPU add: {WITHOUT_GPU} (about half an hour on 2 cores)")


def plan(source_dir, seed, test_fraction):
    """Returns the Plan for a user's folder; ValueError, in one line, if it cannot be used."""
    labeled = os.path.join(source_dir, "labeled")
    command.require_folder(labeled, expected="a folder for each class, with its images")
    class_names = sources.list_folders(labeled)
    if len(class_names) < 2:
        raise ValueError(f"{labeled} has {len(class_names)} folders with classes: expected at least "
                         "2, each with its images")
    train, others = class_items(source_dir, "labeled", class_names)
    test_folder, notes = os.path.join(source_dir, "test"), {}
    if os.path.isdir(test_folder):
        unknown = sorted(set(sources.list_folders(test_folder)) - set(class_names))
        if unknown:
            raise ValueError(f"{os.path.join(test_folder, unknown[0])}: there is no such class in "
                             "labeled/; correct its name, or remove it")
        present = sources.list_folders(test_folder)
        if not present:
            raise ValueError(f"{test_folder} has no folders with classes: add them, or remove it, "
                             "so that a part of labeled/ becomes the test set")
        test, more = class_items(source_dir, "test", present, class_names)
        others += more
        notes["test"] = "the images of test/"
    else:
        train, test = set_aside(train, class_names, test_fraction, seed)
        notes["test"] = (f"{test_fraction:g} of each class's labeled images, at least one each, "
                         f"drawn by seed {seed}: there was no test/")
    splits = [("train", sources.shuffled(train, seed), f"shuffled by seed {seed}", True)]
    unlabeled_folder = os.path.join(source_dir, "unlabeled")
    if os.path.isdir(unlabeled_folder):
        names, more = image_files.list_images(unlabeled_folder)
        others += more
        if not names:
            raise ValueError(f"{unlabeled_folder} has no images: put some there, or remove it")
        unlabeled = sources.shuffled([(f"unlabeled/{name}", None) for name in names], seed)
        splits.append(("unlabeled", unlabeled, f"shuffled by seed {seed}", False))
    splits.append(("test", sorted(test), "sorted by name", True))
    if others:
        print(f"{others} files that are no images by their name are left out", flush=True)
    return shards.Plan(
        "image_folder", "image_folder", seed, class_names=class_names, notes=notes,
        options={"test_fraction": None if os.path.isdir(test_folder) else test_fraction},
        splits=tuple(shards.SplitPlan(
            split, sources.shards_for(len(items), sum(
                os.path.getsize(os.path.join(source_dir, item[0])) for item in items)),
            items, order, has_labels) for split, items, order, has_labels in splits))


def class_items(source_dir, folder, present, class_names=None):
    """Lists the class folders `present`: ([(relative path, label)], number of other files)."""
    class_names = present if class_names is None else class_names
    items, others = [], 0
    for class_name in present:
        names, more = image_files.list_images(os.path.join(source_dir, folder, class_name))
        others += more
        if not names:
            raise ValueError(f"{os.path.join(source_dir, folder, class_name)} has no images: put "
                             "some there, or remove it")
        label = class_names.index(class_name)
        items += [(f"{folder}/{class_name}/{name}", label) for name in names]
    return items, others


def set_aside(items, class_names, fraction, seed):
    """Splits items into (train, test), with at least one image of each class in both."""
    train, test = [], []
    for label, class_name in enumerate(class_names):
        members = sources.shuffled([item for item in items if item[1] == label], seed, "test")
        if len(members) < 2:
            raise ValueError(f"labeled/{class_name} has 1 image: expected at least 2, one to train "
                             "and one to test; add images, or a test/ folder")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        test += members[:count]
        train += members[count:]
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

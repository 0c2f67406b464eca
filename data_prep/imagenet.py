"""Converts ImageNet (ILSVRC 2012) to shards in the format of Szegedy et al., which the paper uses.

    python -m data_prep.imagenet --source_dir=SOURCE --output_dir=DIR --validation_labels=FILE

SOURCE is a folder that holds train/<synset>/*.JPEG and val/. val/ has either a folder per synset,
or all images directly; then give --validation_labels. Get ILSVRC2012_img_train.tar and
ILSVRC2012_img_val.tar from https://image-net.org (after signing up), unpack the first, and unpack
each archive in it into a folder of the same name. The label of a synset is its position, from 1,
among the sorted synsets of train/. An RGB JPEG keeps its bytes; CMYK, greyscale and PNG images
become RGB JPEG. EXIF orientation is ignored, as is usual for ImageNet.
"""

import functools
import os
import sys

from data_prep import class_folders
from data_prep import command
from data_prep import shards
from data_prep import sources
from mpl_tf.common.command import path_type, whole
from mpl_tf.shards import image_files
from mpl_tf.shards.listing import list_images
from mpl_tf.shards.schema import Record


def run(arguments):
    """Prepares ImageNet as the command line says."""
    parser = command.parser("imagenet", __doc__, "folder with train/ and val/")
    parser.add_argument("--train_shards", type=whole(1, 99_999), default=1024,
                        help="number of shards to write of train/ (default: %(default)s)")
    parser.add_argument("--validation_shards", type=whole(0, 99_999), default=128,
                        help="number of shards to write of val/; 0 leaves val/ out (default: "
                        "%(default)s)")
    parser.add_argument("--validation_labels", type=path_type, help="text file with the labels of "
                        "a val/ without folders: one synset per line in the order of the sorted "
                        "file names (the well-known imagenet_2012_validation_synset_labels.txt), "
                        "or lines 'filename synset'")
    parser.add_argument("--synset_names", type=path_type, help="text file with lines like "
                        "'n01440764 tench, Tinca tinca', which gives the class names and "
                        "image/class/text")
    parser.add_argument("--bounding_boxes", type=path_type, help="text file with lines "
                        "'filename,xmin,ymin,xmax,ymax', in fractions of the image's width and "
                        "height (imagenet_2012_bounding_boxes.csv)")
    flags = parser.parse_args(arguments)
    command.require_folder(flags.source_dir)
    synsets, made = plan(flags)
    shards.prepare(made, functools.partial(
        make_record, flags.source_dir, synsets, made.class_names if flags.synset_names else None),
        flags.output_dir, command.command_line("imagenet", arguments), flags.overwrite,
        flags.skip_corrupt, flags.workers)


def plan(flags):
    """Returns (synsets, Plan) for the flags; ValueError, in one line, if files do not fit."""
    train_folder = os.path.join(flags.source_dir, "train")
    command.require_folder(flags.source_dir, inside="train", expected="there a folder per synset, with its images")
    synsets = sources.list_folders(train_folder)
    if not synsets:
        raise ValueError(f"{train_folder} has no folders: expected one per synset, like n01440764")
    texts = read_synset_names(flags.synset_names, synsets) if flags.synset_names else {}
    boxes = read_boxes(flags.bounding_boxes) if flags.bounding_boxes else {}
    train = by_synset(flags.source_dir, "train", synsets, synsets)
    splits = [shards.SplitPlan("train", flags.train_shards, sources.shuffled(
        with_names(train, boxes), flags.seed), f"shuffled by seed {flags.seed}", label_at=2)]
    if flags.validation_shards:
        command.require_folder(flags.source_dir, inside="val", expected="there the validation images (or leave "
                               "them out with --validation_shards=0)")
        folders = sources.list_folders(os.path.join(flags.source_dir, "val"))
        val = (by_synset(flags.source_dir, "val", folders, synsets) if folders
               else flat(flags.source_dir, flags.validation_labels, synsets))
        splits.append(shards.SplitPlan("validation", flags.validation_shards,
                                       sorted(with_names(val, boxes)), "sorted by name",
                                       label_at=2))
    return synsets, shards.Plan(
        "imagenet", "imagenet", flags.seed, splits=tuple(splits), notes={"synsets": synsets},
        class_names=[texts[synset] for synset in synsets] if texts else synsets)


def by_synset(source_dir, folder, present, synsets):
    """Lists the images in the synset folders `present`, and prints what is left out.

    Returns:
      [(relative path, label)].
    """
    labels = class_folders.labels(os.path.join(source_dir, folder), present, synsets, "train",
                                  "synset")
    items, found, deep = class_folders.items(source_dir, folder, labels,
                                             "unpack its archive there, or remove it")
    beside, outside = class_folders.outside(source_dir, folder, instead="")
    found.add(beside, f"{folder}/")
    command.say(*outside, *deep, *found.left_out())
    return items


def flat(source_dir, labels_file, synsets):
    """Lists the images of a val/ without folders: [(relative path, label)], labels from a file."""
    found = list_images(os.path.join(source_dir, "val"))
    names = found.names
    command.say(*found.left_out("val/"))
    if not labels_file:
        raise ValueError(f"{os.path.join(source_dir, 'val')} is flat: give --validation_labels=FILE "
                         "with a synset per line, or sort the images into one folder per synset")
    lines = sources.read_text(labels_file, "validation_labels")
    words = [line.split() for line in lines]
    if all(len(each) == 2 for each in words):
        listed = dict(words)
        missing = sorted(set(names) - set(listed))
        if missing:
            raise ValueError(f"--validation_labels={labels_file} has no line for {missing[0]}: "
                             "expected one for each image of val/")
        found = [listed[name] for name in names]
    elif all(len(each) == 1 for each in words) and len(words) == len(names):
        found = lines
    else:
        raise ValueError(f"--validation_labels={labels_file} has {len(lines)} lines for the "
                         f"{len(names)} images of val/: expected a synset for each, or 'filename "
                         "synset'")
    labels = {synset: label for label, synset in enumerate(synsets)}
    for name, synset in zip(names, found):
        if synset not in labels:
            raise ValueError(f"--validation_labels={labels_file} gives {synset!r} for {name}: there "
                             "is no such synset in train/")
    return [(f"val/{name}", labels[synset]) for name, synset in zip(names, found)]


def with_names(items, boxes):
    """Adds names and boxes: [(filename, relative path, label, boxes)].

    The filename has no folders, unless two images would then have the same.
    """
    short = [path.rpartition("/")[2] for path, _ in items]
    names = short if len(set(short)) == len(short) else [path for path, _ in items]
    return [(name, path, label, boxes.get(base, []))
            for name, base, (path, label) in zip(names, short, items)]


def read_synset_names(path, synsets):
    """Reads {synset: words} from a file with lines like "n01440764 tench, Tinca tinca"."""
    texts = {}
    for line in sources.read_text(path, "synset_names"):
        synset, *words = line.split(None, 1)
        texts[synset] = words[0] if words else ""
    missing = [synset for synset in synsets if not texts.get(synset)]
    if missing:
        raise ValueError(f"--synset_names={path} has no name for {missing[0]}: expected a line like "
                         f"'{missing[0]} tench, Tinca tinca' for each synset of train/")
    return texts


def read_boxes(path):
    """Reads {filename: [[xmin, ymin, xmax, ymax]]} from a file with lines of these, by commas."""
    boxes = {}
    for number, line in enumerate(sources.read_text(path, "bounding_boxes"), 1):
        name, *sides = line.split(",")
        try:
            xmin, ymin, xmax, ymax = map(float, sides)
        except ValueError:
            xmin, ymin, xmax, ymax = 1, 1, 0, 0
        if not (0 <= xmin <= xmax <= 1 and 0 <= ymin <= ymax <= 1):
            raise ValueError(f"--bounding_boxes={path}, line {number}, is {line[:60]!r}: expected "
                             "filename,xmin,ymin,xmax,ymax with fractions of the image")
        boxes.setdefault(name, []).append([xmin, ymin, xmax, ymax])
    return boxes


def make_record(source_dir, synsets, texts, item):
    """Makes a Record from an item (filename, relative path, label, boxes)."""
    name, path, label, boxes = item
    with open(os.path.join(source_dir, path), "rb") as file:
        image = image_files.convert(file.read())
    return Record(encoded=image.encoded, filename=name, label=label, synset=synsets[label],
                  text=texts[label] if texts else "", height=image.height, width=image.width,
                  format=image.format, boxes=tuple(map(tuple, boxes)))


if __name__ == "__main__":
    sys.exit(command.main(run))

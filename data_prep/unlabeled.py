"""Converts images without labels, from a folder or a tar file, to shards.

    python -m data_prep.unlabeled --source_dir=SOURCE --output_dir=DIR [--image_size=32]

SOURCE is a folder with images at any depth, or an uncompressed tar file, which is read without
unpacking it and without following links in it. Any collection will do: Tiny ImageNet, YFCC100M, a
folder of your own. With --image_size the central square of each image is resized to that many
pixels and kept as PNG; without it, images keep their size. EXIF orientation is applied.
"""

import functools
import hashlib
import os
import sys

from data_prep import command
from data_prep import duplicates
from data_prep import shards
from data_prep import sources
from mpl_tf.common.command import path_type, whole
from mpl_tf.shards import image_files
from mpl_tf.shards.listing import list_images
from mpl_tf.shards.schema import Record


def run(arguments):
    """Prepares unlabeled images as the command line says."""
    parser = command.parser("unlabeled", __doc__, "folder with images at any depth, or a tar file")
    parser.add_argument("--image_size", type=whole(1, 10_000), help="height and width of the written "
                        "images, in pixels (default: images keep their size)")
    parser.add_argument("--shards", type=whole(1, 99_999), help="how many shards to write (default: as "
                        "many as give each at most about 10,000 images and 100 MB)")
    parser.add_argument("--exclude_dir", type=path_type, help="folder of shards, or of image files, "
                        "whose test images are left out: those of test and validation shards, or "
                        "all files. Bytes are compared; in shards an RGB JPEG has the file's")
    flags = parser.parse_args(arguments)
    if flags.exclude_dir is not None:
        command.require_folder(flags.exclude_dir, "exclude_dir", "shards or images to leave out")
    shards.prepare(plan(flags.source_dir, flags.seed, flags.image_size, flags.shards,
                        flags.exclude_dir),
                   functools.partial(make_record, flags.source_dir, flags.image_size),
                   flags.output_dir, command.command_line("unlabeled", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)


def plan(source, seed, image_size=None, num_shards=None, exclude_dir=None):
    """Returns the Plan for a folder or tar file, without the test images in exclude_dir.

    Raises:
      ValueError, FileNotFoundError: in one line: it does not exist or cannot be used.
    """
    if os.path.isdir(source):
        found = list_images(source)
        others, lines = len(found.others), found.left_out()
        items = [(name,) for name in found.names]
        sizes = [os.path.getsize(os.path.join(source, name)) for name in found.names]
    elif os.path.isfile(source):
        items, others = sources.list_tar(source)
        lines = [command.counted(others, "file that is no image by its name is left out",
                                 "files that are no images by their name are left out")] if others else []
        sizes = [size for _, _, size in items]
    else:
        raise FileNotFoundError(f"--source_dir={source}: nothing is there; expected a folder of "
                                "images, or a tar file")
    if not items:
        suffixes = ", ".join(image_files.SUFFIXES)
        more = "".join(f"; {line}" for line in lines[bool(others):])
        raise ValueError(f"--source_dir={source}: no images are there "
                         f"({command.counted(others, 'other file', 'other files')}{more}); "
                         f"expected files that end in one of {suffixes}")
    if exclude_dir is not None:
        left, out = duplicates.without(items, sizes, lambda item: hashlib.sha256(
            _bytes(source, item)).hexdigest(), duplicates.test_images(exclude_dir))
        lines.append(command.counted(out, "test image", "test images") + f" of {exclude_dir} left out")
        if not left:
            raise ValueError(f"--source_dir={source} has only test images of --exclude_dir="
                             f"{exclude_dir}: give others")
        items, sizes = map(list, zip(*left))
    command.say(*lines)
    size = sum(sizes) if image_size is None else len(items) * 3 * image_size ** 2
    num_shards = num_shards or sources.shards_for(len(items), size)
    return shards.Plan("unlabeled", "unlabeled", seed, options={"image_size": image_size},
                       splits=(shards.SplitPlan(
                           "unlabeled", num_shards, sources.shuffled(items, seed),
                           f"shuffled by seed {seed}", labeled=False),))


def make_record(source, image_size, item):
    """Makes a Record from an item: (name,) in a folder, (name, first byte, size) in a tar file."""
    image = image_files.convert(_bytes(source, item), orient=True, size=image_size)
    return Record(encoded=image.encoded, filename=item[0], height=image.height, width=image.width,
                  format=image.format)


def _bytes(source, item):
    name, *place = item
    if place:
        begin, size = place
        with open(source, "rb", buffering=0) as file:
            file.seek(begin)
            return file.read(size)
    with open(os.path.join(source, name), "rb") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(command.main(run))

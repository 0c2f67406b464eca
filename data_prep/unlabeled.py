"""Images without labels, a folder of them or a tar file -> shards.

    python -m data_prep.unlabeled --source_dir=DIR_OR_TAR --output_dir=DIR [--image_size=32]

Any collection will do: Tiny ImageNet, YFCC100M, a folder of your own. A tar file is read where it
is, uncompressed, without unpacking it; links in it are not followed. With --image_size each image
is cut to its central square, made that size and kept as PNG; without it, images stay as they are.
EXIF orientation is applied.
"""

import functools
import os
import sys

from data_prep import command
from data_prep import shards
from data_prep import sources
from mpl_tf.common.command import whole
from mpl_tf.shards import image_files
from mpl_tf.shards.schema import Record


def run(arguments):
    """Prepares unlabeled images as the command line says."""
    parser = command.parser("unlabeled", __doc__, "folder with images at any depth, or a tar file")
    parser.add_argument("--image_size", type=whole(1), help="height and width to make all "
                        "images (default: as they are)")
    parser.add_argument("--shards", type=whole(1), help="how many files to write (default: "
                        "one for 10,000 images or 100 MB)")
    flags = parser.parse_args(arguments)
    shards.prepare(plan(flags.source_dir, flags.seed, flags.image_size, flags.shards),
                   functools.partial(make_record, flags.source_dir, flags.image_size),
                   flags.output_dir, command.command_line("unlabeled", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)


def plan(source, seed, image_size=None, num_shards=None):
    """The Plan for a folder or tar; ValueError, in one line, for one that cannot be used."""
    if os.path.isdir(source):
        names, others = image_files.list_images(source)
        items = [(name,) for name in names]
        sizes = [os.path.getsize(os.path.join(source, name)) for name in names]
    elif os.path.isfile(source):
        items, others = sources.list_tar(source)
        sizes = [size for _, _, size in items]
    else:
        raise FileNotFoundError(f"--source_dir={source}: nothing is there; expected a folder of "
                                "images, or a tar file")
    if not items:
        suffixes = ", ".join(image_files.SUFFIXES[:5])
        raise ValueError(f"--source_dir={source}: no images are there ({others} other files); "
                         f"expected files that end in {suffixes} and such")
    if others:
        print(f"{others} files that are no images by their name are left out", flush=True)
    size = sum(sizes) if image_size is None else len(items) * 3 * image_size ** 2
    num_shards = num_shards or sources.shards_for(len(items), size)
    return shards.Plan("unlabeled", "unlabeled", seed, options={"image_size": image_size},
                       splits=(shards.SplitPlan(
                           "unlabeled", num_shards, sources.shuffled(items, seed),
                           f"shuffled by seed {seed}", labeled=False),))


def make_record(source, image_size, item):
    """(name,) in a folder, or (name, begin, bytes) in a tar file -> Record."""
    name, *place = item
    if place:
        begin, size = place
        with open(source, "rb", buffering=0) as file:
            file.seek(begin)
            data = file.read(size)
    else:
        with open(os.path.join(source, name), "rb") as file:
            data = file.read()
    image = image_files.convert(data, orient=True, size=image_size)
    return Record(encoded=image.encoded, filename=name, height=image.height, width=image.width,
                  format=image.format)


if __name__ == "__main__":
    sys.exit(command.main(run))

"""Converts CIFAR-10 to shards of PNG files, in the official order, every pixel kept.

    python -m data_prep.cifar10 --source_dir=SOURCE --output_dir=DIR

SOURCE is a folder that holds cifar-10-python.tar.gz (get it from
https://www.cs.toronto.edu/~kriz/cifar.html) or its unpacked contents, or a folder in which
TensorFlow Datasets has prepared CIFAR-10.
"""

import functools
import sys

from data_prep import arrays
from data_prep import command
from data_prep import shards
from mpl_tf.datasets import cifar10, tfds
from mpl_tf.datasets.splits import check_sizes


def run(arguments):
    """Prepares CIFAR-10 as the command line says."""
    flags = command.parser("cifar10", __doc__, "folder of the raw files").parse_args(arguments)
    command.require_folder(flags.source_dir)
    splits = cifar10.read(flags.source_dir) or tfds.read(
        "cifar10", flags.source_dir, url=cifar10.URL, download=False)
    if splits is None:
        raise FileNotFoundError(f"--source_dir={flags.source_dir} has no files of CIFAR-10: "
                                f"download {cifar10.URL} into that folder")
    check_sizes(splits, cifar10.SIZES, f"cifar10 in {flags.source_dir}")
    plan = arrays.plan("cifar10", splits, cifar10.CLASSES, flags.seed, flip=True)
    shards.prepare(plan, functools.partial(arrays.make_record, cifar10.CLASSES),
                   flags.output_dir, command.command_line("cifar10", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)


if __name__ == "__main__":
    sys.exit(command.main(run))

"""Converts SVHN's cropped digits to shards of PNG files, in the official order, every pixel kept.

    python -m data_prep.svhn --source_dir=SOURCE --output_dir=DIR

SOURCE is a folder that holds train_32x32.mat, test_32x32.mat and, if the extra images are wanted,
extra_32x32.mat (get them from http://ufldl.stanford.edu/housenumbers/), or a folder in which
TensorFlow Datasets has prepared SVHN. The digit 0, whose label is 10 in those files, gets the label
0 (stored as 1 in the records, which count from 1). With the extra images the program takes 4 GB of
memory.
"""

import functools
import sys

from data_prep import arrays
from data_prep import command
from data_prep import shards
from mpl_tf.datasets import svhn, tfds
from mpl_tf.datasets.splits import check_sizes

SPLITS = ("train", "test", "extra")


def run(arguments):
    """Prepares SVHN as the command line says."""
    flags = command.parser("svhn", __doc__, "folder of the raw files").parse_args(arguments)
    command.require_folder(flags.source_dir)
    has_extra = svhn.find(flags.source_dir, ("extra",)) is not None
    splits = svhn.read(flags.source_dir, SPLITS if has_extra else SPLITS[:2])
    url = svhn.URL + svhn.file_name("train")
    splits = splits or tfds.read("svhn_cropped", flags.source_dir, SPLITS, url,
                                       download=False)
    if splits is None:
        raise FileNotFoundError(f"--source_dir={flags.source_dir} has no files of SVHN: download "
                                f"{url} and {svhn.file_name('test')} from the same place into it")
    check_sizes(splits, svhn.SIZES, f"svhn in {flags.source_dir}")
    plan = arrays.plan("svhn", splits, svhn.CLASSES, flags.seed, flip=False)
    shards.prepare(plan, functools.partial(arrays.make_record, svhn.CLASSES),
                   flags.output_dir, command.command_line("svhn", arguments), flags.overwrite,
                   flags.skip_corrupt, flags.workers)


if __name__ == "__main__":
    sys.exit(command.main(run))

"""Lists the programs of data_prep: `python -m data_prep`."""

import sys

from mpl_tf.common import command

PROGRAMS = ("image_folder", "imagenet", "cifar10", "svhn", "unlabeled", "inspect", "predict",
            "select", "features", "beam")

if __name__ == "__main__":
    sys.exit(command.list_programs("data_prep", PROGRAMS))

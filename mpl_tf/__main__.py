"""Lists the programs of mpl_tf: `python -m mpl_tf`."""

import sys

from mpl_tf.common import command

PROGRAMS = ("train", "evaluate", "predict", "report", "compare", "tune", "reduced", "two_moons",
            "benchmark")

if __name__ == "__main__":
    sys.exit(command.list_programs("mpl_tf", PROGRAMS))

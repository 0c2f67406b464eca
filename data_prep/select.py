"""Keeps, of all predicted examples, the K most confident of each class (Section 4.2).

    python -m data_prep.select --predictions_dir=DIR --output_dir=DIR --per_class=50000

An example counts for the class that the network finds likeliest, or with --rank_all for every class
(by the stored float16 probability, so that an example may be kept for several). Equal ones are
taken in the order of their keys. Classes with fewer than K are filled up by repeating theirs in
order, or with --short=leave left as they are. Fewer than 3 * K examples of a class are in memory.
"""

import sys

from data_prep import command
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.reduced import selecting


def run(arguments):
    """Selects as the command line says."""
    selecting.select(**vars(parse(arguments)))


def parse(arguments):
    """The command line's flags; `splits` is a list of str, or None."""
    parser = Parser("data_prep.select", __doc__)
    parser.add_argument("--predictions_dir", type=path_type, required=True, help="folder that data_prep.predict "
                        "wrote")
    parser.add_argument("--output_dir", type=path_type, required=True, help="folder for the selection")
    parser.add_argument("--per_class", required=True, type=whole(1), metavar="K",
                        help="examples of each class")
    parser.add_argument("--splits", help="comma-separated, of those predicted (default: all)")
    parser.add_argument("--rank_all", action="store_true", help="every example counts for every "
                        "class")
    parser.add_argument("--short", choices=("repeat", "leave"), default="repeat", help="what "
                        "becomes of a class with fewer than K (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace another selection that is "
                        "in --output_dir")
    flags = parser.parse_args(arguments)
    flags.splits = flags.splits.split(",") if flags.splits else None
    return flags


if __name__ == "__main__":
    sys.exit(command.main(run))

"""Selects, from all predicted examples, the K most confident ones of each class (Section 4.2).

    python -m data_prep.select --predictions_dir=PREDICTIONS --output_dir=DIR --per_class=K

An example is a candidate for the class that the network finds likeliest, or with --rank_all for
every class, ranked by its stored float16 probability, so that it may be selected for several.
Examples of equal rank are taken in the order of their keys. A class with fewer than K examples
repeats them in order until there are K, or with --short=leave stays as it is. Memory holds fewer
than 3 * K examples of each class.
"""

import sys

from data_prep import command
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.reduced import selecting


def run(arguments):
    """Selects as the command line says."""
    selecting.select(**vars(parse(arguments)))


def parse(arguments):
    """Parses the command line; `splits` of the result is a list of str, or None."""
    parser = Parser("data_prep.select", __doc__)
    parser.add_argument("--predictions_dir", type=path_type, required=True,
                        help="folder that data_prep.predict wrote")
    parser.add_argument("--output_dir", type=path_type, required=True,
                        help="folder for the selection")
    parser.add_argument("--per_class", required=True, type=whole(1), metavar="K",
                        help="how many examples of each class to select")
    parser.add_argument("--splits", help="comma-separated names of the predicted splits to select "
                        "from (default: all)")
    parser.add_argument("--rank_all", action="store_true", help="rank every example in every "
                        "class, not only in its likeliest one")
    parser.add_argument("--short", choices=("repeat", "leave"), default="repeat", help="what to do "
                        "with a class of fewer than K examples: repeat them until there are K, or "
                        "leave them as they are (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace another selection that is "
                        "in --output_dir")
    flags = parser.parse_args(arguments)
    flags.splits = flags.splits.split(",") if flags.splits else None
    return flags


if __name__ == "__main__":
    sys.exit(command.main(run))

"""Writes what a person reads of a finished run: `python -m mpl_tf.report --model_dir=RUN`.

    python -m mpl_tf.report --model_dir=RUN [--against=CONTROL ...] [--data_dir=DIR] [--output_dir=DIR]

It writes report.html, one page that needs nothing beside it and no network, report.csv with its
figures, and label_next.csv, the unlabeled images of which the student is least sure. With --against,
runs such as the control (--meta_weight=0) and the baseline, it says whether the meta gradient helped,
on the same test images. Runs of several seeds: give --model_dir and --against several times; runs are
paired by their --seed. The page shows some of the images: do not pass it on where these are private.

Trust RUN as you trust a program, see `python -m mpl_tf.evaluate --help`.
"""

import sys

from mpl_tf.common import command
from mpl_tf.common.command import Parser, path_type


def parse(arguments):
    """Parses the command line; exits with one line for bad arguments."""
    parser = Parser("mpl_tf.report", __doc__)
    parser.add_argument("--model_dir", type=path_type, required=True, action="append",
                        help="folder of a finished run; several of them are seeds of one kind of run, and "
                        "the page shows the first")
    parser.add_argument("--against", type=path_type, action="append", default=[],
                        help="folder of a finished run to compare with; may be given several times")
    parser.add_argument("--data_dir", type=path_type, help="where the data lie now, if they have moved")
    parser.add_argument("--output_dir", type=path_type,
                        help="folder for the files (default: the first --model_dir)")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments, again="begins anew")


def _main(arguments):
    chosen = parse(arguments)
    from mpl_tf.report import of_run
    of_run.write(chosen.model_dir, chosen.against, chosen.output_dir or chosen.model_dir[0], chosen.data_dir)


if __name__ == "__main__":
    sys.exit(main())

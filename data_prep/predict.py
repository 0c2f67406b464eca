"""Stores a trained network's distribution for every example of some shards (Section 3.2).

    python -m data_prep.predict --model_dir=RUN --source_dir=SHARDS [--source_dir=MORE] \\
        --output_dir=DIR [--shard_index=0 --num_shards=1]

RUN is the folder of q_large's finished run, whose exported student sees each image as an evaluation
does; trust it as you trust a program, see `python -m mpl_tf.predict --help`. SHARDS is a folder that
data_prep or Szegedy et al.'s program wrote, or `digits`. Test and validation shards are left out
unless --splits names them. The same command continues an interrupted run. Several machines share the
work by --num_shards and --shard_index; they write to the same folder, or to folders of their own
whose files are put together afterwards.
"""

import sys

from data_prep import command
from mpl_tf.common.command import Parser, path_type
from mpl_tf.reduced import labelling


def run(arguments):
    """Predicts as the command line says."""
    flags = parse(arguments)
    labelling.label(flags.model_dir, flags.source_dir, flags.output_dir, flags.splits,
                    flags.batch_size, flags.skip_corrupt, flags.shard_index, flags.num_shards)


def parse(arguments):
    """Parses the command line; `splits` of the result is a list of str, or None."""
    parser = Parser("data_prep.predict", __doc__)
    parser.add_argument("--model_dir", type=path_type, required=True,
                        help="folder of q_large's finished run")
    parser.add_argument("--source_dir", type=path_type, required=True, action="append",
                        help="folder of shards to predict, or digits; may be given several times")
    parser.add_argument("--output_dir", type=path_type, required=True,
                        help="folder for the predictions")
    parser.add_argument("--splits", help="comma-separated names of the splits to predict (default: "
                        "all but test and validation)")
    command.add_passes(parser, batch_size=256)
    flags = command.check_machines(parser.parse_args(arguments))
    flags.splits = flags.splits.split(",") if flags.splits else None
    return flags


if __name__ == "__main__":
    sys.exit(command.main(run))

"""What a training step, and what its input costs, as ratios taken in one run.

    python -m mpl_tf.benchmark --what=step
    python -m mpl_tf.benchmark --what=input [--data_dir=SHARDS]
    python -m mpl_tf.benchmark --what=memory [--network=efficientnet-b0]
"""

import sys

from mpl_tf.common import command
from mpl_tf.common.command import Parser, whole


def parse(arguments):
    """The command line's arguments; exits with one line for a bad one."""
    parser = Parser("mpl_tf.benchmark", __doc__)
    parser.add_argument("--what", choices=["step", "input", "memory"], default="step",
                        help="what is measured (default: %(default)s)")
    parser.add_argument("--network", help="teacher and student (default: wrn-28-2; of memory "
                        "efficientnet-b0)")
    parser.add_argument("--image_size", type=whole(1), default=32,
                        help="side of the images in pixels (default: %(default)s)")
    parser.add_argument("--batch_size", type=whole(1), default=64,
                        help="labeled images, and unlabeled ones (default: %(default)s)")
    parser.add_argument("--rounds", type=whole(1), default=5,
                        help="how often each row is measured (default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16", "both"],
                        default="both", help="type of the activations (default: %(default)s)")
    parser.add_argument("--data_dir", type=command.path_type, help="of input: folder of shards of "
                        "large images, such as ImageNet's (default: some are drawn and written to a "
                        "temporary folder)")
    chosen = parser.parse_args(arguments)
    chosen.network = chosen.network or (
        "efficientnet-b0" if chosen.what == "memory" else "wrn-28-2")
    return chosen


def main(arguments=None):
    """Runs a command line, a list of str (None: the process's); returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    chosen = parse(arguments)
    if chosen.what == "step":
        from mpl_tf.benchmark import step
        step.measure_steps(chosen)
    elif chosen.what == "memory":
        from mpl_tf.benchmark import memory
        memory.measure_memory(chosen)
    else:
        from mpl_tf.benchmark import inputs
        inputs.measure_input(chosen.rounds, chosen.data_dir)


if __name__ == "__main__":
    sys.exit(main())

"""Measures what a training step and its input cost, as ratios within one run.

    python -m mpl_tf.benchmark --what=step
    python -m mpl_tf.benchmark --what=input [--data_dir=SHARDS]
    python -m mpl_tf.benchmark --what=run [--data_dir=CIFAR-10 --objective=uda]
    python -m mpl_tf.benchmark --what=memory [--network=efficientnet-b0 --image_size=224 --batch_size=8]
    python -m mpl_tf.benchmark --what=torch [--threads=1]        (beside PyTorch: pip install torch)
"""

import sys

from mpl_tf import networks
from mpl_tf.benchmark import beside_torch, memory
from mpl_tf.common import command
from mpl_tf.common.command import Parser, whole


_READ_BY = {"objective": ("memory", "run", "torch"), "row": ("memory",), "microbatch_size": ("memory",),
            "threads": ("torch",), "data_dir": ("input", "run"), "precision": ("step", "run", "torch"),
            "network": ("step", "run", "memory", "torch"), "image_size": ("step", "run", "memory", "torch"),
            "batch_size": ("step", "run", "memory", "torch")}


def parse(arguments):
    """Parses a command line; exits with one line for a bad argument."""
    parser = Parser("mpl_tf.benchmark", __doc__)
    parser.add_argument("--what", choices=["step", "input", "run", "memory", "torch"], default="step",
                        help="what is measured (default: %(default)s)")
    parser.add_argument("--network", default="wrn-28-2",
                        help="the network of teacher and student (default: %(default)s)")
    parser.add_argument("--image_size", type=whole(1, 10_000), default=32,
                        help="the side of the images, in pixels (default: %(default)s)")
    parser.add_argument("--batch_size", type=whole(1, 10 ** 6), default=64,
                        help="the number of labeled images, and of unlabeled ones, in a batch "
                        "(default: %(default)s)")
    parser.add_argument("--rounds", type=whole(1, 10_000), default=5,
                        help="how often each row is measured (default: %(default)s)")
    parser.add_argument("--microbatch_size", type=whole(0, 10 ** 6), default=0,
                        help="with --what=memory: the examples in a slice (default: a quarter of the "
                        "batch)")
    parser.add_argument("--objective", choices=list(memory.OBJECTIVES), default="supervised",
                        help="with --what=memory or run: the teacher's objective; uda_apart has joint_views=False "
                        "(default: %(default)s)")
    parser.add_argument("--row", help="with --what=memory: measures this row alone, in this process, and "
                        "prints it as JSON")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16", "both"],
                        default="both", help="the type of the activations (default: %(default)s)")
    parser.add_argument("--threads", type=whole(1, 1024), help="with --what=torch: the threads of "
                        "TensorFlow and of PyTorch (default: as many as the cores that may be used)")
    parser.add_argument("--data_dir", type=command.path_type, help="with --what=input: a folder "
                        "of shards of large images, such as ImageNet's (default: a temporary folder "
                        "of images that are drawn); with --what=run: the folder of CIFAR-10 (default: "
                        "images that are drawn)")
    chosen = parser.parse_args(arguments)
    for name, modes in _READ_BY.items():
        if getattr(chosen, name) != parser.get_default(name) and chosen.what not in modes:
            parser.error(f"--{name} with --what={chosen.what}: it has an effect with --what="
                         f"{' or '.join(modes)} only; leave it out")
    try:
        networks.find(chosen.network)
    except ValueError as error:
        parser.error(f"--network={chosen.network[:60]}: {error}")
    if chosen.row and chosen.row not in memory.ROWS:
        parser.error(f"--row={chosen.row[:60]}: expected one of {', '.join(memory.ROWS)}")
    if chosen.microbatch_size and chosen.batch_size % chosen.microbatch_size:
        parser.error(f"--microbatch_size={chosen.microbatch_size}: expected a divisor of "
                     f"--batch_size={chosen.batch_size}")
    refused = beside_torch.refusal(chosen) if chosen.what == "torch" else None
    if refused:
        parser.error(refused)
    return chosen


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments, again="begins anew")


def _main(arguments):
    chosen = parse(arguments)
    if chosen.what == "step":
        from mpl_tf.benchmark import step
        step.measure_steps(chosen)
    elif chosen.what == "memory":
        memory.measure_memory(chosen)
    elif chosen.what == "torch":
        beside_torch.measure_beside_torch(chosen)
    elif chosen.what == "run":
        from mpl_tf.benchmark import run
        run.measure_run(chosen)
    else:
        from mpl_tf.benchmark import inputs
        inputs.measure_input(chosen.rounds, chosen.data_dir)


if __name__ == "__main__":
    sys.exit(main())

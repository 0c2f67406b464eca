"""What a training step, and what its input costs, as ratios taken in one run.

    python -m mpl_tf.benchmark --what=step
    python -m mpl_tf.benchmark --what=input [--data_dir=SHARDS]
    python -m mpl_tf.benchmark --what=memory [--network=efficientnet-b0]
"""

from mpl_tf.common.arguments import Parser


def arguments(argv=None):
    """The command line's arguments; exits with one line for a bad one."""
    parser = Parser(
        prog="python -m mpl_tf.benchmark", allow_abbrev=False, description=__doc__.split("\n")[0])
    parser.add_argument("--what", choices=["step", "input", "memory"], default="step", help="what to measure")
    parser.add_argument("--network", help="teacher and student (wrn-28-2; memory: "
                        "efficientnet-b0)")
    parser.add_argument("--image_size", type=int, default=32, help="pixels (32)")
    parser.add_argument("--batch_size", type=int, default=64, help="labeled and unlabeled (64)")
    parser.add_argument("--rounds", type=int, default=5, help="counted, after a warm-up (5)")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16", "both"],
                        default="both", help="of activations (both)")
    parser.add_argument("--data_dir", help="input: folder of shards of large images, such as "
                        "ImageNet's (some are drawn and written to a temporary folder)")
    chosen = parser.parse_args(argv)
    chosen.network = chosen.network or (
        "efficientnet-b0" if chosen.what == "memory" else "wrn-28-2")
    for name in ("image_size", "batch_size", "rounds"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name}={getattr(chosen, name)}: expected 1 or more")
    return chosen


def main(argv=None):
    """Measures what the command line asks for."""
    chosen = arguments(argv)
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
    main()

"""Runs several flag files over several seeds and prints a table: mean, std, paired differences.

    python -m mpl_tf.compare --seeds=0,1,2,3,4 --output_dir=runs/digits_table \\
        --reference=digits_control flags/digits.cfg flags/digits_control.cfg [-- --train_steps=500]

Seed s is --seed=s and, for labels drawn at random, --split_seed=s: rows are paired by seed and
split. Each run has its own folder in output_dir, so an interrupted comparison continues, and a
finished one only prints. Flags after -- go to every run.
"""

import os
import re
import statistics
import sys

from mpl_tf import config
from mpl_tf.common import storage
from mpl_tf.common.arguments import Parser

FIGURES = r"(student|teacher)_(test|labeled|holdout)_(top5_)?accuracy|median_last_evaluations"


def arguments(argv):
    """(parsed arguments, flags for every run); exits with one line for bad ones."""
    own, _, extra = "\0".join(argv).partition("\0--\0")
    parser = Parser(
        prog="python -m mpl_tf.compare", allow_abbrev=False, description=__doc__.split("\n")[0],
        epilog="Flags after -- go to every run, such as -- --train_steps=500")
    parser.add_argument("flagfiles", nargs="+", help="a row each")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated (0,1,2,3,4)")
    parser.add_argument("--output_dir", default="runs/compare", help="of all runs (runs/compare)")
    parser.add_argument("--reference", help="name of the row that the others are compared with")
    parser.add_argument("--figure", default="student_test_accuracy",
                        help="of results.json, such as student_holdout_accuracy "
                        "(student_test_accuracy)")
    parser.hint = "; flags for every run go after --, such as -- --train_steps=500"
    chosen = parser.parse_args(own.split("\0") if own else [])
    chosen.names = [os.path.splitext(os.path.basename(path))[0] for path in chosen.flagfiles]
    try:
        chosen.seeds = [int(seed) for seed in chosen.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds={chosen.seeds}: expected integers such as 0,1,2")
    for name, values in (("flag files of the name", chosen.names), ("the seed", chosen.seeds)):
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            parser.error(f"{name} {twice[0]} twice: expected each once; a row is its file's name")
    if not re.fullmatch(FIGURES, chosen.figure):
        parser.error(f"--figure={chosen.figure}: expected an accuracy of results.json such as "
                     "student_test_accuracy or teacher_holdout_accuracy, or "
                     "median_last_evaluations")
    if chosen.reference and chosen.reference not in chosen.names:
        parser.error(f"--reference={chosen.reference}: expected one of {', '.join(chosen.names)}")
    return chosen, extra.split("\0") if extra else []


def configs(chosen, extra):
    """{(name, seed): Config} of all runs; bad flags are one line, before any run."""
    return {(name, seed): config.from_argv([
        "compare", f"--flagfile={path}", *extra, f"--seed={seed}", f"--split_seed={seed}",
        f"--model_dir={os.path.join(chosen.output_dir, f'{name}_seed{seed}')}"])
        for name, path in zip(chosen.names, chosen.flagfiles) for seed in chosen.seeds}


def mean_std(values, sign=""):
    """"mean ± standard deviation" (with n - 1); the value alone where there is one."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.2f}{spread}"


def table(names, seeds, figures, reference=None):
    """Markdown lines: per cent, mean +- std over seeds; differences paired by seed.

    Args:
      figures: {(name, seed): fraction}.
      reference: name of the row that is subtracted, or None.
    """
    lines = [f"| run | mean{' ± std' if len(seeds) > 1 else ''} [%], n = {len(seeds)} | "
             + (f"minus {reference} | " if reference else "") + " | ".join(
                 f"seed {seed}" for seed in seeds) + " |"]
    lines.append("|" + " --- |" * lines[0].count(" | ") + " --- |")
    for name in names:
        values = [100 * figures[name, seed] for seed in seeds]
        cells = [name, mean_std(values)]
        if reference:
            differences = [100 * (figures[name, seed] - figures[reference, seed])
                           for seed in seeds]
            cells.append("–" if name == reference else mean_std(differences, "+"))
        lines.append("| " + " | ".join([*cells, *(f"{value:.2f}" for value in values)]) + " |")
    return "\n".join(lines)


def main(argv):
    """Runs what is not finished, then prints and writes the table; returns the exit code."""
    chosen, extra = arguments(argv[1:])
    runs = configs(chosen, extra)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from mpl_tf.run import training
    from mpl_tf.train import fail
    figures = {}
    for (name, seed), settings in runs.items():
        print(f"--- {name}, seed {seed}", flush=True)
        try:
            training.make_deterministic(settings.seed)
            results = training.run(settings)
        except (ValueError, OSError, FloatingPointError) as error:
            return fail(error, 2)
        tf.keras.backend.clear_session()
        if results is None:
            return 0    # stopped by a signal; the same command continues
        if results.get(chosen.figure) is None:
            return fail(f"{settings.model_dir} has no {chosen.figure}: choose another --figure", 2)
        figures[name, seed] = results[chosen.figure]
    text = table(chosen.names, chosen.seeds, figures, chosen.reference)
    print(f"\n{chosen.figure}\n{text}")
    storage.write_json(os.path.join(chosen.output_dir, f"{chosen.figure}.json"), {
        "command": argv, "seeds": chosen.seeds,
        "figures": {name: [figures[name, seed] for seed in chosen.seeds]
                    for name in chosen.names}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""Draws figure7.png and prints its table: what the meta gradient adds, over the number of labels.

    python docs/figure7.py runs/features_40 runs/features_250 ... --output=docs/figure7.png

Each folder is an --output_dir of mpl_tf.compare with the rows cifar10_features, _control, _shuffled and
_supervised, one folder for each number of labels; docs/results.md has the command.
"""

import argparse
import os
import statistics
import sys

from mpl_tf.common import command, pictures, storage
from mpl_tf.report.statistics import mean_difference
from mpl_tf.run import predicted, seed_names

ROW = "cifar10_features"
# (row, what it is compared with, legend, color, marker)
LINES = ((ROW, f"{ROW}_control", "MPL less its control (meta weight 0)", "#1f5fa8", "o"),
         (f"{ROW}_shuffled", f"{ROW}_control", "shuffled signal less the control", "#999999", "s"),
         (ROW, f"{ROW}_supervised", "MPL less supervised training", "#c8601e", "^"))
ROWS = list(dict.fromkeys(row for line in LINES for row in line[:2]))


def runs_of(folder):
    """(number of labels, {row: {seed: whether the student is right on each test image, bool [N]}}).

    The seeds are those that all rows have.
    """
    found, labels = {}, set()
    for name in sorted(storage.entries(folder, "FOLDER") or ()):
        row, seed = seed_names.split(name) or (None, None)
        results = storage.read_json(os.path.join(folder, name, "results.json"), "") if row in ROWS else None
        if results:
            labels.add(results["flags"]["labeled_examples"])
            kept = predicted.read(os.path.join(folder, name), results["train_steps"])
            if kept is not None:
                found.setdefault(row, {})[seed] = kept.right("student")
    if len(labels) != 1:
        raise ValueError(f"{folder} has runs of {sorted(labels) or 'no'} labels: expected one number of "
                         "labels in each folder that mpl_tf.compare wrote")
    seeds = set.intersection(*(set(found.get(row, ())) for row in ROWS))
    if len(seeds) < 2:
        raise ValueError(f"{folder} has {len(seeds)} seeds with finished runs of {', '.join(ROWS)}: expected "
                         "two or more; let mpl_tf.compare go on")
    return labels.pop(), {row: {seed: found[row][seed] for seed in sorted(seeds)} for row in ROWS}


def differences(found, row, other):
    """(each seed's difference in points, the report's Mean of them)."""
    pairs = list(zip(found[row].values(), found[other].values()))
    return ([100 * float(first.mean() - second.mean()) for first, second in pairs],
            mean_difference(*zip(*pairs), same=True))


def plus_minus(values, sign=""):
    """Mean and standard deviation of values, with two decimals."""
    return f"{statistics.fmean(values):{sign}.2f} ± {statistics.stdev(values):.2f}".replace("-", "−")


def line_of_table(labels, found):
    """A line of docs/results.md's table."""
    control, (gain, mean) = f"{ROW}_control", differences(found, *LINES[0][:2])
    accuracies = [plus_minus([100 * float(right.mean()) for right in found[row].values()])
                  for row in (f"{ROW}_supervised", control, ROW)]
    interval = f"{100 * mean.low:+.2f} to {100 * mean.high:+.2f}".replace("-", "−")
    return (f"| {labels:,} | {len(gain)} | {' | '.join(accuracies)} | {plus_minus(gain, '+')} | {mean.above} of "
            f"{mean.count} | {interval} | {plus_minus(differences(found, *LINES[1][:2])[0], '+')} |")


def draw(file, runs):
    """Draws LINES with their standard errors over the numbers of labels into a binary file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure((7.2, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=0.8)
    for row, other, legend, color, marker in LINES:
        values = [differences(found, row, other)[0] for _, found in runs]
        axes.errorbar([labels for labels, _ in runs], [statistics.fmean(each) for each in values],
                      [statistics.stdev(each) / len(each) ** 0.5 for each in values], label=legend,
                      color=color, marker=marker, capsize=3)
    axes.set(xscale="log", xlabel="labels",
             ylabel="student's test accuracy, difference\nin percentage points, ± standard error")
    axes.minorticks_off()
    ticks = [labels for labels, _ in runs]      # 4,800 has no room beside 4,000
    axes.set_xticks(ticks, [f"{labels:,}" if labels != 4800 else "" for labels in ticks], fontsize=8)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False)
    FigureCanvasAgg(figure).print_png(file)


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--output", default="figure7.png")
    chosen = parser.parse_args(arguments)
    runs = sorted((runs_of(folder) for folder in chosen.folders), key=lambda each: each[0])
    for labels, found in runs:
        print(line_of_table(labels, found))
    pictures.write(chosen.output, lambda file: draw(file, runs))


if __name__ == "__main__":
    sys.exit(main())

"""The two moons: whether the meta gradient helps, over many draws, and Figures 1 and 8.

    python -m mpl_tf.two_moons --seeds=20 --first_seed=100

Trains four learners on each draw of points and labels, with the settings of flags/two_moons.cfg
(the paper gives none): the supervised model; a student of its pseudo labels; the student of Meta
Pseudo Labels; and its control, meta weight 0. Prints accuracies on all points and paired gains.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

from mpl_tf import config as config_module
from mpl_tf.common import storage
from mpl_tf.common.arguments import Parser, whole

FLAGFILE = pathlib.Path(__file__).resolve().parents[2] / "flags" / "two_moons.cfg"
TITLES = {"supervised": "Supervised", "pseudo labels": "Pseudo labels",
          "MPL": "Meta Pseudo Labels", "control": "Control, meta weight 0"}
# By noise: mean and standard deviation over 20 draws of an independent implementation of this
# setting (JAX, its own draws of the labels); standard deviations of n.
REFERENCE = {
    0.05: {"supervised": (0.783, 0.071), "pseudo labels": (0.773, 0.075),
           "MPL": (0.956, 0.058), "control": (0.799, 0.074)},
    0.15: {"supervised": (0.759, 0.081), "pseudo labels": (0.749, 0.089),
           "MPL": (0.873, 0.114), "control": (0.780, 0.086)},
}
_RED, _GREEN, _BLUE = "#d55e00", "#009e73", "#0072b2"   # told apart by the colour-blind


# ------------------------------------------------------------------------------------- figures

def write_figures(config, folder):
    """Trains the learners of `config`'s draw and writes two figures into `folder`.

    decision_regions.png (Figure 1) and gradient_cosine.png (Figure 8), whose text does not say
    whose labels "validation" means: both readings are drawn. Takes seconds.

    Args:
      config: as of `two_moons_learners.train_learners`. That of a run of Meta Pseudo Labels: MPL
        is the run's student, trained once more.
      folder: an existing one. Each file appears whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from mpl_tf.two_moons.learners import train_learners
    dataset, learners = train_learners(config, measure=True)
    for name, draw in (("decision_regions.png", draw_regions),
                       ("gradient_cosine.png", draw_cosines)):
        figure = draw(dataset, learners)
        with storage.partial(os.path.join(folder, name)) as path, open(path, "wb") as file:
            FigureCanvasAgg(figure).print_png(file)


def draw_regions(dataset, learners):
    """Figure 1: a matplotlib figure of points, labels (stars) and the regions of four learners."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from mpl_tf.two_moons.learners import outputs_of
    points, labels = dataset.test.images, dataset.test.labels
    low, high = points.min(axis=0) - 0.25, points.max(axis=0) + 0.25
    x, y = np.meshgrid(np.linspace(low[0], high[0], 150), np.linspace(low[1], high[1], 100))
    grid = np.stack([x.ravel(), y.ravel()], axis=-1).astype("float32")
    figure = Figure((10, 6.6), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, TITLES):
        logits = outputs_of(learners[name].network, grid)
        lead = (logits[:, 1] - logits[:, 0]).reshape(x.shape)
        axes.contourf(x, y, lead, levels=[-np.inf, 0, np.inf], colors=[_RED, _GREEN], alpha=0.22)
        axes.scatter(*points.T, c=labels, cmap=ListedColormap([_RED, _GREEN]), s=3, linewidths=0)
        axes.scatter(*dataset.labeled.images.T, c=dataset.labeled.labels, s=230, marker="*",
                     cmap=ListedColormap([_RED, _GREEN]), edgecolors="black", linewidths=1.2)
        axes.set_title(f"{TITLES[name]}: {100 * learners[name].accuracy:.1f} %")
        axes.set(xticks=[], yticks=[], aspect="equal")
    figure.suptitle(f"Two moons: {len(labels):,} points, {len(dataset.labeled.labels)} labeled "
                    "(stars); shaded: what each model finds; accuracy on all points")
    return figure


def draw_cosines(dataset, learners):
    """Figure 8, in both readings of its validation gradient: a matplotlib figure."""
    from matplotlib.figure import Figure
    count = len(dataset.labeled.labels)
    readings = (f"Validation: all {len(dataset.test.labels):,} points, true labels",
                f"Validation: the {count} labeled points")
    figure = Figure((10, 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for column, (axes, title) in enumerate(zip(panels, readings), start=1):
        for name, color, style in (("MPL", _GREEN, "-"), ("control", _BLUE, "--"),
                                   ("supervised", _RED, "-.")):
            rows = learners[name].cosines
            axes.plot(rows[:, 0], rows[:, column], style, color=color, linewidth=2,
                      label=TITLES[name])
        axes.axhline(0, color="black", linewidth=0.6)
        axes.grid(alpha=0.3)
        axes.set(title=title, xlabel="step")
    panels[0].set(ylabel="cosine of training and validation gradient", ylim=(None, 1.05))
    panels[0].legend()
    return figure


# --------------------------------------------------------------------------------------- study

def main(argv):
    """Runs the command line `argv`; returns the exit code."""
    try:
        seeds, path, config = arguments(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from mpl_tf.two_moons.learners import train_learners
    accuracies = {name: [] for name in TITLES}
    for seed in seeds:
        _, learners = train_learners(config.replace(split_seed=seed, seed=seed))
        for name, learner in learners.items():
            accuracies[name].append(learner.accuracy)
        print(f"seed {seed}: " + ", ".join(f"{name} {learner.accuracy:.3f}"
                                           for name, learner in learners.items()), flush=True)
    print(table(accuracies, config.noise))
    if path:
        storage.write_json(path, {
            "seeds": list(seeds), "accuracies": accuracies, "summary": summary(accuracies),
            "flags": config.to_dict()})
        print(f"in {path}")
    return 0


def arguments(argv):
    """(range of seeds, JSON's path or "", Config) of a command line; --help exits, as mistakes do.

    Raises:
      ValueError: in one line; no TensorFlow has been imported by then.
    """
    parser = Parser(
        prog="python -m mpl_tf.two_moons", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="Further flags are those of `python -m mpl_tf.train`, such as --noise=0.15 or\n"
               "--meta_weight=100; they change what flags/two_moons.cfg says.")
    parser.add_argument("--seeds", type=whole(1), default=20, help="draws of points and labels (20)")
    parser.add_argument("--first_seed", type=whole(0), default=100, help="the first draw's seed (100)")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the numbers there")
    chosen, flags = parser.parse_known_args(argv[1:])
    folder = os.path.dirname(chosen.json) or "."
    if chosen.json and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise ValueError(f"--json={chosen.json}: {folder} is not a folder that can be written to; "
                         "create it, or name another")
    own = [argv[0], f"--flagfile={FLAGFILE}"]
    of_file, config = config_module.parse(own), config_module.parse([*own, *flags])
    for name in ("dataset", "method", "split_seed", "seed"):
        if getattr(config, name) != getattr(of_file, name):
            raise ValueError(f"--{name}={getattr(config, name)}: the study trains all its learners "
                             "on two_moons, seeds from --first_seed on; leave it out")
    return range(chosen.first_seed, chosen.first_seed + chosen.seeds), chosen.json, config


def summary(accuracies):
    """Means, and what MPL gains, paired by seed.

    Args:
      accuracies: {learner: accuracy by seed}.

    Returns:
      {"accuracy": {name: (mean, standard deviation)}, "gain": {name: (mean of MPL's accuracy less
      that of `name`, its standard error, seeds on which it is above 0)}}; standard deviation and
      error of n - 1, NaN for one seed.
    """
    values = {name: np.asarray(by_seed) for name, by_seed in accuracies.items()}
    deviation = lambda x: float(np.std(x, ddof=1)) if len(x) > 1 else float("nan")
    gains = {name: values["MPL"] - value for name, value in values.items() if name != "MPL"}
    return {"accuracy": {name: (float(x.mean()), deviation(x)) for name, x in values.items()},
            "gain": {name: (float(x.mean()), deviation(x) / len(x) ** 0.5, int((x > 0).sum()))
                     for name, x in gains.items()}}


def table(accuracies, noise):
    """`summary` as lines for a terminal, beside REFERENCE where it has this noise."""
    count, result = len(accuracies["MPL"]), summary(accuracies)
    lines = [f"draws: {count}, noise {noise}: mean +- standard deviation of the accuracy"]
    for name, (mean, deviation) in result["accuracy"].items():
        reference = REFERENCE.get(noise, {}).get(name)
        note = f"   (reference {reference[0]:.3f} +- {reference[1]:.3f})" if reference else ""
        lines.append(f"  {name:<15}{mean:.3f} +- {deviation:.3f}{note}")
    lines.append("MPL less ..., paired by seed: mean +- standard error")
    for name, (mean, error, above) in result["gain"].items():
        lines.append(f"  {name:<15}{mean:+.3f} +- {error:.3f}   above on {above} of {count}")
    if noise in REFERENCE:
        lines.append("reference: 20 draws of an independent implementation, flags/two_moons.cfg's "
                     "setting")
    return "\n".join(lines)

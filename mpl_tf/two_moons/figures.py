"""Draws Figures 1 and 8: decision regions and gradient cosines of learners on the two moons."""

import os

import numpy as np

from mpl_tf.common import pictures

TITLES = {"supervised": "Supervised", "pseudo labels": "Pseudo labels",
          "MPL": "Meta Pseudo Labels", "control": "Control, meta weight 0"}
_RED, _GREEN, _BLUE = "#d55e00", "#009e73", "#0072b2"   # colour-blind people can tell them apart


def write_figures(config, folder):
    """Trains the learners on `config`'s draw of the data, and writes two figures into `folder`.

    They are decision_regions.png (Figure 1) and gradient_cosine.png (Figure 8). The paper does not
    say which labels the "validation" gradient of Figure 8 is of, so both readings are drawn. This
    takes seconds.

    Args:
      config: the Config of learners.train_learners. With that of a run of Meta Pseudo Labels, the
        learner MPL is the run's student, trained once more.
      folder: an existing folder. Each file appears whole or not at all; one that cannot be drawn is
        warned of.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from mpl_tf.two_moons.learners import train_learners
    dataset, learners = train_learners(config, measure=True)
    for name, draw in (("decision_regions.png", draw_regions),
                       ("gradient_cosine.png", draw_cosines)):
        pictures.write(os.path.join(folder, name), lambda file, draw=draw:
                       FigureCanvasAgg(draw(dataset, learners)).print_png(file))


def draw_regions(dataset, learners):
    """Draws Figure 1: points, labels (stars) and the regions of four learners.

    Args:
      dataset, learners: what learners.train_learners returns.

    Returns:
      A matplotlib figure.
    """
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
    """Draws Figure 8, in both readings of its validation gradient.

    Args:
      dataset, learners: what learners.train_learners returns with measure=True.

    Returns:
      A matplotlib figure.
    """
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
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure

"""Curves over steps, in plain words: what a run logs, its figure, and one of several runs beside each other."""

import math
import re
import statistics

from mpl_tf.common import pictures

_BLUE, _ORANGE = "#0072b2", "#d55e00"       # colour-blind people can tell them apart
_COLORS = (_BLUE, _ORANGE, "#009e73", "#777777", "#cc79a7", "#e69f00", "#56b4e9", "#000000")     # Okabe and Ito
_MARKERS = (".", "s", "^", "D", "v", "P")      # of the rows that have the same colour
_LETTERS = 40           # of a row's name in a legend
_LINES = {"test": "-", "labeled": ":", "holdout": "--"}
_PARTS = {"test": "test data", "labeled": "labeled training data", "holdout": "held-out data"}
_WORDS = {"student_loss": "student, on the teacher's labels",
          "R": "R: the student's loss on labeled data after its update",
          "loss": "loss", "teacher_supervised_loss": "teacher, on labeled data",
          "teacher_consistency_loss": "teacher, consistency of two views (UDA)"}


def words(name):
    """What a training step logs under `name`, in plain words."""
    found = re.fullmatch(r"(student|teacher)_(.*?)(_loss)?", name)
    return _WORDS.get(name) or (f"{found[1]}, {found[2]}".replace("_", " ") if found
                                else name.replace("_", " "))


def is_loss(name):
    """Whether a training step logs a loss under the name `name`."""
    return name == "R" or name.endswith("loss")


def signal_ratio(measured):
    """How long the meta gradient is in units of the objective's, before its weight and a relative scale.

    Args:
      measured: what diagnostics measured, {name: float}.

    Returns:
      A float; None where that was not measured, or the objective's gradient is 0.
    """
    meta, objective = (measured.get(f"{name}_gradient_norm_weights") for name in ("meta", "objective"))
    return meta / objective if objective and meta is not None else None


def over_steps(axes):
    """Makes the axes' x axis one of whole steps, and draws a grid."""
    from matplotlib.ticker import MaxNLocator
    axes.set(xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)


def draw_accuracies(axes, evaluations):
    """Draws accuracies over steps; `evaluations` is a list of dicts, see checkpoints.Journal."""
    steps = [each["step"] for each in evaluations]
    for role, color in (("student", _BLUE), ("teacher", _ORANGE)):
        for part, line in _LINES.items():
            values = [each.get(f"{role}_{part}_accuracy") for each in evaluations]
            if any(value is not None for value in values):
                axes.plot(steps, [float("nan") if value is None else 100 * value for value in values], line,
                          color=color, marker="o" if len(steps) == 1 else None, label=f"{role}, {_PARTS[part]}")
    axes.set(ylabel="accuracy [%]")
    over_steps(axes)


def draw_losses(axes, evaluations):
    """Draws the mean losses between evaluations over steps."""
    steps = [each["step"] for each in evaluations]
    for name in evaluations[-1]:
        if is_loss(name) and name != "teacher_meta_loss":       # which is R times a factor
            values = [each.get(name) for each in evaluations]
            axes.plot(steps, [float("nan") if value is None else value for value in values], label=words(name),
                      marker="o" if len(steps) == 1 else None)
    axes.set(ylabel="loss [nats]")
    over_steps(axes)


def legend_below(axes, columns):
    """A legend below the axes, where it hides no curve."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, fontsize="small", frameon=False)


def curves(file, evaluations):
    """Draws a figure of a run, a PNG: accuracies, and mean losses between evaluations.

    Args:
      file: a path, or an open binary file.
      evaluations: a list of dicts, see checkpoints.Journal.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure((10, 5), dpi=100, layout="constrained")
    accuracy_axes, loss_axes = figure.subplots(1, 2)
    draw_accuracies(accuracy_axes, evaluations)
    draw_losses(loss_axes, evaluations)
    accuracy_axes.set_title("How often it is right")
    loss_axes.set_title("Losses in training, means between evaluations")
    for axes in (accuracy_axes, loss_axes):
        legend_below(axes, 2 if axes is accuracy_axes else 1)
    FigureCanvasAgg(figure).print_png(file)


def of_several(file, rows):
    """Draws a figure of several runs, a PNG; `file` is open and binary, for `rows` see figure_of_several."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    FigureCanvasAgg(figure_of_several(rows)).print_png(file)


def figure_of_several(rows):
    """A matplotlib Figure of several runs: accuracies on test and on labeled training data over steps.

    The second panel is that of the paper's Figure 9. A line is a mean over seeds, the band about it its
    standard error.

    Args:
      rows: {name: a list of evaluations for each seed, see checkpoints.Journal}.
    """
    from matplotlib.figure import Figure
    figure = Figure((10, 4.4 + 0.2 * len(rows)), dpi=100, layout="constrained")
    shown = _told_apart(rows)
    for axes, part in zip(figure.subplots(1, 2), ("test", "labeled")):
        for number, (name, seeds) in enumerate(rows.items()):
            turn, color = divmod(number, len(_COLORS))
            for role, line in (("student", "-"), ("teacher", "--")):
                _draw_mean(axes, seeds, f"{role}_{part}_accuracy", color=_COLORS[color], linestyle=line,
                           marker=_MARKERS[turn % len(_MARKERS)], label=f"{role}, {shown[name]}")
        axes.set_title(f"Accuracy on {_PARTS[part]}")
        axes.set(ylabel="accuracy [%]")
        over_steps(axes)
    by_label = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            by_label.setdefault(label, handle)
    legend = figure.legend(by_label.values(), by_label, loc="outside lower center", ncols=2, fontsize="small",
                           frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _told_apart(names):
    """{name: what a legend of two columns has room for}; names that look alike there are numbered."""
    found = {}
    for name in names:
        short = pictures.shortened(name, lambda text: len(text) <= _LETTERS)
        alike = sum(each == short or each.startswith(f"{short} (") for each in found.values())
        found[name] = f"{short} ({alike + 1})" if alike else short
    return found


def _draw_mean(axes, seeds, name, color, marker, **style):
    """Draws mean and standard error of `name` at the steps that all of `seeds` have evaluated."""
    of_seeds = [{each["step"]: 100 * each[name] for each in evaluations if each.get(name) is not None}
                for evaluations in seeds]
    steps = sorted(set.intersection(*map(set, of_seeds))) if of_seeds else []
    if not steps:
        return
    values = [[each[step] for each in of_seeds] for step in steps]
    means = [statistics.fmean(each) for each in values]
    axes.plot(steps, means, color=color, marker=marker, markevery=max(1, len(steps) // 15), markersize=5, **style)
    if len(seeds) > 1:
        errors = [statistics.stdev(each) / math.sqrt(len(seeds)) for each in values]
        axes.fill_between(steps, [mean - error for mean, error in zip(means, errors)],
                          [mean + error for mean, error in zip(means, errors)], color=color, alpha=0.12,
                          linewidth=0)

"""A run's curves, in plain words: what training logs, and a figure of accuracies and losses."""

import re

_BLUE, _ORANGE = "#0072b2", "#d55e00"       # colour-blind people can tell them apart
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

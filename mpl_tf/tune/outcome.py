"""What a study ends with: a table, pictures, the best values, and the flag file that has them."""

from __future__ import annotations

import hashlib
import itertools
import os
import shlex

from mpl_tf.common import command, pictures, spreadsheet, storage
from mpl_tf.tune import plan as plans
from mpl_tf.tune.study import optuna

TABLE, HISTORY, IMPORTANCE, BEST_RUN = "trials.csv", "history.png", "importance.png", "best"
ROWS = 10       # of the table that is printed
_STATES = {"COMPLETE": "finished", "PRUNED": "cut", "RUNNING": "not finished", "FAIL": "failed",
           "WAITING": "waiting"}


def accuracy(trial):
    """The last held-out accuracy of one of Optuna's FrozenTrials, or None."""
    values = trial.intermediate_values
    return trial.value if trial.value is not None else values[max(values)] if values else None


def best_of(trials):
    """The finished trial of the highest accuracy, the first of several; None where none finished."""
    finished = [each for each in trials if each.state.name == "COMPLETE"]
    return max(finished, key=lambda each: (each.value, -each.number), default=None)


def state(trial):
    """How a trial stands, in a word or two."""
    impossible = trial.user_attrs.get("ended", "").startswith(plans.IMPOSSIBLE)
    return plans.IMPOSSIBLE if impossible else _STATES[trial.state.name]


def line(trial, trials):
    """One line about a trial that has ended, and the best so far."""
    best = best_of(trials)
    value = accuracy(trial)
    words = "" if value is None else f", held-out accuracy {100 * value:.2f} %"
    error = trial.user_attrs.get("error")
    ended = f"failed: {error}" if error and trial.state.name == "FAIL" else trial.user_attrs.get(
        "ended", _STATES[trial.state.name])
    so_far = f" (best: trial {best.number}, {100 * best.value:.2f} %)" if best else ""
    return command.shown(f"trial {trial.number} {ended}{words}{so_far}")


def values_text(values):
    """Values of flags in a few words."""
    return ", ".join(f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in values.items())


def table(trials, searched):
    """The trials as rows of a table in Markdown, the best first."""
    names = [each.name for each in searched]
    lines = ["| " + " | ".join(["trial", "held-out accuracy [%]", "steps", "state", *names]) + " |"]
    lines.append("|" + " --- |" * (4 + len(names)))
    for each in _ranked(trials)[:ROWS]:
        shown = [values_text({"": each.params[name]})[1:] if name in each.params else "" for name in names]
        value, steps = accuracy(each), max(each.intermediate_values, default=0)
        lines.append("| " + " | ".join([
            str(each.number), "-" if value is None else f"{100 * value:.2f}", str(steps),
            state(each), *(command.shown(text).replace("|", "\\|") for text in shown)]) + " |")
    return "\n".join(lines)


def _ranked(trials):
    """Finished trials before others, then those of the highest accuracy."""
    begun = [each for each in trials if each.state.name != "WAITING"]
    return sorted(begun, key=lambda each: (each.state.name != "COMPLETE", -(accuracy(each) or 0),
                                           each.number))


def write(study, plan):
    """Writes all files of a study's outcome, and prints the table. Without a finished trial there is none yet.

    Raises:
      FloatingPointError: where no trial was finished and none is being worked on.
    """
    trials = study.trials()
    running = sum(each.state.name == "RUNNING" for each in trials)
    unfinished = (f"{command.counted(running, 'trial is', 'trials are')} not finished: other processes work on "
                  "them, or left them (the same command in their --study continues")
    best = best_of(trials)
    if best is None and running:
        print(f"no outcome yet: {unfinished}, and shows the outcome once a trial is finished)", flush=True)
        return
    if best is None:
        raise FloatingPointError(_none_finished(study, trials))
    names = [each.name for each in plan.searched]
    path = lambda name: os.path.join(study.folder, name)
    spreadsheet.write(path(TABLE), ["trial", "state", "holdout_accuracy", "steps", *names, "ended", "error"],
                      _rows(trials, names))
    important = importance(study.study, names)
    pictures.write(path(HISTORY), lambda file: history_figure(file, trials))
    if important:
        pictures.write(path(IMPORTANCE), lambda file: importance_figure(file, important))
    flag_file, lacking = _write_flag_file(study, plan, best, len(trials))
    states = [state(each) for each in trials]
    storage.write_json(path(plans.RESULTS), {
        "program": plans.PROGRAM, "id": study.id, "stage": plan.stage, "evaluate": "holdout",
        "figure": plans.FIGURE, "dataset": plan.base.dataset,
        "student_network": plan.base.student_network, "trial_steps": plan.trial_steps,
        "trials": {words: states.count(words) for words in (*_STATES.values(), plans.IMPOSSIBLE)},
        "best": {"trial": best.number, "accuracy": best.value},
        "values": {**plan.kept, **best.params}, "importance": important}, shared=True)
    print(f"\n{table(trials, plan.searched)}\n")
    for name in lacking:
        print(f"{flag_file} lacks --{name}, whose value no flag file can hold: add it to the command")
    if flag_file != plans.BEST:
        print(f"{plans.BEST} has no right checksum (it was edited, or an earlier version wrote it), and stays: the new one is {flag_file}")
    if running:
        print(f"{unfinished})")
    files = [TABLE, HISTORY, *[IMPORTANCE] * bool(important), plans.RESULTS, flag_file]
    print(f"in {command.shown(study.folder)}: {', '.join(files)}\n"
          f"best: trial {best.number}, {100 * best.value:.2f} % of the held-out labels; being the best of "
          f"{len(trials)}, it will be less on other examples", flush=True)
    if best.number == 0 and best.params == plan.first():
        fewer_cut = f", or --keep_one_in={plan.keep_one_in - 1}" if plan.keep_one_in > 1 else ""
        print("trial 0 has the flag file's own values: nothing better was found; more --trials may find it, or a "
              f"new --study of longer ones (a larger --trial_steps{fewer_cut})", flush=True)


def _none_finished(study, trials):
    """Why a study without a finished trial has no outcome, and what to do."""
    failed = [each for each in trials if each.state.name == "FAIL" or state(each) == plans.IMPOSSIBLE]
    if failed:
        return (f"no trial of {study.folder} was finished, and {len(failed)} of {len(trials)} failed; "
                f"{line(failed[-1], [])}: mend that, and choose another --study (--trials=N with a larger N adds "
                "trials to this one)")
    return (f"no trial of {study.folder} was finished: lower the learning rates in --search, and choose another "
            "--study")


def _write_flag_file(study, plan, best, count):
    """Writes the flag file of the best trial; returns (its name, the flags that no flag file can hold).

    A file that a person has edited stays, and the new one gets the next name, best_2.cfg.
    """
    base, suffix = os.path.splitext(plans.BEST)
    names = itertools.chain([plans.BEST], (f"{base}_{number}{suffix}" for number in itertools.count(2)))
    name = next(name for name in names if _is_own(os.path.join(study.folder, name)))
    path = os.path.join(study.folder, name)
    shell_path = os.path.join(".", path) if path.startswith("~") else path
    text, lacking = plans.flag_file(_best_config(study, plan, best), [
        f"python -m mpl_tf.train --flagfile={shlex.quote(shell_path)}", "",
        f"The best of {count} trials of {plan.trial_steps} steps, stage {plan.stage}: trial "
        f"{best.number}, {100 * best.value:.2f} % of the held-out labels (no test example was seen).",
        "The labels that are held out stay held out; --holdout=0 gives them to the training."])
    _write_text(path, text + _mark(text))
    return name, lacking


def _mark(text):
    """The last line of a flag file that this program wrote, by which it knows `text` as unchanged."""
    return (f"# {hashlib.sha256(text.encode()).hexdigest()[:16]} is the checksum of the lines above: as long as it "
            "is right, tune replaces this file.\n")


def _is_own(path):
    """Whether a flag file may be written there: nothing is there, or what this program wrote."""
    if not os.path.lexists(path):
        return True
    try:
        with open(path, encoding="utf-8") as file:
            *above, last = file.read().splitlines(keepends=True) or [""]
    except (OSError, UnicodeDecodeError):
        return False
    return last == _mark("".join(above))


def _best_config(study, plan, best):
    """The Config of a whole run with the best values, in a folder of its own in the study."""
    folder = os.path.join(study.folder, BEST_RUN)
    return plan.base.replace(model_dir=os.path.join(".", folder) if folder.startswith("~") else folder,
                             **best.params)


def _rows(trials, names):
    """The rows of trials.csv."""
    return [[each.number, state(each), accuracy(each), max(each.intermediate_values, default=0),
             *(each.params.get(name) for name in names), each.user_attrs.get("ended"), each.user_attrs.get("error")]
            for each in trials]


def _write_text(path, text):
    with storage.partial(path, shared=True) as temporary, open(
            temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def importance(study, names):
    """{flag: its share of what decided the accuracy}; {} where too few trials were finished to tell."""
    package = optuna()
    finished = {each.value for each in study.get_trials(deepcopy=False) if each.state.name == "COMPLETE"}
    if len(finished) < 4:
        return {}
    try:
        found = package.importance.get_param_importances(study, params=list(names))
    except (ValueError, RuntimeError):      # values that no finished trial varied
        return {}
    return {name: float(share) for name, share in found.items()}


def history_figure(file, trials):
    """Draws each trial's held-out accuracy, those that were cut, and the best so far; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
    figure = Figure((7, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, marker, words in (("PRUNED", "x", "cut early, or not finite"), ("COMPLETE", "o", "finished")):
        points = [(each.number, 100 * accuracy(each)) for each in trials
                  if each.state.name == name and accuracy(each) is not None]
        if points:
            axes.plot(*zip(*points), marker, color={"x": "0.6", "o": "C0"}[marker], label=words)
    best, so_far = [], 0.0
    for each in trials:
        so_far = max(so_far, each.value or 0.0) if each.state.name == "COMPLETE" else so_far
        best.append(100 * so_far if so_far else float("nan"))
    axes.plot([each.number for each in trials], best, color="C1", drawstyle="steps-post",
              label="best so far")
    axes.set(xlabel="trial", ylabel="accuracy on held-out labels [%]", title="Trials")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    FigureCanvasAgg(figure).print_png(file)


def importance_figure(file, shares):
    """Draws how much of the differences in accuracy each flag explains; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure((7, 1.2 + 0.4 * len(shares)), dpi=100, layout="constrained")
    axes = figure.subplots()
    names = sorted(shares, key=shares.get)
    axes.barh(names, [100 * shares[name] for name in names], color="C0")
    axes.set(xlabel="share of what decides the held-out accuracy [%] (PED-ANOVA)",
             title="Importance")
    FigureCanvasAgg(figure).print_png(file)

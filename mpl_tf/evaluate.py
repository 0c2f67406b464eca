"""Reproduces a run's figures from its last checkpoint: `python -m mpl_tf.evaluate --model_dir=DIR`.

The data are those that the run was started with, chosen by the same flags; only --data_dir may be
another. The weights of DIR's checkpoint are loaded into the networks that its config.json names, and
its saved_model is not run. Still trust DIR as you trust a program.
"""

from __future__ import annotations

import sys
from typing import Dict, List, Optional, Tuple

from mpl_tf import config as config_module
from mpl_tf.common import command
from mpl_tf.run import run_folder

USAGE = """\
Evaluates the last checkpoint of a run.

usage: python -m mpl_tf.evaluate --model_dir=DIR [--data_dir=DIR]

The data and the networks are those of the run: trust DIR as you trust a
program. Of its files config.json, networks/, the checkpoint and results.json
are read, the function of a --student_network=MODULE:FUNCTION is imported, and the data that it names; its saved_model is not run. Defaults are shown in [ ]."""
FLAGS = ("model_dir", "data_dir", "eval_batch_size")


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments, again="begins anew")


def _main(arguments):
    given = config_module.from_arguments(arguments, USAGE, only=FLAGS)
    changes = {"model_dir": given.model_dir, "eval_batch_size": given.eval_batch_size}
    if given.data_dir:
        changes["data_dir"] = given.data_dir
    of_run = config_module.of(**{**run_folder.read_flags(given.model_dir), **changes})
    step, figures, dataset = _evaluated(of_run)
    from mpl_tf.run import evaluation, same_data
    print(f"{given.model_dir}, step {step}\n{evaluation.table(figures)}")
    changed = same_data.changes_of_loaded(of_run, dataset)
    kind = "images" if of_run.source.serves_images else "examples"
    parts = {"test": dataset.test, "labeled": dataset.labeled, "holdout": dataset.holdout}
    lines, others = count_lines({name: len(split.labels) if split else 0 for name, split in parts.items()},
                                changed, kind)
    print("\n".join(lines))
    print(f"these data are not the run's: nothing is compared with {run_folder.RESULTS}" if others else
          comparison(step, figures, run_folder.read_results(given.model_dir)))


def evaluate(of_run: config_module.Config) -> Tuple[int, Dict[str, float]]:
    """Evaluates the last checkpoint of the run of a Config.

    Returns:
      (the checkpoint's step, {"student_test_accuracy": fraction, ...}).

    Raises:
      ValueError, FileNotFoundError: in one line, for a missing checkpoint or missing data.
    """
    return _evaluated(of_run)[:2]


def _evaluated(of_run):
    """As `evaluate`, and the datasets.Dataset."""
    from mpl_tf.run import evaluation, finished, wiring
    step, dataset, networks = finished.restored(of_run)
    accuracies = {role: evaluation.accuracy_function(network)
                  for role, network in networks.items()}
    with wiring.records_in_one_line(dataset):
        return step, evaluation.evaluate(accuracies, wiring.eval_datasets(of_run, dataset))[0], dataset


def count_lines(counts, changed, kind="images"):
    """How many test examples there are, and the run had, and so of other parts that differ.

    Args:
      counts: {"test", "labeled", "holdout": how many examples were evaluated}.
      changed: as of run_folder.data_changes. kind: what the examples are.

    Returns:
      (lines, whether a part that was evaluated is not the run's).
    """
    lines, others = [], False
    for name, count in counts.items():
        said = f"{name}: {count or 'no'} {kind}"
        if name in changed:
            then = changed[name][0].partition(" ")[0].replace("none", "0")
            said += f"; the run had {then}" + " of other data" * (then == str(count))
            others = True
        if name in changed or name == "test":
            lines.append(said)
    return lines, others


def comparison(step, figures, results):
    """One line that says whether `figures` are those of `results`, what results.json holds."""
    if not isinstance(results, dict) or results.get("train_steps") != step:
        return f"no {run_folder.RESULTS} of step {step} to compare with: the run is not finished"
    wrong = [f"{name} {results[name]} there, {value} here" for name, value in figures.items()
             if name in results and results[name] != value]     # earlier versions noted fewer
    return (f"not the same as {run_folder.RESULTS}'s: " + "; ".join(wrong)) if wrong else (
        f"the same as {run_folder.RESULTS}'s")


if __name__ == "__main__":
    sys.exit(main())

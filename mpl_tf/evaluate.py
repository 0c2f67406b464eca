"""Reproduces a run's figures from its last checkpoint: `python -m mpl_tf.evaluate --model_dir=DIR`.

The data are those that the run was started with, chosen by the same flags; only --data_dir may be
another. The weights of DIR's checkpoint are loaded into the networks that its config.json names, and
its saved_model is not run. Still trust DIR as you trust a program.
"""

from __future__ import annotations

import os
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
    return command.run(_main, arguments)


def _main(arguments):
    given = config_module.from_arguments(arguments, USAGE, only=FLAGS)
    changes = {"model_dir": given.model_dir, "eval_batch_size": given.eval_batch_size}
    if given.data_dir:
        changes["data_dir"] = given.data_dir
    of_run = config_module.of(**{**run_folder.read_flags(given.model_dir), **changes})
    step, figures = evaluate(of_run)
    from mpl_tf.run import evaluation
    print(f"{given.model_dir}, step {step}\n{evaluation.table(figures)}")
    print(comparison(step, figures, run_folder.read_results(
        given.model_dir)))


def evaluate(of_run: config_module.Config) -> Tuple[int, Dict[str, float]]:
    """Evaluates the last checkpoint of the run of a Config.

    Returns:
      (the checkpoint's step, {"student_test_accuracy": fraction, ...}).

    Raises:
      ValueError, FileNotFoundError: in one line, for a missing checkpoint or missing data.
    """
    from mpl_tf.run import checkpoints, devices, evaluation, restoring, wiring
    devices.make_deterministic(of_run.seed)
    folder = os.path.join(of_run.model_dir, run_folder.CHECKPOINTS)
    path = checkpoints.latest(folder)
    if path is None:
        raise ValueError(f"--model_dir={of_run.model_dir} has no checkpoint yet: train it first")
    restoring.check_keras(path)
    dataset = wiring.load_dataset(of_run, stored=False)
    # All weights are in the checkpoint, so no others are loaded.
    networks = wiring.build_networks(of_run.replace(student_weights="", teacher_weights=""), dataset)
    if of_run.needs_probs:      # the teacher takes no images
        networks.pop("teacher", None)
    step = checkpoints.restore_networks(folder, networks, averaged=of_run.ema_decay > 0)
    accuracies = {role: evaluation.accuracy_function(network)
                  for role, network in networks.items()}
    with wiring.records_in_one_line(dataset):
        return step, evaluation.evaluate(accuracies, wiring.eval_datasets(of_run, dataset))[0]


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

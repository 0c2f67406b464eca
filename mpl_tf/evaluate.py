"""Reproduces a run's figures from its last checkpoint: `python -m mpl_tf.evaluate --model_dir=DIR`.

The data, and the flags that decide them, are those the run was started with; --data_dir may be
another. Exit code 2 for bad input, in one line.
"""

import os
import sys

from mpl_tf import config
from mpl_tf.common import storage
from mpl_tf.run import run_folder
from mpl_tf.train import fail

USAGE = """\
Evaluates the last checkpoint of a run.

usage: python -m mpl_tf.evaluate --model_dir=DIR [--data_dir=DIR]

The data and networks are those of the run. [ ] shows the default."""
FLAGS = ("model_dir", "data_dir", "eval_batch_size")


def main(argv):
    """Runs the command line `argv`; returns the exit code."""
    settings = config.from_argv(argv, USAGE, only=FLAGS)
    try:
        of_run = config.Config.from_dict(run_folder.read_flags(settings.model_dir))
        changes = {"model_dir": settings.model_dir, "eval_batch_size": settings.eval_batch_size}
        if settings.data_dir:
            changes["data_dir"] = settings.data_dir
        of_run = of_run.replace(**changes)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        step, figures = evaluate(of_run)
    except (ValueError, OSError) as error:
        if "\n" in str(error):
            raise
        return fail(error, 2)
    from mpl_tf.run import evaluation
    print(f"{settings.model_dir}, step {step}\n{evaluation.table(figures)}")
    print(comparison(step, figures, storage.read_json(
        os.path.join(settings.model_dir, run_folder.RESULTS))))
    return 0


def evaluate(of_run):
    """(step, {"student_test_accuracy": fraction, ...}) of the last checkpoint of a Config's run.

    Raises:
      ValueError, FileNotFoundError: in one line, for a missing checkpoint or missing data.
    """
    from mpl_tf.run import checkpoints, evaluation, wiring
    folder = os.path.join(of_run.model_dir, run_folder.CHECKPOINTS)
    if checkpoints.latest(folder) is None:
        raise ValueError(f"model_dir={of_run.model_dir} has no checkpoint yet: train it first")
    dataset = wiring.load_dataset(of_run, stored=False)
    # All weights are in the checkpoint.
    networks = wiring.build_networks(of_run.replace(student_weights=""), dataset)
    if of_run.needs_probs:      # its teacher sees no images
        networks.pop("teacher", None)
    step = checkpoints.restore_networks(folder, networks, averaged=of_run.ema_decay > 0)
    accuracies = {role: evaluation.accuracy_function(network)
                  for role, network in networks.items()}
    with wiring.records_in_one_line(dataset):
        return step, evaluation.evaluate(accuracies, wiring.eval_datasets(of_run, dataset))


def comparison(step, figures, results):
    """Whether the figures are those of results.json: a line."""
    if not isinstance(results, dict) or results.get("train_steps") != step:
        return f"no {run_folder.RESULTS} of step {step} to compare with: the run is not finished"
    wrong = [f"{name} {results.get(name)} there, {value} here" for name, value in figures.items()
             if results.get(name) != value]
    return (f"not {run_folder.RESULTS}'s: " + "; ".join(wrong)) if wrong else (
        f"the same as {run_folder.RESULTS}'s")


if __name__ == "__main__":
    sys.exit(main(sys.argv))

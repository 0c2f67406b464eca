"""Makes reports: at the end of a run from what is in memory, and later from its folder."""

from __future__ import annotations

import dataclasses
import logging
import os

from mpl_tf import config as config_module
from mpl_tf.common import command, renamed
from mpl_tf.report import comparing, contents, files
from mpl_tf.run import run_folder

log = logging.getLogger("mpl_tf")


def at_its_end(config, outcome):
    """Writes the report of a run that has just ended, a training.Outcome, into its folder."""
    files.check(config.model_dir, "--model_dir")
    files.write(config.model_dir, contents.gather(
        config, outcome.results, outcome.dataset.class_names, outcome.predicted, outcome.dataset,
        outcome.functions, outcome.views))


def read(folder, data_dir=None):
    """(Config, results) of the finished run in `folder`.

    data_dir: where its data lie now, or None.

    Raises:
      ValueError: in one line: there is no run, it is not finished, or it has not seen the test data.
    """
    flags, results = run_folder.read_flags(folder), run_folder.read_results(folder)
    if results is None:
        raise ValueError(f"--model_dir={folder} is not finished, it has no {run_folder.RESULTS}: the command "
                         "that trained it continues it")
    if results["student_test_accuracy"] is None:
        raise ValueError(f"--model_dir={folder} has no test evaluation, it was trained with --evaluate=holdout: a "
                         "report is of test data; train it anew with --evaluate=all")
    # It may be on the way to more steps, of which there are no results yet.
    changes = {"model_dir": folder, "train_steps": results["train_steps"], **({"data_dir": data_dir} if data_dir else {})}
    return config_module.of(**{**flags, **changes}), results


def _to_finish(folder):
    """Words for an error: what takes a run whose checkpoint is newer than its results to its end."""
    return (f"the command that trained it, with --train_steps={run_folder.read_flags(folder)['train_steps']}, "
            "finishes it")


def run_of(folder, data_dir=None):
    """The comparing.Run in `folder`; predictions that an older run has not stored are made again.

    Raises:
      ValueError, FileNotFoundError: in one line: there is no finished run, or its data are missing or others.
    """
    from mpl_tf.run import finished, predicted, wiring
    config, results = read(folder, data_dir)
    found = predicted.read(folder, results["train_steps"])
    if found is None:
        step, dataset, networks = finished.restored(config)
        if step != results["train_steps"]:
            raise ValueError(f"--model_dir={folder} has results of {results['train_steps']} steps without their "
                             f"{predicted.FILE}, and a checkpoint of {step} steps: a report would mix both; "
                             f"{_to_finish(folder)}")
        _check_data(config, dataset)
        with wiring.records_in_one_line(dataset):
            found, _ = predicted.measure(networks, dataset.test, step, config.eval_batch_size)
        _keep(folder, found)
    return comparing.Run(folder, config, found)


def _check_data(config, dataset):
    """Raises ValueError, in one line, unless `dataset` is the run's."""
    from mpl_tf.run import same_data
    changed = same_data.changes_of_loaded(config, dataset)
    if changed:
        raise ValueError(run_folder.OtherData(config.model_dir, changed).line(
            remedy="a report would mix both: give the run's as --data_dir, or train a new run on "
            "these and report that"))


def _keep(folder, found):
    """Stores predictions that were made again, if the folder may be written to."""
    from mpl_tf.run import predicted
    try:
        predicted.write(folder, found)
    except OSError as error:
        log.warning("%s could not be written (%s): the next report makes it again", predicted.FILE,
                    error.strerror or error)


def from_folder(folder, data_dir=None, images=True):
    """The Contents of the finished run in `folder`, with as much as can be had of its images.

    Args:
      data_dir: where its data lie now, or None. images: whether any are to be shown or listed.

    Raises:
      ValueError, FileNotFoundError: in one line, as `run_of`.
    """
    from mpl_tf.run import finished, predicted
    run = run_of(folder, data_dir)
    config, results = read(folder, data_dir)
    names = run_folder.class_names(folder) or [str(k) for k in range(run.predicted.logits["student"].shape[1])]
    if not images:
        return dataclasses.replace(contents.gather(config, results, names, run.predicted), withheld=True)
    try:
        step, dataset, networks = finished.restored(config)
    except (ValueError, FileNotFoundError) as error:
        log.warning("the report has no pictures and no list of images to label: %s",
                    " ".join(command.readable(error).split())[:300])
        return contents.gather(config, results, names, run.predicted)
    _check_data(config, dataset)
    functions = {role: predicted.logits_function(network) for role, network in networks.items()}
    if step != results["train_steps"]:
        functions = None
        log.warning("the report does not say what to label next: it is of %d steps, and the checkpoint in %s of "
                    "%d; %s", results["train_steps"], command.shown(folder), step, _to_finish(folder))
    return contents.gather(config, results, names, run.predicted, dataset, functions, _views(config, dataset))


def _views(config, dataset):
    """Weak and strong views of some unlabeled images, as training makes them, or None."""
    from mpl_tf.run import devices, wiring
    if dataset.unlabeled.ndim != 4 or config.needs_probs or not config.needs_unlabeled:
        return None
    try:
        batch = next(wiring.train_batches(config, dataset, devices.get_strategy("default", "")))
    except Exception as error:      # of pictures alone
        log.warning("the report has no views: %s", " ".join(command.readable(error).split())[:200])
        return None
    return [batch["unlabeled"][name].numpy()[:8] for name in ("image", "augmented")
            if name in batch["unlabeled"]]


def _of_all(function, folders, against):
    """What a function gives of each folder: (of `folders`, of `against`). Errors name the flag that gave it."""
    of_folders = [function(folder) for folder in folders]
    with renamed.flag("--model_dir", "--against", with_value=True):
        return of_folders, [function(folder) for folder in against]


def write(folders, against, output_dir, data_dir=None, images=True):
    """Writes the report of the runs in `folders`, seeds of one kind, and prints what it says.

    Args:
      against: folders of the runs to compare with. output_dir: a folder for the files.
      data_dir: where the data lie now, or None. images: as of `from_folder`.

    Raises:
      ValueError, FileNotFoundError: in one line, as `run_of`, or the runs cannot be compared, or `output_dir`
        has such files of somebody else.
    """
    _of_all(read, folders, against)     # before any long work
    files.check(output_dir, "--output_dir")
    runs, others = _of_all(lambda folder: run_of(folder, data_dir), folders, against)
    found = comparing.against(runs, others)
    made = from_folder(folders[0], data_dir, images)
    os.makedirs(output_dir, exist_ok=True)
    written = files.write(output_dir, made, found, runs, others)
    verdict = comparing.verdict(made.config, found)
    if verdict:
        print(verdict.sentence)
    print(f"in {command.shown(output_dir)}: {', '.join(written)}", flush=True)

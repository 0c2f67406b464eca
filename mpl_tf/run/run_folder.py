"""A run's folder: which process may write to it, which run it belongs to, what is in it.

    config.json         the flags that the run was started with
    data.json           a description of the data that the run learns from
    networks/           networks whose names do not tell all of them, see kept_networks.py
    checkpoints/        what the run continues from, see checkpoints.py
    events.out.tfevents.*       see tensorboard.py (in tensorboard/ where an earlier version began)
    student.keras, classifier.keras, saved_model/, classes.json, curves.png, results.json
                        of a finished run (with --noexport neither classifier.keras nor
                        saved_model), and targets.png of one of reduced_mpl
    test_predictions.npz        see predicted.py
    report.html, report.csv, label_next.csv     see the package report

A file that is being written has a name that begins with storage.PARTIAL. A process that is killed
leaves it behind, and the next process of the run removes it. (In a folder of predictions, where
several machines may be writing, it stays.) This module does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterator

from mpl_tf import config as config_module
from mpl_tf.common import storage
from mpl_tf.common.structure import SHARE, WHOLE

CONFIG, RESULTS, CHECKPOINTS = "config.json", "results.json", "checkpoints"
NETWORKS, SAVED_MODEL = "networks", "saved_model"
CLASSES, DATA = "classes.json", "data.json"
_EVALUATION = {"student_test_accuracy?": (SHARE, None), **{
    f"{role}_{part}accuracy?": (SHARE, None) for role in ("student", "teacher")
    for part in ("test_top5_", "test_balanced_", *(f"{split}_{kind}" for split in ("labeled", "holdout")
                                                   for kind in ("", "top5_", "balanced_")))}}
_TESTED = dict.fromkeys(("student_test_accuracy", "teacher_test_accuracy", "median_last_evaluations"),
                        (SHARE, None))      # null where the test examples were not evaluated
_RESULTS = {**_EVALUATION, **_TESTED, "evaluate?": str,
            "class_accuracy?": {...: {...: (SHARE, None)}},
            "train_steps": WHOLE,
            "flags": {"median_evaluations?": WHOLE},
            "diagnostics?": [{"step": WHOLE, ...: float}],
            "evaluations": [{"step": WHOLE, **_EVALUATION}]}


SAME_DATA = ("give the same --data_dir, --unlabeled_dir, --fixed_teacher and --predictions_dir (they may have "
             "moved), or ")


class OtherData(ValueError):
    """A run was trained on other data than there are now. The text says so in one line.

    Args:
      folder: the run's model_dir.
      changed: {part of the data: (as the run has noted it, as it is now)}.
    """

    def __init__(self, folder, changed):
        self.folder, self.changed = folder, changed
        super().__init__(self.line())

    def line(self, subject: str = "", remedy: str = "") -> str:
        """The text, with other words for the run's folder and for what to do."""
        changed = ", ".join(f"{name} {then} then, {now} now" for name, (then, now) in self.changed.items())
        return (f"{subject or f'--model_dir={self.folder}'} was trained on other data: {changed}; "
                + (remedy or SAME_DATA + "a new --model_dir"))


@contextlib.contextmanager
def open_folder(config: config_module.Config) -> Iterator[dict | None]:
    """Holds config.model_dir for the run of this process: other processes are refused meanwhile.

    The block gets the flags that the folder had in config.json, if its run has saved something, else None.

    It creates the folder if there is none, removes what a killed process left half written, and
    writes the flags to config.json. Checkpoints and results that are there stay. Where the folder was
    new or empty and an error ends the block before training has written there, it is so again.

    Raises:
      ValueError: in one line, for a folder that cannot be written, that belongs to something else,
        in which another process trains, or whose run has flags with which it gives another result.
    """
    folder = config.model_dir
    if "://" in folder:
        raise ValueError(f"--model_dir={folder}: expected a folder of this machine; mount the remote "
                         "one, or choose another --model_dir")
    started = _started(folder)
    # Until there is a checkpoint, a run may be started anew with other flags.
    progress = started is not None and (
        has_checkpoint(folder) or os.path.exists(os.path.join(folder, RESULTS)))
    if progress:
        lines = config_module.differences(started, config)
        if lines:
            raise ValueError(f"--model_dir={folder} is a run with other flags: {'; '.join(lines)}; "
                             "use those of the run, or another --model_dir")
    made = [] if started else _missing_folders(folder)
    with _hold(folder, config, started if progress else None):
        try:
            yield started if progress else None
        except OtherData:
            if progress:
                put_back(folder, started)
            raise
        except BaseException:
            with contextlib.suppress(OSError):      # the error is what has to be told
                if started is None and set(os.listdir(folder)) <= {CONFIG, DATA, NETWORKS}:
                    for name in os.listdir(folder):
                        storage.remove(os.path.join(folder, name))
                for each in made:       # those that are empty
                    os.rmdir(each)
            raise


def _missing_folders(folder):
    """`folder` and those above it that do not exist, the deepest first."""
    missing = []
    while folder and not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _hold(folder, config, progress):
    """Makes `folder`, writes config.json, and returns the context manager that holds the folder.

    progress: the flags of its run where that has saved something, else None.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        lock = storage.hold(folder, "model_dir")
        storage.remove_partial(folder)
        flags = config.flags.to_dict()
        if progress:    # a larger number is noted when one of its steps is saved, see note_steps
            flags["train_steps"] = progress["train_steps"]
        storage.write_json(os.path.join(folder, CONFIG), {"program": "mpl_tf", "flags": flags})
    except OSError as error:
        raise ValueError(f"--model_dir={folder} cannot be written ({error.strerror or error}): "
                         "choose another --model_dir, or give this one write permission") from error
    return lock


def put_back(folder, flags):
    """Writes flags to config.json that were there before, as where today's data are not the run's."""
    storage.write_json(os.path.join(folder, CONFIG), {"program": "mpl_tf", "flags": flags})


def note_steps(config):
    """Writes the flags to config.json, --train_steps too. Call it before a checkpoint is saved.

    A run that is continued with more steps is one of so many steps only once it has saved one.
    """
    path = os.path.join(config.model_dir, CONFIG)
    noted = {"program": "mpl_tf", "flags": config.flags.to_dict()}
    if storage.read_json(path) != noted:
        storage.write_json(path, noted)


def checkpoint_indices(folder):
    """The paths of the index files in a folder of checkpoints, in no particular order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:        # or training would begin anew
        raise ValueError(f"{folder} cannot be read ({error.strerror}): give this process permission "
                         "to read it") from error
    return [os.path.join(folder, name) for name in names if re.fullmatch(r"ckpt-\d+\.index", name)]


def has_checkpoint(folder):
    """Whether the run in `folder` has saved a checkpoint, and so is continued."""
    folder = os.path.join(folder, CHECKPOINTS)
    return os.path.exists(os.path.join(folder, "checkpoint")) or bool(checkpoint_indices(folder))


def read_flags(folder):
    """The flags, a dict, with which the run in `folder` was started.

    Raises:
      ValueError: in one line, if there is no run in `folder`.
    """
    started = _started(folder, "correct --model_dir")
    if started is None:
        raise ValueError(f"--model_dir={folder} holds no run: expected a folder that "
                         "`python -m mpl_tf.train` wrote; correct --model_dir")
    return started


def _started(folder, otherwise="choose a new or empty --model_dir"):
    """The flags of the run in `folder`, or None if the folder is empty or missing.

    otherwise: what to do where it is something else and no runs lie in it, for an error.
    """
    names = storage.entries(folder, "--model_dir")
    if not names:
        return None
    path = os.path.join(folder, CONFIG)
    remedy = "write it anew with the run's flags, or choose another --model_dir"
    noted = storage.read_json(path, remedy)
    if noted is None or noted.get("program") != "mpl_tf":
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        runs = _runs_in(folder, names)
        if runs:
            otherwise = f"did you mean {' or '.join(runs[:3])}{', or another' * (len(runs) > 3)}?"
        raise ValueError(f"--model_dir={folder} is not a run's folder: it holds {shown} and no "
                         f"{CONFIG} of this program; {otherwise}")
    flags = storage.read_json(path, remedy, {"flags": {"train_steps": WHOLE}})["flags"]
    try:        # names of an earlier version's flags may be others
        config_module.Flags(**{name: value for name, value in flags.items()
                               if name in config_module.FIELDS})
    except ValueError as error:
        raise ValueError(f"{path} is damaged, its flags are none of a run ({error}): "
                         f"{remedy}") from error
    return flags


def _runs_in(folder, names):
    """The paths of the runs that lie directly in `folder`, whose entries are `names`."""
    found = []
    for path in (os.path.join(folder, name) for name in sorted(names)):
        with contextlib.suppress(ValueError, OSError):      # damaged, or not ours to read
            noted = storage.read_json(os.path.join(path, CONFIG)) if os.path.isdir(path) else None
            found += [path] * (isinstance(noted, dict) and noted.get("program") == "mpl_tf")
    return found


def check_data(folder, data):
    """Checks that the run in `folder` learns from the same data as before, and notes them.

    Args:
      folder: the run's model_dir.
      data: a dict, which JSON can hold, that differs between data sets but not between the places
        where they are stored.

    Raises:
      OtherData: if there is a checkpoint that was trained on other data.
      ValueError: in one line, if the note is damaged.
    """
    changed = data_changes(folder, data)
    if changed and has_checkpoint(folder):
        raise OtherData(folder, changed)
    if noted_data(folder) != data:
        storage.write_json(os.path.join(folder, DATA), data)


def noted_data(folder: str) -> dict[str, str] | None:
    """What the run in `folder` has noted of its data; None where there is no note."""
    return storage.read_json(os.path.join(folder, DATA), "move it elsewhere if you are sure that the data "
                             "are the run's, or choose another --model_dir",
                             {**dict.fromkeys(("labeled", "unlabeled", "test"), str), ...: str})


def data_changes(folder: str, data: dict[str, str]) -> dict[str, tuple[str, str]]:
    """{part: (as the run in `folder` has noted it, as it is in `data`)} of what differs.

    A run of an earlier version has noted fewer things, or none: the others are not compared.
    """
    return {name: (then, data.get(name, "none")) for name, then in (noted_data(folder) or {}).items()
            if data.get(name) != then}


def finished(config):
    """The results of the run of `config`; None if it is not finished, or its exports are to be made.

    Exports are made later where --noexport left them out and a checkpoint is there to make them of.
    """
    folder = config.model_dir
    if config.export and has_checkpoint(folder) and not os.path.isdir(os.path.join(folder, SAVED_MODEL)):
        return None
    return read_results(folder) if is_trained(config) else None


def is_trained(config):
    """Whether the run of `config` has taken all its steps and has its results."""
    results = read_results(config.model_dir)
    return bool(results) and results["train_steps"] == config.train_steps


def read_results(folder):
    """What results.json in `folder` holds, a dict; None where the run is not finished.

    Raises:
      ValueError: in one line, where it is not what a finished run writes.
    """
    return storage.read_json(os.path.join(folder, RESULTS),
                             "move it elsewhere, and the same command writes it again", _RESULTS)


def class_names(folder: str) -> list[str] | None:
    """The names of the classes of the finished run in `folder`, or None where it has noted none.

    Raises:
      ValueError: in one line, where the file is damaged.
    """
    return storage.read_json(os.path.join(folder, CLASSES), "move the run's results.json elsewhere, and "
                             "its training writes both again", [str])

"""A study: its folder, its storage of Optuna's, and who works on which trial.

    study.json      what the study is: its plan's facts, its id, where its trials are noted
    study.sqlite    the trials, unless --storage names another place for them
    trials/NNNN     the run of each trial
    locks/          what a process holds while it works on a trial, or takes one
    logs/           what local workers printed
    results.json, trials.csv, history.png, importance.png, best.cfg (best_2.cfg, if that was edited)   of outcome.py

A trial that is running, and that nobody holds, was left by a process that ended: the next one goes on
with it, from its run's last checkpoint. This module does not import TensorFlow, and Optuna only when a
study is opened.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import time
import uuid

from mpl_tf.common import command, storage
from mpl_tf.tune import plan as plans

NOTE, SQLITE, TRIALS, LOCKS, LOGS = "study.json", "study.sqlite", "trials", "locks", "logs"
PACKAGE = "optuna>=5,<6"
_ATTRIBUTE = "mpl_tf"       # under which a study, or a trial, has what this program notes
_OF_FOLDER = {"program": str, "id": str, "folder": str, "name": str, "storage": str, "facts": dict}


def optuna():
    """The package.

    Raises:
      ValueError: in one line, where it is not installed.
    """
    try:
        import optuna as package
    except ImportError as error:
        raise ValueError(f"mpl_tf.tune needs Optuna, which cannot be imported ({error}): "
                         f"pip install '{PACKAGE}'") from None
    package.logging.set_verbosity(package.logging.WARNING)
    return package


class Study:
    """A study that this process works on. It is made, or joined, where it is opened.

    Args:
      folder: its folder, which may be new.
      plan: the plans.Plan of this process.
      url: a storage URL of Optuna's; "" stands for study.sqlite in the folder.
      name: the study's name in that storage; "" stands for the folder's.

    Attributes:
      folder: as above. study: Optuna's.

    Raises:
      ValueError: in one line, for a folder of something else, another plan or another storage than
        the study's, and a storage that cannot be opened.
    """

    def __init__(self, folder, plan, url="", name=""):
        self.folder, self._plan = folder, plan
        noted = _noted(folder)
        self._name = name or (noted or {}).get("name") or _name_of(folder)
        self._shown = _without_password(url) if url else SQLITE
        if noted:
            self._check_note(noted)
        package = optuna()
        for part in (TRIALS, LOCKS, LOGS):
            _make_folder(os.path.join(folder, part))
        self._storage = _open_storage(package, folder, url, self._shown)
        with self._alone():
            self._join(package, noted)

    def _check_note(self, noted):
        """Refuses what is not as the study's folder has noted it."""
        if noted["storage"] != self._shown:
            remedy = "leave --storage out" if noted["storage"] == SQLITE else (
                f"give --storage={noted['storage']}, with its password")
            raise ValueError(f"--study={self.folder} has its trials in {noted['storage']}, not in "
                             f"{self._shown}: {remedy}, or choose another --study")
        if noted["name"] != self._name:
            raise ValueError(f"--study={self.folder} has the name {noted['name']!r} in its storage, not "
                             f"{self._name!r}: leave --name out, or choose another --study")
        self._check_facts(noted["facts"])

    def _check_facts(self, facts):
        lines = plans.differences(facts, self._plan.facts())
        if lines:
            raise ValueError(f"--study={self.folder} is a study of other trials: {'; '.join(lines)}; "
                             "give what it was started with, or choose another --study")

    def _join(self, package, noted):
        """Makes the study in the storage, or looks whether the one there is this one."""
        with _in_one_line(self._shown):
            names = package.get_all_study_names(self._storage)
            if noted and self._name not in names:
                raise ValueError(f"{self._shown} has no study {self._name!r}, but --study={self.folder} "
                                 "belongs to one: restore it, or choose another --study")
            new = self._name not in names
            self.study = package.create_study(
                storage=self._storage, study_name=self._name, direction="maximize",
                load_if_exists=True, pruner=_pruner(package, self._plan))
            facts = self.study.user_attrs.get(_ATTRIBUTE)
            deadline = time.monotonic() + 10
            while facts is None and not new and self._shown != SQLITE and time.monotonic() < deadline:
                time.sleep(0.2)     # another machine is making it
                facts = self.study.user_attrs.get(_ATTRIBUTE)
            if facts is None and (new or self._shown == SQLITE):
                facts = {"id": uuid.uuid4().hex, "facts": self._plan.facts()}
                self.study.set_user_attr(_ATTRIBUTE, facts)
                self.study.enqueue_trial(self._plan.first(), skip_if_exists=True)
        if not isinstance(facts, dict) or not {"id", "facts"} <= set(facts):
            raise ValueError(f"{self._shown} has a study {self._name!r} of another program: choose "
                             "another --name")
        if noted and noted["id"] != facts["id"]:
            raise ValueError(f"{self._shown} has another study {self._name!r} than that of --study="
                             f"{self.folder}: restore it, or choose another --study")
        self._check_facts(facts["facts"])
        self.id, self._place = facts["id"], noted["folder"] if noted else uuid.uuid4().hex
        if not noted:
            storage.write_json(os.path.join(self.folder, NOTE), {
                "program": plans.PROGRAM, "id": self.id, "folder": self._place, "name": self._name,
                "storage": self._shown, "facts": self._plan.facts()})

    @contextlib.contextmanager
    def _alone(self):
        """A context that one process of this folder is in at a time."""
        while True:
            held = self._hold("study")
            if held:
                break
            time.sleep(0.05)
        with held:
            yield

    def _hold(self, name):
        """Holds what is called `name`; None where another process does."""
        path = os.path.join(self.folder, LOCKS, name)
        with open(path, "ab"):
            pass
        try:
            return storage.hold(path, "--study")
        except ValueError:
            return None

    def trials(self):
        """Optuna's FrozenTrials, as they are now."""
        with _in_one_line(self._shown):
            return self.study.get_trials(deepcopy=False)

    def run_folder(self, number):
        """The folder of a trial's run."""
        return os.path.join(self.folder, TRIALS, f"{number:04}")

    def take(self, most):
        """Takes a trial that was left, or a new one if there are fewer than `most` in all.

        Returns:
          (Optuna's Trial, a context manager that holds it), or None where there is nothing to do.
        """
        package = optuna()
        state = package.trial.TrialState
        with self._alone(), _in_one_line(self._shown):
            trials = self.study.get_trials(deepcopy=False)
            for each in trials:
                # One without a place was left while it was being taken.
                if each.state == state.RUNNING and each.user_attrs.get(
                        "place", self._place if self._shown == SQLITE else "") == self._place:
                    held = self._hold(f"{each.number:04}")
                    if held:
                        return self._live(package, each.number), held
            if sum(each.state != state.WAITING for each in trials) >= most:
                return None
            number = self.study.ask().number
            held = self._hold(f"{number:04}")
            trial = self._live(package, number)
            trial.set_user_attr("place", self._place)
            return trial, held

    def _live(self, package, number):
        """Optuna's Trial of a number, whose values depend on it and on the trials before alone."""
        seed = (self._plan.base.seed * 1_000_003 + number * 7919) % 2 ** 32
        if self._shown != SQLITE:       # two machines may draw at once, from the same trials
            seed = None
        self.study.sampler = package.samplers.TPESampler(seed=seed)
        identity = self._storage.get_study_id_from_name(self._name)
        return package.trial.Trial(
            self.study, self._storage.get_trial_id_from_study_id_trial_number(identity, number))


def _pruner(package, plan):
    if not plan.rungs():
        return package.pruners.NopPruner()
    return package.pruners.SuccessiveHalvingPruner(
        min_resource=plan.rungs()[0], reduction_factor=plan.keep_one_in)


def _noted(folder):
    """What study.json holds, or None in a new or empty folder."""
    if "://" in folder:
        raise ValueError(f"--study={folder}: expected a folder of this machine; mount the remote one, or "
                         "choose another --study (--storage takes URLs)")
    names = storage.entries(folder, "--study")
    if names is None:
        return None
    remedy = "restore it, or choose another --study"
    noted = storage.read_json(os.path.join(folder, NOTE), remedy)
    if noted is None and set(names) <= {SQLITE, f"{SQLITE}-journal", TRIALS, LOCKS, LOGS}:
        return None
    if noted is None or noted.get("program") != plans.PROGRAM:
        raise ValueError(f"--study={folder} is not a study's folder: it holds {sorted(names)[0]} and no "
                         f"{NOTE} of this program; choose a new or empty --study")
    return storage.read_json(os.path.join(folder, NOTE), remedy, _OF_FOLDER)


def _make_folder(path):
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--study: {path} cannot be made ({error.strerror}): choose another --study, "
                         "or give this one write permission") from error


def _name_of(folder):
    return command.readable(os.path.basename(os.path.abspath(folder)))[:500]


def _open_storage(package, folder, url, shown):
    with _in_one_line(shown):
        if url:
            return package.storages.get_storage(url)
        # The path goes to SQLite itself: in a URL, ? # and % would mean something, and versions of
        # SQLAlchemy differ in what.
        path = os.path.abspath(os.path.join(folder, SQLITE))
        connect = functools.partial(sqlite3.connect, os.fsencode(path), timeout=120,
                                    check_same_thread=False)
        return package.storages.get_storage(package.storages.RDBStorage(
            f"sqlite:///{SQLITE}", engine_kwargs={"creator": connect}))


def _without_password(url):
    """A storage URL as it may be shown and noted."""
    head, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    place = re.sub(r"(?i)((?:password|passwd|pwd|secret|token)=)[^&]*", r"\1***", place)
    return f"{head}{separator}{user.partition(':')[0] + ':***' if ':' in user else user}{at}{place}"


@contextlib.contextmanager
def _in_one_line(shown):
    """Context manager: raises what Optuna and its storage raise as a ValueError of one line."""
    package = optuna()
    from sqlalchemy.exc import SQLAlchemyError
    try:
        yield
    except (SQLAlchemyError, package.exceptions.OptunaError, ImportError, RuntimeError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        cause = getattr(cause, "orig", None) or cause
        words = " ".join(str(cause).split())[:200]
        raise ValueError(f"the study's storage {shown} cannot be used ({type(cause).__name__}: "
                         f"{words}): expected study.sqlite of this program, or a --storage=URL of "
                         "Optuna's whose driver is installed") from error

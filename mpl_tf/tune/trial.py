"""One trial: an ordinary run, which is cut early where its held-out accuracy is behind the others'."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from mpl_tf.common import command, room, storage
from mpl_tf.run import checkpoints, run_folder
from mpl_tf.train import train
from mpl_tf.tune import plan as plans
from mpl_tf.tune.study import optuna


MOST_ATTEMPTS = 2       # in a row that ended in an error, or were killed with nothing new saved


class Cut(Exception):
    """Ends the run of a trial that is behind the others."""


def suggest(searched, trial):
    """{flag: value} that Optuna's `trial` has for what is searched, as it draws or has drawn it."""
    values = {}
    for each in searched:
        if each.choices:
            values[each.name] = trial.suggest_categorical(each.name, list(each.choices))
        else:
            draw = trial.suggest_int if type(each.low) is int else trial.suggest_float
            values[each.name] = draw(each.name, each.low, each.high, log=each.log)
    return values


def run(plan, study, trial):
    """Makes the run of a trial, from its last checkpoint on, and tells the study what came of it.

    A run that is cut, or whose losses are no longer finite, is noted as Optuna's PRUNED with the last
    accuracy that it reported, from which the search learns too; so is one whose values together make no
    run, which has no accuracy and so counts as the worst. A trial that failed twice in a row has failed.

    Args:
      plan: the plans.Plan. study: the Study. trial: Optuna's Trial, which this process holds.

    Raises:
      command.Stopped: if a signal ended the run early: the trial is left, to be gone on with.
      Other errors of the run: the trial is left too. The second in a row is not raised.
    """
    state = optuna().trial.TrialState
    try:
        config = plan.trial(study.run_folder(trial.number), **suggest(plan.searched, trial))
    except ValueError as error:
        trial.set_user_attr("ended", f"{plans.IMPOSSIBLE}: {_one_line(error)}")
        study.study.tell(trial, state=state.PRUNED)
        return
    attempt = _Attempt(trial, config.model_dir)
    if attempt.before >= MOST_ATTEMPTS:
        if not attempt.had_error:
            trial.set_user_attr("error", f"the process was killed {attempt.before} times before it saved anything "
                                "new, perhaps because memory ran out")
        study.study.tell(trial, state=state.FAIL)
        return
    reported = set(study.trials()[trial.number].intermediate_values)

    def observe(step, figures):
        if step not in reported:        # a run that goes on repeats what followed its checkpoint
            trial.report(figures[plans.FIGURE], step)
        if step < plan.trial_steps and trial.should_prune():
            raise Cut(f"cut after step {step}")

    try:
        with attempt, _stops():
            results = train(config, observe)
    except (Cut, FloatingPointError) as error:
        trial.set_user_attr("ended", str(error))
        study.study.tell(trial, state=state.PRUNED)
        # Nobody goes on with it, and a study has hundreds of them.
        storage.remove(os.path.join(config.model_dir, run_folder.CHECKPOINTS))
    except _STOPS:
        raise
    except Exception as error:
        trial.set_user_attr("error", _one_line(error))
        if attempt.before + 1 < MOST_ATTEMPTS:
            raise
        study.study.tell(trial, state=state.FAIL)
    else:
        study.study.tell(trial, results[plans.FIGURE])


# What ends a process from outside, and says nothing of its trial. (Ctrl-C is no Exception.)
_STOPS = (command.Stopped, BrokenPipeError)


class _Attempt:
    """Counts the attempts at a trial that failed in a row. This one counts from its begin until it is known not to.

    So a process that is killed has counted. The trial has {"count", "checkpoint"}: with a newer checkpoint than
    that one, the last attempt got on, and the count begins anew.

    Attributes:
      before: the attempts that failed in a row before this one.
      had_error: whether the last of them ended in an error.
    """

    def __init__(self, trial, folder):
        self._trial, self._folder = trial, os.path.join(folder, run_folder.CHECKPOINTS)
        noted = trial.user_attrs.get("attempt") or {}
        self._begin = self._newest()
        self.before = noted["count"] if noted and noted["checkpoint"] == self._begin else 0
        self.had_error = bool(noted.get("error"))

    def __enter__(self):
        self._note(self.before + 1, self._begin)

    def __exit__(self, kind, *_):
        if kind is not None:
            stopped = issubclass(kind, (KeyboardInterrupt, *_STOPS))
            self._note(self.before + (not stopped), self._begin if stopped else self._newest(), not stopped)

    def _note(self, count, checkpoint, error=False):
        self._trial.set_user_attr("attempt", {"count": count, "checkpoint": checkpoint, "error": error})

    def _newest(self):
        return os.path.basename(checkpoints.latest(self._folder) or "")


@contextlib.contextmanager
def _stops():
    """A context in which SIGTERM raises command.Stopped, where the run does not ask for a stop by itself."""
    def stop(number, frame):
        raise command.Stopped("stopped: the same command continues", number)
    if threading.current_thread() is not threading.main_thread():       # Python's rule for signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _one_line(error):
    return " ".join(str(room.explained(error) or error or type(error).__name__).split())[:1000]

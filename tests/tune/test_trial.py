"""What becomes of a trial: finished, cut, stopped, impossible or failed; without a training."""

import os
import signal

import pytest
import tensorflow as tf

from mpl_tf.common import command
from mpl_tf.run.checkpoints import END_OF_INDEX
from mpl_tf.tune import outcome, study as studies, trial as trial_of
from tests.tune.test_plan import made

pytest.importorskip("optuna")


def test_what_comes_of_a_run_is_told(tmp_path, monkeypatch):
    """Cut, not finite, an error once (left) and twice (failed), finished; without a training."""
    study, plan = studies.Study(str(tmp_path / "s"), made(trial_steps=9)), made(trial_steps=9)

    def outcome_of(*accuracies, error=None):
        def run(config_, observe):
            for step, accuracy in zip((1, 3, 9), accuracies):
                observe(step, {"student_holdout_accuracy": accuracy})
            if error:
                raise error
            return {"student_holdout_accuracy": accuracies[-1]}
        monkeypatch.setattr(trial_of, "train", run)
        trial, held = study.take(9)
        with held:
            trial_of.run(plan, study, trial)

    outcome_of(0.5, 0.6, 0.9)
    outcome_of(0.4, 0.7, 0.8)       # behind the first at a ninth
    outcome_of(0.6, error=FloatingPointError("loss is nan in step 2"))
    with pytest.raises(ValueError, match="no data"):
        outcome_of(error=ValueError("no data"))
    outcome_of(error=ValueError("no data"))
    outcome_of(0.7, 0.8, 0.2)       # the last accuracy counts
    found = study.trials()
    assert [each.state.name for each in found] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "COMPLETE"]
    assert [outcome.accuracy(each) for each in found] == [0.9, 0.4, 0.6, None, 0.2]
    assert outcome.best_of(found).number == 0
    assert outcome.line(found[1], found) == ("trial 1 cut after step 1, held-out accuracy 40.00 % "
                                             "(best: trial 0, 90.00 %)")
    assert [line.split(" | ")[0] for line in outcome.table(found, plan.searched).splitlines()[2:]] == [
        "| 0", "| 4", "| 2", "| 1", "| 3"]


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """A function that makes an attempt at the next trial of a study, as a process that is new would.

    Its argument is what the run does, a function of its folder, and its result the trial's number.
    """
    def make(what):
        plan = made(trial_steps=9)
        study = studies.Study(str(tmp_path / "s"), plan)
        monkeypatch.setattr(trial_of, "train", lambda config_, observe: what(config_.model_dir) or {
            "student_holdout_accuracy": 0.5})
        trial, held = study.take(9)
        with held:
            try:
                trial_of.run(plan, study, trial)
            finally:
                make.trials = study.trials()
        return trial.number
    return make


def raising(error):
    def run(folder):
        raise error
    return run


class Killed(BaseException):
    """Stands for a SIGKILL: whoever is told of it does nothing (see `killed`)."""


def killed(monkeypatch, attempt, what=lambda folder: None):
    """An attempt of a process that ends in its run without noting anything more."""
    def run(folder):
        what(folder)
        raise Killed
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trial_of._Attempt, "__exit__", lambda *_: None)
        attempt(run)


@pytest.mark.parametrize("error", [
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]\nand more"), MemoryError(),
    RuntimeError("two\nlines"), OSError("no such file")])
def test_a_trial_with_any_error_twice_has_failed(attempt, error):
    with pytest.raises(type(error)):
        attempt(raising(error))
    assert attempt(raising(error)) == 0 and attempt.trials[0].state.name == "FAIL"
    assert "\n" not in attempt.trials[0].user_attrs["error"] != ""
    assert attempt(lambda folder: None) == 1 and attempt.trials[1].state.name == "COMPLETE"


def save(folder, number=1):
    """What a run has saved once it has a checkpoint, as far as is looked at."""
    checkpoints = os.path.join(folder, "checkpoints")
    os.makedirs(checkpoints, exist_ok=True)
    with open(os.path.join(checkpoints, f"ckpt-{number}.index"), "wb") as file:
        file.write(END_OF_INDEX)


def test_a_trial_that_was_killed_twice_with_nothing_new_saved_has_failed(attempt, monkeypatch):
    killed(monkeypatch, attempt)
    killed(monkeypatch, attempt, save)                          # it got on: the count begins anew
    killed(monkeypatch, attempt)
    killed(monkeypatch, attempt, lambda folder: save(folder, 2))
    killed(monkeypatch, attempt)
    killed(monkeypatch, attempt)
    assert attempt.trials[0].state.name == "RUNNING"
    assert attempt(raising(AssertionError("is not made"))) == 0 and attempt.trials[0].state.name == "FAIL"
    assert "killed 2 times before it saved anything new" in outcome.line(attempt.trials[0], attempt.trials)
    assert attempt(lambda folder: None) == 1


def test_an_error_and_a_kill_are_two_failures(attempt, monkeypatch):
    with pytest.raises(ValueError):
        attempt(raising(ValueError("a")))
    killed(monkeypatch, attempt)
    assert attempt(lambda folder: None) == 0 and attempt.trials[0].state.name == "FAIL"


@pytest.mark.parametrize("what, raised", [
    (raising(KeyboardInterrupt()), KeyboardInterrupt), (raising(BrokenPipeError()), BrokenPipeError),
    (raising(command.Stopped("saved")), command.Stopped),
    (lambda folder: os.kill(os.getpid(), signal.SIGTERM), command.Stopped)])      # before a run looks for signals
def test_what_a_user_stops_has_not_failed(attempt, monkeypatch, what, raised):
    killed(monkeypatch, attempt)        # this counts, what follows neither counts nor forgets it
    for _ in range(3):
        with pytest.raises(raised):
            attempt(what)
        assert attempt.trials[0].state.name == "RUNNING"
    assert attempt(raising(ValueError("a"))) == 0 and attempt.trials[0].state.name == "FAIL"

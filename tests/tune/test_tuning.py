"""`python -m mpl_tf.tune` from end to end: short studies, killed and gone on with, by several processes."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from mpl_tf import config, train
from mpl_tf.common import command
from mpl_tf.run.checkpoints import END_OF_INDEX
from mpl_tf.tune import __main__ as tuning, outcome, space, study as studies, trial as trial_of
from tests.conftest import ROOT
from tests.runs import wait_for
from tests.tune.test_plan import made

optuna = pytest.importorskip("optuna")
TINY = ["--dataset=digits", "--labeled_examples=60", "--holdout=30", "--student_network=mlp-8",
        "--objective=supervised", "--train_steps=10", "--batch_size=8", "--schedule=constant",
        "--student_learning_rate=0.05", "--model_dir=unused"]


def arguments(folder, *more, trials=3, extra=()):
    """A command line of a tiny study in `folder`/study, with its flag file."""
    file = folder / "tiny.cfg"
    file.write_text("\n".join(TINY))
    return [f"--study={folder / 'study'}", f"--flagfile={file}", f"--trials={trials}", *more, "--", *extra]


def results(folder):
    return json.loads((folder / "study" / "results.json").read_text())


def trials(folder):
    with open(folder / "study" / "trials.csv", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    assert tuning.main(arguments(folder)) == 0
    return folder


def test_a_study_ends_with_the_best_of_its_trials(supervised):
    found, rows = results(supervised), trials(supervised)
    assert [row["state"] for row in rows].count("finished") >= 1 and len(rows) == 3
    best = max((row for row in rows if row["state"] == "finished"),
               key=lambda row: float(row["holdout_accuracy"]))
    assert found["best"] == {"trial": int(best["trial"]), "accuracy": float(best["holdout_accuracy"])}
    assert {name: float(best[name]) for name in found["values"]} == found["values"]
    assert float(rows[0]["student_learning_rate"]) == 0.05      # the first has the base's own values
    for name in ("history.png", "best.cfg"):
        assert (supervised / "study" / name).stat().st_size > 100


def test_each_trial_is_a_run_that_evaluated_no_test_example(supervised):
    [best] = [f"{results(supervised)['best']['trial']:04}"]
    run = json.loads((supervised / "study" / "trials" / best / "results.json").read_text())
    assert run["evaluate"] == "holdout" and run["student_test_accuracy"] is None
    assert run["student_holdout_accuracy"] == results(supervised)["best"]["accuracy"]
    assert (run["flags"]["method"], run["train_steps"]) == ("baseline", 10)
    assert not any("test" in name for each in run["evaluations"] for name in each)


def test_train_takes_the_best_flags_as_they_are(supervised):
    best = supervised / "study" / "best.cfg"
    of_best = config.parse([f"--flagfile={best}"])
    for name, value in results(supervised)["values"].items():
        assert getattr(of_best, name) == value
    assert (of_best.evaluate, of_best.train_steps, of_best.holdout) == ("all", 10, 30)
    assert of_best.model_dir == str(supervised / "study" / "best")


@pytest.fixture
def quick(monkeypatch):
    """Trials without a training, whose held-out accuracy is their learning rate's."""
    def run(config_, observe):
        return {"student_holdout_accuracy": min(config_.student_learning_rate, 1.0)}
    monkeypatch.setattr(trial_of, "train", run)


def test_the_same_command_goes_on_and_another_is_refused(supervised, quick, capsys):
    before = trials(supervised)
    assert tuning.main(arguments(supervised, trials=4)) == 0
    assert trials(supervised)[:3] == before and len(trials(supervised)) == 4
    capsys.readouterr()
    assert tuning.main(arguments(supervised, extra=["--batch_size=9"])) == 2
    assert "--batch_size: 8 there, 9 now" in capsys.readouterr().err


def test_trials_of_other_data_are_not_compared(supervised, quick, capsys):
    noted = supervised / "study" / "trials" / "0000" / "data.json"
    before = noted.read_text()
    noted.write_text(json.dumps({**json.loads(before), "holdout": "31 examples (0123)"}))
    try:
        assert tuning.main(arguments(supervised, trials=9)) == 2
    finally:
        noted.write_text(before)
    err = capsys.readouterr().err
    assert f"--study={supervised / 'study'} was trained on other data: holdout 31 examples (0123) then, 30 " in err
    assert err.endswith("or a new --study\n") and len(trials(supervised)) < 9


def test_the_teachers_stage_keeps_the_students_values(supervised, quick, tmp_path):
    assert tuning.main(arguments(tmp_path, "--stage=teacher", f"--from={supervised / 'study'}",
                                 trials=2)) == 0
    of_best = config.parse([f"--flagfile={tmp_path / 'study' / 'best.cfg'}"])
    assert of_best.method == "mpl"
    for name, value in results(supervised)["values"].items():
        assert getattr(of_best, name) == value
    assert set(results(tmp_path)["values"]) == {
        *results(supervised)["values"], "teacher_learning_rate", "teacher_dropout",
        "teacher_weight_decay", "meta_weight"}


@pytest.mark.parametrize("argv, named", [
    (["--flagfile=digits.cfg"], "--study"),
    (["--study=x", "--flagfile=digits.cfg", "--from=y"], "expected --stage=teacher"),
    (["--study=x", "--flagfile=digits.cfg", "--trials=0"], "whole number of 1 or more"),
    (["--study=x", "--flagfile=digits.cfg", "--batch_size=3"], "flags of the trials go after --"),
    (["--study=x", "--flagfile=digits.cfg", f"--name={'n' * 501}"], "at most 500 characters"),
])
def test_bad_arguments_are_refused(argv, named, capsys):
    with pytest.raises(SystemExit) as error:
        tuning.parse(argv)
    assert error.value.code == 2 and named in capsys.readouterr().err


def test_flags_that_it_sets_itself_are_refused(tmp_path, capsys):
    assert tuning.main(arguments(tmp_path, extra=["--model_dir=y"])) == 2
    assert "--model_dir after --: each trial has a folder of its own in --study" in capsys.readouterr().err
    assert tuning.main(["--study=x", "--flagfile=digits.cfg", "--", "--holdout=10", "--method=mpl"]) == 2
    assert "--method after --: the supervised stage trains one network on the labels alone" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


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


SEARCH = "[teacher]\n{}\n"


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


@pytest.mark.parametrize("search, extra, named", [
    ("supervised_weight 0.0 or 1.0\nmeta_scale absolute or measured", [],
     "--supervised_weight=0 with --meta_scale=measured"),
    ("batch_size 16 to 64", ["--meta_gradient=jvp", "--microbatch_size=8", "--batch_size=16"],
     "--microbatch_size=8 with --batch_size="),
])
def test_values_that_together_make_no_run_end_their_trial_alone(tmp_path, quick, capsys, search, extra, named):
    (tmp_path / "my.search").write_text(SEARCH.format(search))
    assert tuning.main(arguments(tmp_path, "--stage=teacher", f"--search={tmp_path / 'my.search'}", trials=8,
                                 extra=extra)) == 0
    rows = trials(tmp_path)
    impossible = [row for row in rows if row["state"] == "impossible"]
    assert len(rows) == 8 and impossible and all(named in row["ended"] for row in impossible)
    assert {row["state"] for row in rows} == {"finished", "impossible"}
    assert results(tmp_path)["trials"]["impossible"] == len(impossible)
    assert f"trial {impossible[0]['trial']} impossible: {named}" in capsys.readouterr().out


def test_a_study_of_failed_trials_alone_ends_with_their_error(tmp_path, monkeypatch, capsys):
    def run(config_, observe):
        raise ValueError("no data\x1b[31m")
    monkeypatch.setattr(trial_of, "train", run)
    codes = [tuning.main(arguments(tmp_path, trials=2)) for _ in range(4)]
    err = capsys.readouterr().err.splitlines()
    assert codes == [2, 2, 1, 1] and "and 2 of 2 failed; trial 1 failed: no data\\x1b[31m: " in err[-1]


def test_while_others_work_on_the_trials_there_is_no_outcome_yet(tmp_path, quick, capsys):
    argv = arguments(tmp_path, trials=2)
    chosen, extra = tuning.parse(argv)
    study = studies.Study(chosen.study, tuning.planned(chosen, extra))
    (_, held), (_, held_too) = study.take(2), study.take(2)
    with held, held_too:
        assert tuning.main(argv) == 0
        assert "no outcome yet: 2 trials are not finished: other processes work on them" in capsys.readouterr().out
    assert tuning.main(argv) == 0 and results(tmp_path)["trials"]["finished"] == 2


def test_a_flag_file_that_a_user_edited_stays(tmp_path, quick, capsys):
    argv, folder = arguments(tmp_path), tmp_path / "study"
    assert tuning.main(argv) == 0 == tuning.main(argv)
    assert not (folder / "best_2.cfg").exists()
    edited = (folder / "best.cfg").read_text().replace("--batch_size=8", "--batch_size=9")
    (folder / "best.cfg").write_text(edited)
    capsys.readouterr()
    assert tuning.main(argv) == 0 == tuning.main(argv)
    assert (folder / "best.cfg").read_text() == edited and not (folder / "best_3.cfg").exists()
    assert "best.cfg has no right checksum (it was edited, or an earlier version wrote it), and stays: the new one is best_2.cfg" in capsys.readouterr().out
    assert (folder / "best_2.cfg").read_text().startswith(f"# python -m mpl_tf.train --flagfile={folder}/best_2.cfg")
    assert config.parse([f"--flagfile={folder / 'best_2.cfg'}"]).batch_size == 8


def test_a_folder_of_any_name_is_quoted_and_shown(tmp_path, quick, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = arguments(tmp_path)[1]
    for name, command_ in (("my study", "--flagfile='my study/best.cfg'"),
                           ("t\x1b[31mX\nY", r"--flagfile='t\x1b[31mX\nY/best.cfg'"),
                           ("~x", "--flagfile='./~x/best.cfg'")):
        assert tuning.main([f"--study={os.path.join('.', name) if '~' in name else name}", file, "--trials=1"]) == 0
        first = (tmp_path / name / "best.cfg").read_text().splitlines()
        assert first[0] == f"# python -m mpl_tf.train {command_}"
        assert all(line.startswith(("#", "--")) for line in first if line)
        out = capsys.readouterr().out
        assert "\x1b" not in out and f"in {command.shown(name)}: " in out.replace("./", "")


def test_what_is_shown_of_a_trial_changes_no_terminal():
    trial = optuna.trial.create_trial(
        value=0.5, params={"student_network": "a|b\x1b[31m\nc"}, user_attrs={"ended": "x\x1b[31m"},
        distributions={"student_network": optuna.distributions.CategoricalDistribution(["a|b\x1b[31m\nc"])})
    shown = outcome.table([trial], [space.Searched("student_network", choices=("a|b\x1b[31m\nc",))])
    assert r"| a\|b\x1b[31m\nc |" in shown and len(shown.splitlines()) == 3
    assert "\x1b" not in shown + outcome.line(trial, [trial])


def test_pictures_are_drawn_of_any_trials(tmp_path):
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(40):
        trial = study.ask()
        value = trial.suggest_float("student_dropout", 0, 1)
        trial.suggest_float("label_smoothing", 0, 1)
        study.tell(trial, value if number % 4 else None, state=None if number % 4 else (
            optuna.trial.TrialState.PRUNED))
    shares = outcome.importance(study, ["student_dropout", "label_smoothing"])
    assert sum(shares.values()) == pytest.approx(1) and shares["student_dropout"] > 0.5
    for name, draw, what in (("a", outcome.history_figure, study.trials),
                             ("b", outcome.importance_figure, shares)):
        with open(tmp_path / name, "wb") as file:
            draw(file, what)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


# ----------------------------------------------------------------------------- several processes


def start(folder, *more, **changes):
    """Starts the command as users do."""
    return subprocess.Popen([sys.executable, "-m", "mpl_tf.tune", *arguments(folder, *more, **changes)],
                            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def processes_of(folder):
    """The ids of the processes whose command line names `folder`."""
    found = []
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{each}/cmdline", "rb") as file:
                found += [int(each)] * (os.fsencode(str(folder)) in file.read())
        except OSError:
            pass
    return found


LONG = ["--train_steps=4000"]


@pytest.mark.slow
def test_both_stages_and_the_run_of_what_they_found(supervised, tmp_path):
    assert tuning.main(arguments(tmp_path, "--stage=teacher", f"--from={supervised / 'study'}")) == 0
    assert train.main([f"--flagfile={tmp_path / 'study' / 'best.cfg'}"]) == 0
    run = json.loads((tmp_path / "study" / "best" / "results.json").read_text())
    assert run["student_test_accuracy"] is not None and run["flags"]["method"] == "mpl"


@pytest.mark.slow
def test_a_killed_study_goes_on_with_its_trial(tmp_path):
    run = tmp_path / "study" / "trials" / "0000"
    more = ["--trial_steps=1000"]
    process = start(tmp_path, *more, trials=2, extra=LONG)
    wait_for(lambda: (run / "checkpoints" / "checkpoint").exists())
    process.kill()
    process.communicate()
    process = start(tmp_path, *more, trials=2, extra=LONG)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    assert "--- trial 0" in out and " to 1000," in out      # from its checkpoint on
    assert [row["state"] for row in trials(tmp_path)][0] == "finished" and len(trials(tmp_path)) == 2


@pytest.mark.slow
def test_two_workers_share_a_study_and_leave_no_process(tmp_path):
    more = ["--workers=2", "--trial_steps=1000"]
    process = start(tmp_path, *more, trials=3, extra=LONG)
    runs = tmp_path / "study" / "trials"
    wait_for(lambda: runs.is_dir() and len(list(runs.glob("*/checkpoints/checkpoint"))) >= 2)
    assert len(processes_of(tmp_path)) >= 3
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 143 and "the same command continues" in out
    assert processes_of(tmp_path) == []
    process = start(tmp_path, *more, trials=3, extra=LONG)
    wait_for(lambda: len(processes_of(tmp_path)) >= 3)
    process.kill()          # its workers find that it is gone, and end by themselves
    process.communicate()
    wait_for(lambda: processes_of(tmp_path) == [])
    out, _ = start(tmp_path, "--workers=2", "--trial_steps=1000", trials=3, extra=LONG).communicate(
        timeout=550)
    assert len(trials(tmp_path)) == 3 and results(tmp_path)["trials"]["not finished"] == 0, out
    assert "best: trial" in out     # in the lines of trials too, where the killed ones had left any


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_study_with_its_line(tmp_path):
    process = start(tmp_path, "--workers=2", extra=["--student_network=no_such_module:build"])
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 2 and "no_such_module" in out      # before a worker is started
    (tmp_path / "broken.py").write_text("def build(num_classes, input_shape, **options):\n    raise ValueError('b')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-m", "mpl_tf.tune", *arguments(
        tmp_path, "--workers=2", extra=["--student_network=broken:build"])], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and "worker" in done.stderr and "broken" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and processes_of(tmp_path) == []

"""`python -m mpl_tf.tune` from end to end: short studies, killed and gone on with, by several processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from mpl_tf import config, train
from mpl_tf.tune import __main__ as tuning, trial as trial_of
from tests.conftest import ROOT
from tests.runs import wait_for
from tests.tune.short import arguments, results, trials

pytest.importorskip("optuna")


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


SEARCH = "[teacher]\n{}\n"


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

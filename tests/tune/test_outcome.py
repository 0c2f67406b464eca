"""The files of a study's outcome, its table and pictures, and when there is none yet."""

import os

import pytest

from mpl_tf import config
from mpl_tf.common import command
from mpl_tf.tune import __main__ as tuning, outcome, space, study as studies
from tests.tune.short import arguments, results

optuna = pytest.importorskip("optuna")


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
    assert ("best.cfg has no right checksum (it was edited, or an earlier version wrote it), and stays: the new one "
            "is best_2.cfg") in capsys.readouterr().out
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

"""A study's folder and storage: odd names, who takes which trial, and what is refused."""

import json
import os

import pytest

from mpl_tf.tune import study as studies
from tests.tune.test_plan import BASE, made

optuna = pytest.importorskip("optuna")
ODD = os.fsdecode(b"a ?#%d{x}&uri=true \xff'\n")


def test_any_name_of_a_folder_is_one(tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    study = studies.Study(str(tmp_path / ODD), made())
    trial, held = study.take(1)
    with held:
        assert trial.suggest_float("student_learning_rate", 0.01, 1, log=True) == 0.2   # the base's own
    assert sorted(os.listdir(tmp_path)) == sorted([ODD, "cwd"]) and os.listdir() == []
    assert set(os.listdir(tmp_path / ODD)) == {"study.json", "study.sqlite", "trials", "locks", "logs"}
    assert study.run_folder(12).endswith("/trials/0012")


def test_a_trial_that_was_left_is_taken_again_and_one_that_is_held_is_not(tmp_path):
    one, other = (studies.Study(str(tmp_path / "s"), made()) for _ in range(2))
    assert one.id == other.id
    first, held = one.take(2)
    drawn = first.suggest_float("student_dropout", 0, 0.7)
    first.report(0.25, 5)
    second, held_too = other.take(2)
    assert (first.number, second.number) == (0, 1)
    assert one.take(2) is None and other.take(2) is None
    held.close()        # as when its process is killed
    again, held = other.take(2)
    assert (again.number, again.suggest_float("student_dropout", 0, 0.7)) == (0, drawn)
    assert other.trials()[0].intermediate_values == {5: 0.25}
    other.study.tell(again, 0.5)
    held.close(), held_too.close()
    assert one.take(2)[0].number == 1


def test_values_depend_on_the_number_and_the_trials_before_alone(tmp_path):
    drawn = []
    for name in "ab":
        study = studies.Study(str(tmp_path / name), made())
        for number in range(3):
            trial, held = study.take(3)
            with held:
                drawn.append(trial.suggest_float("student_dropout", 0, 0.7))
                study.study.tell(trial, 0.5 + 0.1 * number)
            study = studies.Study(str(tmp_path / name), made())     # killed and started again
    assert drawn[:3] == drawn[3:] and len(set(drawn)) == 3


def test_a_storage_of_its_own_is_shared_by_folders(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    one, other = (studies.Study(str(tmp_path / name), made(), url, "tuning") for name in "ab")
    assert one.id == other.id and not (tmp_path / "a" / studies.SQLITE).exists()
    first, held = one.take(3)
    held.close()
    assert other.take(3)[0].number == 1      # the other folder's run is not here
    assert one.take(3)[0].number == 0


@pytest.mark.parametrize("change, named", [
    (dict(plan=made(base={**BASE, "batch_size": 32})), "of other trials: --batch_size: 64 there, 32 now"),
    (dict(plan=made(trial_steps=10)), "--trial_steps: 400 there, 10 now"),
    (dict(plan=made("teacher")), "--stage: supervised there, teacher now"),
    (dict(url="sqlite:///elsewhere.sqlite"), "has its trials in study.sqlite, not in sqlite:///elsewhere"),
    (dict(name="other"), "has the name 's' in its storage, not 'other'"),
])
def test_another_plan_or_storage_is_refused(tmp_path, monkeypatch, change, named):
    monkeypatch.chdir(tmp_path)
    studies.Study("s", made())
    with pytest.raises(ValueError) as error:
        studies.Study(**{"folder": "s", "plan": made(), **change})
    assert named in str(error.value) and "\n" not in str(error.value)
    assert os.listdir() == ["s"]


def test_a_storage_of_another_study_is_refused(tmp_path):
    folder = tmp_path / "s"
    studies.Study(str(folder), made())
    note = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**note, "id": "0"}))
    with pytest.raises(ValueError, match="study.sqlite has another study 's' than that of --study="):
        studies.Study(str(folder), made())
    (folder / "study.sqlite").unlink()
    with pytest.raises(ValueError, match="study.sqlite has no study 's', but --study="):
        studies.Study(str(folder), made())
    url = f"sqlite:///{tmp_path}/foreign.sqlite"
    optuna.create_study(storage=url, study_name="foreign").set_user_attr("mpl_tf", 3)
    with pytest.raises(ValueError, match="a study 'foreign' of another program: choose another --name"):
        studies.Study(str(tmp_path / "t"), made(), url, "foreign")


def test_a_folder_or_storage_that_is_none_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.sqlite").write_bytes(b"no database" * 100)
    for arguments, named in (
            ((str(tmp_path / "photos"), made()), "is not a study's folder: it holds a.jpg"),
            ((str(tmp_path / "photos" / "a.jpg"), made()), "expected a folder"),
            (("s3://bucket", made()), "expected a folder of this machine"),
            ((str(tmp_path / "damaged"), made()), "study.sqlite cannot be used .*not a database"),
            ((str(tmp_path / "new"), made(), "nonsense"), "storage nonsense cannot be used"),
            ((str(tmp_path / "new"), made(), "postgresql://me:secret@h/x"), "me:[*]{3}@h/x cannot be used")):
        with pytest.raises(ValueError, match=named) as error:
            studies.Study(*arguments)
        assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_passwords_are_not_noted():
    shown = studies._without_password("mysql://me:se@cret@host:3306/x?ssl=1&password=secret&a=b")
    assert shown == "mysql://me:***@host:3306/x?ssl=1&password=***&a=b"
    assert studies._without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_without_optuna_the_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ValueError, match="pip install 'optuna>=5,<6'"):
        studies.Study(str(tmp_path / "s"), made())
    assert not (tmp_path / "s").exists()

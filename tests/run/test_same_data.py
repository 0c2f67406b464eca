"""A finished run is the answer for its own data alone: for others it is refused, not shown."""

import json

import pytest

from mpl_tf import datasets
from mpl_tf.common import command, storage
from mpl_tf.run import devices, run_folder, same_data, training, wiring
from tests.runs import settings

OTHER = "7 examples (0123456789abcdef)"
RESULTS = {"student_test_accuracy": 0.5, "teacher_test_accuracy": None, "median_last_evaluations": 0.5,
           "flags": {}, "evaluations": [{"step": 6, "student_test_accuracy": 0.5}]}


def finished(folder, data=None, **changes):
    """The Config of a run that has ended, as far as a folder tells; `data` is what it notes of its data."""
    config = settings(folder, holdout=10, labeled_examples=60, **changes)
    with run_folder.open_folder(config):
        run_folder.check_data(str(folder), data or datasets.describe(wiring.load_dataset(config)))
    storage.write_json(folder / run_folder.RESULTS, {**RESULTS, "train_steps": config.train_steps})
    return config


def note(folder, **parts):
    """Changes what a run has noted of its data."""
    path = folder / run_folder.DATA
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def test_its_own_data_are_no_news(tmp_path, capsys):
    config = finished(tmp_path)
    assert set(run_folder.noted_data(config.model_dir)) == {"labeled", "unlabeled", "test", "holdout", "classes"}
    assert training.run(config)["student_test_accuracy"] == 0.5
    out = capsys.readouterr().out
    assert "nothing to do" in out and "50.00" in out and "not looked at" not in out


@pytest.mark.parametrize("chief", [True, False])
@pytest.mark.parametrize("part", ["labeled", "unlabeled", "test", "holdout", "classes"])
def test_other_data_are_refused_in_the_words_of_an_unfinished_run(tmp_path, capsys, monkeypatch, part, chief):
    config = finished(tmp_path)
    note(tmp_path, **{part: OTHER})
    before = (tmp_path / "config.json").read_text()
    monkeypatch.setattr(devices, "is_chief", lambda _: chief)
    moved = config.replace(data_dir=str(tmp_path))
    assert command.run(lambda _: training.run(moved) and None, []) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: --model_dir={tmp_path} was trained on other data: {part} {OTHER} then, ")
    assert err.endswith(" now; give the same --data_dir, --unlabeled_dir, --fixed_teacher and --predictions_dir "
                        "(they may have moved), or a new --model_dir\n")
    assert (tmp_path / "config.json").read_text() == before     # or a report would read the others
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").write_text("")
    with pytest.raises(run_folder.OtherData) as unfinished:
        run_folder.check_data(config.model_dir, datasets.describe(wiring.load_dataset(config)))
    assert err == f"error: {unfinished.value}\n"


@pytest.mark.parametrize("left", [(), ("labeled", "unlabeled", "test")])
def test_what_an_earlier_version_has_not_noted_is_not_compared(tmp_path, capsys, monkeypatch, left):
    config = finished(tmp_path)
    noted = run_folder.noted_data(config.model_dir)
    (tmp_path / run_folder.DATA).unlink()
    if left:
        (tmp_path / run_folder.DATA).write_text(json.dumps({name: noted[name] for name in left}))
    else:
        monkeypatch.setattr(wiring, "load_dataset", None)       # nor read
    assert training.run(config) and "nothing to do" in capsys.readouterr().out


def test_data_that_are_gone_are_told_of(tmp_path, capsys, monkeypatch):
    noted = {name: OTHER for name in ("labeled", "unlabeled", "test")}
    data = tmp_path / "data"
    data.mkdir()
    config = finished(tmp_path / "run", noted, dataset="cifar10", data_dir=str(data))
    wrong = config.replace(data_dir=str(tmp_path / "gone"))
    assert training.run(wrong)["student_test_accuracy"] == 0.5
    out = capsys.readouterr().out
    assert f"its data were not looked at: nothing is at --data_dir={tmp_path / 'gone'}\n" in out and "50.00" in out
    assert run_folder.read_flags(config.model_dir)["data_dir"] == str(data)
    monkeypatch.setattr(datasets.tfds, "require_network", None)        # nothing is downloaded for it
    training.run(config)
    assert f"not looked at: cifar10 is not in {data} (any more)\n" in capsys.readouterr().out


def test_another_fixed_teacher_is_other_data(tmp_path, monkeypatch):
    import numpy as np
    config = finished(tmp_path, method="distillation", fixed_teacher=str(tmp_path))
    class Teacher:
        def get_weights(self):
            return [np.float32([1, 2])]
    monkeypatch.setattr(wiring, "read_fixed_teacher", lambda *_: Teacher())
    assert same_data.look(config) == ""     # an earlier version's, which noted none
    note(tmp_path, **wiring.describe_fixed_teacher(config, Teacher))
    assert same_data.look(config) == ""
    note(tmp_path, fixed_teacher="0123456789abcdef")
    with pytest.raises(run_folder.OtherData, match="fixed_teacher 0123456789abcdef then, "):
        same_data.look(config)


def test_what_was_loaded_for_an_evaluation_is_compared_without_what_was_not(tmp_path):
    config = finished(tmp_path)
    dataset = wiring.load_dataset(config)
    note(tmp_path, labeled_probs=OTHER, fixed_teacher="ab")
    assert same_data.changes_of_loaded(config, dataset) == {}
    note(tmp_path, test=OTHER)
    [(name, (then, now))] = same_data.changes_of_loaded(config, dataset).items()
    assert (name, then) == ("test", OTHER) and now.startswith("500 examples (")

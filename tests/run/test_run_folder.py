"""A run's folder is refused or taken in one piece; files appear whole or not at all."""

import json
import os
import subprocess
import sys

import pytest

from mpl_tf.common import storage
from mpl_tf.run import run_folder
from tests.conftest import ROOT
from tests.runs import settings


def refusal(config):
    with pytest.raises(ValueError) as caught, run_folder.open_folder(config):
        pass
    message = str(caught.value)
    assert "\n" not in message and config.model_dir in message
    return message


def test_new_and_empty_folders_are_taken(tmp_path):
    config = settings(tmp_path / "new" / "deep")
    with run_folder.open_folder(config):
        assert run_folder.read_flags(config.model_dir) == config.flags.to_dict()
    empty = tmp_path / "empty"
    empty.mkdir()
    with run_folder.open_folder(settings(empty)):
        assert os.listdir(empty) == ["config.json"]


def test_foreign_folders_are_refused_and_stay_as_they_are(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refusal(settings(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["another program"]}')
    refusal(settings(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["config.json", "thesis.tex"]
    assert (tmp_path / "config.json").read_text() == '{"architectures": ["another program"]}'


def test_the_folder_above_runs_says_which_lie_in_it(tmp_path):
    runs = tmp_path / "runs"
    for name in "dcba":
        with run_folder.open_folder(settings(runs / name)):
            pass
    (runs / "c" / "config.json").write_text('{"architectures": ["another program"]}')
    with pytest.raises(ValueError, match="is not a run's folder: it holds a, b, c, ... and no config"
                       ) as error:
        run_folder.read_flags(str(runs))
    assert str(error.value).endswith(f"; did you mean {runs / 'a'} or {runs / 'b'} or {runs / 'd'}?")
    assert refusal(settings(runs)).endswith(f"or {runs / 'd'}?")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.tex").write_text("")
    with pytest.raises(ValueError, match="no config.json of this program; correct --model_dir$"):
        run_folder.read_flags(str(tmp_path / "other"))


def test_what_fails_before_training_leaves_nothing_behind(tmp_path):
    def fail_in(folder, *written, error=ValueError("no such data")):
        with pytest.raises(type(error)), run_folder.open_folder(settings(folder)):
            run_folder.check_data(str(folder), {"labeled": "3 examples"})
            for name in written:
                (folder / name).mkdir()
                (folder / name / "x").write_text("")
            raise error

    fail_in(tmp_path / "new" / "deep", "networks")
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty").mkdir()
    fail_in(tmp_path / "empty" / "run", error=KeyboardInterrupt())
    fail_in(tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == []
    for name in ("checkpoints", "events.out.tfevents.1", "notes"):       # it has begun, or is the user's
        fail_in(tmp_path / name, name)
        assert sorted(os.listdir(tmp_path / name)) == sorted(["config.json", "data.json", name])
    fail_in(tmp_path / "checkpoints", "networks")       # a run that was there before
    assert "config.json" in os.listdir(tmp_path / "checkpoints")


def test_unwritable_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(settings(tmp_path / "file"))
    assert "lies in one" in refusal(settings(tmp_path / "file" / "below"))
    assert "cannot be written" in refusal(settings("/proc/no_run_here"))
    assert "of this machine" in refusal(settings("gs://bucket/run"))


def test_changed_flags_are_refused_by_name(tmp_path):
    with run_folder.open_folder(settings(tmp_path, seed=9)):
        pass
    with run_folder.open_folder(settings(tmp_path)):     # no step is taken yet: nothing to spoil
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "checkpoint").write_text("")
    message = refusal(settings(tmp_path, seed=5, meta_weight=2.0))
    assert "--seed: 0 in model_dir, 5 now" in message and "--meta_weight: 1.0" in message
    assert "--train_steps" in refusal(settings(tmp_path, train_steps=2))
    assert run_folder.read_flags(str(tmp_path))["seed"] == 0
    allowed = settings(tmp_path, train_steps=60, data_dir="elsewhere", keep_checkpoints=9)
    with run_folder.open_folder(allowed):
        assert run_folder.read_flags(str(tmp_path)) == allowed.replace(train_steps=6).flags.to_dict()
        run_folder.note_steps(allowed)       # a step beyond the first run's is saved
        assert run_folder.read_flags(str(tmp_path)) == allowed.flags.to_dict()


def test_a_folder_in_use_is_refused(tmp_path):
    code = ("import json, sys; from mpl_tf import config\nfrom mpl_tf.run import run_folder\n"
            "try:\n    run_folder.open_folder(config.of(**json.loads(sys.argv[1]))).__enter__()\n"
            "except ValueError as error:\n    print(error)")
    config = settings(tmp_path)
    with run_folder.open_folder(config):
        other = subprocess.run([sys.executable, "-c", code, json.dumps(config.flags.to_dict())],
                               capture_output=True, text=True, cwd=ROOT)
    assert "in use" in other.stdout, other.stderr
    with run_folder.open_folder(settings(tmp_path)):
        pass


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / f"{storage.PARTIAL}config.json").write_text('{"prog')
    (tmp_path / f"{storage.PARTIAL}saved_model" / "variables").mkdir(parents=True)
    with run_folder.open_folder(settings(tmp_path)):
        assert os.listdir(tmp_path) == ["config.json"]


def test_partial_files_and_folders_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "figures.json"
    storage.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), storage.partial(path) as temporary:
        with open(temporary, "w") as file:
            file.write("half a")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    for content in ("first", "second"):     # the second replaces a folder that is not empty
        with storage.partial(tmp_path / "folder") as temporary:
            os.mkdir(temporary)
            with open(os.path.join(temporary, content), "w"):
                pass
        assert os.listdir(tmp_path / "folder") == [content]
    assert sorted(name for name in os.listdir(tmp_path) if not name.endswith(path.name)) == [
        "folder"]


def test_a_run_is_finished_by_its_results_of_as_many_steps(tmp_path):
    config = settings(tmp_path)
    assert run_folder.finished(config) is None
    results = {"train_steps": config.train_steps, "student_test_accuracy": 0.5, "flags": {},
               "teacher_test_accuracy": None, "median_last_evaluations": 0.5,
               "evaluations": [{"step": 6, "student_test_accuracy": 0.5}]}
    storage.write_json(tmp_path / run_folder.RESULTS, results)
    assert run_folder.finished(config) == results
    assert run_folder.finished(config.replace(train_steps=60)) is None
    (tmp_path / run_folder.RESULTS).write_text('{"train_st')
    with pytest.raises(ValueError, match="results.json is damaged, no JSON .*: move it elsewhere"):
        run_folder.finished(config)


@pytest.mark.parametrize("name, content", [
    (run_folder.RESULTS, content) for content in (
        "null", "[]", "3", "{}", '{"train_steps": 6}', '{"train_st', json.dumps({
            "train_steps": 6, "student_test_accuracy": 0.5, "teacher_test_accuracy": None,
            "median_last_evaluations": 0.5, "flags": {}, "evaluations": [{"step": "6"}]}),
        *('{"train_steps": 6, "student_test_accuracy": %s, "teacher_test_accuracy": null, '
          '"median_last_evaluations": 0.5, "flags": {}, "evaluations": []}' % number
          for number in ("NaN", "1e308", "-0.1")))] + [
    (run_folder.CONFIG, content) for content in (
        "null", "[1]", '{"program": "mpl_tf"}', '{"program": "mpl_tf", "flags": null}',
        '{"program": "mpl_tf", "flags": 3}', '{"program": "mpl_tf", "flags": {"dataset": "zzz"}}',
        '{"program": "mpl_tf", "flags": {"train_steps": "12"}}',
        '{"program": "mpl_tf", "flags": {"seed": 0}}')] + [
    (run_folder.DATA, content) for content in (
        "null", "[]", "3", '"abc"', "{", '{"labeled": ["3 examples"]}', "{}",
        '{"labeled": "3", "unlabeled": "5"}')])
def test_a_damaged_note_is_named_and_left_as_it_is(tmp_path, name, content):
    """Whatever else than it should it holds: it never counts as missing."""
    config = settings(tmp_path)
    with run_folder.open_folder(config):
        pass
    data = {"labeled": "3 examples", "unlabeled": "5 examples", "test": "2 examples"}
    run_folder.check_data(str(tmp_path), data)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} is damaged") as caught:
        with run_folder.open_folder(config):
            run_folder.finished(config)
            run_folder.check_data(str(tmp_path), {**data, "labeled": "4 examples"})
    assert "\n" not in str(caught.value) and (tmp_path / name).read_text() == content

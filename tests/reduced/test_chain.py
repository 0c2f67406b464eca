"""The stages of Section 4.2 in one command: done once, continued, refused where a part changed."""

import json
import os
import shutil

import numpy as np
import pytest

from mpl_tf.common import storage
from mpl_tf.datasets import prediction_files, selection
from mpl_tf.reduced import chain as reduced
from tests.conftest import ROOT
from tests.runs import TINY, assert_same_state
from tests.stored import change

DIGITS = "train-00000-of-00001"


def write_flags(path, **flags):
    path.write_text("".join(f"--{name}={str(value).lower() if isinstance(value, bool) else value}\n"
                            for name, value in flags.items()))


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """(command line, model_dir) of a chain on the digits."""
    root = tmp_path_factory.mktemp("chain")
    large = {**TINY, "method": "baseline", "train_steps": 4}
    for name in ("teacher_dropout", "teacher_learning_rate"):
        large.pop(name)
    write_flags(root / "large.cfg", **large, model_dir="x")
    student = {**TINY, "train_steps": 4, "teacher_learning_rate": 1e-3, "cutout": 2,
               "randaugment_layers": 0, "method": "reduced_mpl", "predictions_dir": "x",
               "teacher_optimizer": "adam", "teacher_schedule": "constant"}
    student.pop("teacher_dropout")
    write_flags(root / "student.cfg", **student, model_dir=root / "run")
    argv = [f"--flagfile={root / 'student.cfg'}", f"--pretrain={root / 'large.cfg'}",
            "--per_class=20", "--seeds=3"]
    return argv, root / "run"


@pytest.fixture(scope="module")
def finished(planned):
    """The same, carried out."""
    assert reduced.main(planned[0]) == 0
    return planned


@pytest.fixture
def chain(finished, tmp_path):
    """(command line, folder of the seed) of a copy of it."""
    argv, run = finished
    shutil.copytree(run, tmp_path / "run")
    return [*argv, f"--model_dir={tmp_path / 'run'}"], tmp_path / "run" / "seed_3"


def test_what_is_planned(planned):
    argv, run = planned
    stages = reduced.configs(*reduced.parse([*argv, "--seeds=3,4"]))
    assert list(stages) == [3, 4] and list(stages[4]) == ["pretrain", *reduced.ROWS]
    for stage, config in stages[4].items():
        assert (config.seed, config.split_seed) == (4, 4)
        assert config.model_dir == str(run / "seed_4" / stage)
    assert stages[4]["reduced_mpl"].selection == str(run / "seed_4" / "selection")
    assert [config.method for config in stages[4].values()] == [
        "baseline", "noisy_student", "reduced_mpl", "reduced_mpl"]
    assert reduced.sources_of(stages[4]["reduced_mpl"]) == (["digits"], ["train"])


@pytest.mark.parametrize("name, per_class, splits", [
    ("digits", 100, ["train"]), ("cifar10", 50_000, ["train"]), ("svhn", 35_000, ["extra"]),
    ("imagenet", 12_800, ["train"])])
def test_the_flag_files_are_section_4_2(name, per_class, splits):
    chosen, others = reduced.parse([
        f"--flagfile={ROOT}/flags/reduced_{name}.cfg", *["--data_dir=x"] * (name != "digits")])
    stages = reduced.configs(chosen, others)[0]
    student, large = stages["reduced_mpl"], stages["pretrain"]
    assert chosen.per_class == per_class and reduced.sources_of(student)[1] == splits
    assert (student.teacher_optimizer, student.teacher_learning_rate, student.teacher_weight_decay,
            student.teacher_schedule) == ("adam", 1e-4, 1e-4, "constant")
    assert student.teacher_network == ("calibration-512" if name == "imagenet"
                                       else "calibration-128")
    assert large.method == "baseline" and not large.predictions_dir
    assert (large.holdout, large.holdout_shards, large.labeled_examples) == (
        student.holdout, student.holdout_shards, student.labeled_examples)
    assert {"digits": (50, 0, 0), "cifar10": (50_000, 4000, 0), "svhn": (73_257, 7300, 0),
            "imagenet": (0, 0, 40)}[name] == (
        student.labeled_examples, student.holdout, student.holdout_shards)
    if name != "digits":
        assert student.student_network == f"efficientnet-b{7 if name == 'imagenet' else 0}"
        assert (student.student_optimizer, student.rmsprop_epsilon, student.momentum,
                student.student_weight_decay, student.schedule, student.ema_decay) == (
            "rmsprop", 1e-3, 0.9, 1e-5, "exponential", 0.9999)


@pytest.mark.parametrize("given", [["--flagfile={}"], ["-flagfile={}"], ["--flagfile", "{}"]])
def test_q_large_s_flags_lie_beside_the_students(given):
    flagfile = f"{ROOT}/flags/reduced_digits.cfg"
    chosen, others = reduced.parse([text.format(flagfile) for text in given])
    reduced.configs(chosen, others)
    assert chosen.pretrain == f"{ROOT}/flags/pretrain_digits.cfg"


def test_without_the_students_flags(capsys):
    assert reduced.main([]) == 2
    assert capsys.readouterr().err.startswith("error: --flagfile is missing: expected the students'")


def test_a_chain_remembers_what_each_stage_was_made_from(tmp_path):
    size = lambda folder: sorted(os.listdir(folder))
    chain = reduced.Chain(str(tmp_path))
    chain.begin("selection", {"predictions": "a", "per_class": 5})
    os.makedirs(chain.path("selection"))
    assert not chain.finished("selection", size)
    assert chain.end("selection", size) == []
    again = reduced.Chain(str(tmp_path))
    again.begin("selection", {"predictions": "a", "per_class": 5})
    assert again.finished("selection", size)
    for inputs, said in [({"predictions": "b", "per_class": 5}, "from another predictions than"),
                         ({"predictions": "b", "per_class": 6},
                          "from another per_class and another predictions than")]:
        with pytest.raises(ValueError, match=f"selection was made {said} there is now: give"):
            again.begin("selection", inputs)
    (tmp_path / "selection" / "more").write_text("")
    with pytest.raises(ValueError, match="selection was changed after it was finished"):
        again.finished("selection", size)
    shutil.rmtree(again.path("selection"))
    assert not again.finished("selection", size)
    again.begin("selection", {"predictions": "b", "per_class": 6})


@pytest.mark.slow
def test_every_stage_is_there_and_learns_from_the_selection(finished):
    _, run = finished
    seed = run / "seed_3"
    assert sorted(os.listdir(seed)) == ["control", "noisy_student", "predictions", "pretrain",
                                        "reduced_mpl", "selection", "stages.json"]
    flags = {row: json.loads((seed / row / "config.json").read_text())["flags"]
             for row in ("pretrain", *reduced.ROWS)}
    for row, each in flags.items():
        assert (each["seed"], each["split_seed"], each["labeled_examples"]) == (3, 3, 0), row
    assert flags["control"]["meta_weight"] == 0 and flags["reduced_mpl"]["meta_weight"] == 1
    assert [flags[row]["method"] for row in reduced.ROWS] == [
        "noisy_student", "reduced_mpl", "reduced_mpl"]
    assert prediction_files.read_plan(str(seed / "predictions"))["model"] == (
        prediction_files.model_fingerprint(str(seed / "pretrain")))
    assert 0 < len(selection.load(str(seed / "selection")).key) <= 200
    table = json.loads((run / "table.json").read_text())["figures"]
    assert list(table) == list(reduced.NAMES.values())
    results = storage.read_json(str(seed / "noisy_student" / "results.json"))
    assert table["NoisyStudent"] == [results["student_test_accuracy"]]


@pytest.mark.slow
def test_what_is_finished_is_skipped_and_the_rest_comes_out_the_same(chain, capsys):
    argv, seed = chain
    before = os.stat(seed / "selection" / "selection.npz").st_mtime_ns
    shutil.move(seed / "reduced_mpl", seed / "old")
    # The copy's predictions lie elsewhere, which a finished run is not asked about.
    assert reduced.main([*argv, "--rows=reduced_mpl"]) == 0
    out = capsys.readouterr().out
    assert "pretrain is finished" in out and "--- selection" not in out
    assert "| ReducedMPL | " in out and "control" not in out
    assert os.stat(seed / "selection" / "selection.npz").st_mtime_ns == before
    assert_same_state(seed / "reduced_mpl", seed / "old")


def other_weights(seed):
    path = seed / "pretrain" / "saved_model" / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


CHANGED = {
    "pretrain": (other_weights, "predictions was made from another pretrain than there is now"),
    "predictions": (lambda seed: change(seed / "predictions", DIGITS,
                                        probs=lambda p: np.roll(p, 1, axis=1)),
                    "predictions was changed after it was finished"),
    "selection": (lambda seed: change(seed / "selection", "selection",
                                      confidence=lambda c: c / 2),
                  "selection was changed after it was finished")}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["pretrain", "predictions", "selection"])
def test_a_changed_stage_is_refused(chain, capsys, what):
    argv, seed = chain
    spoil, said = CHANGED[what]
    spoil(seed)
    capsys.readouterr()
    assert reduced.main([*argv, "--rows=noisy_student"]) == 2
    err = capsys.readouterr().err
    assert said in err and "delete this folder and those" in err and err.count("\n") == 1


@pytest.mark.slow
def test_other_options_and_a_new_selection_under_a_finished_student_are_refused(chain, capsys):
    argv, seed = chain
    assert reduced.main([*argv, "--rows=noisy_student", "--per_class=30"]) == 2
    assert "selection was made from another per_class than there is now" in capsys.readouterr().err
    shutil.rmtree(seed / "selection")
    assert reduced.main([*argv, "--rows=noisy_student", "--per_class=30"]) == 2
    err = capsys.readouterr().err
    assert "noisy_student was made from another selection than there is now" in err


def test_a_stage_that_leaves_nothing_may_be_begun_otherwise(tmp_path):
    chain = reduced.Chain(str(tmp_path))
    os.makedirs(chain.path("selection"))
    chain.begin("selection", {"per_class": 5000}, at_once=True)
    chain.begin("selection", {"per_class": 5}, at_once=True)
    chain.end("selection", os.listdir)
    with pytest.raises(ValueError, match="from another per_class"):
        chain.begin("selection", {"per_class": 6}, at_once=True)
    (tmp_path / reduced.STAGES).write_text("{")
    with pytest.raises(ValueError, match="stages.json is damaged, no JSON"):
        reduced.Chain(str(tmp_path))


@pytest.mark.parametrize("flags, said", [
    (["--per_class=1298"], "--per_class=1298: digits has 1297 examples"),
    (["--per_class=0"], "expected a whole number of 1 or more"),
    (["--batch_size_predict=0"], "expected a whole number of 1 or more"),
    (["--dataset=cifar10", "--data_dir={root}", "--student_network=wrn-10-1"], "has no shards"),
    (["--rows=mpl"], "'mpl' is none of noisy_student"), (["--seeds=a"], "expected whole numbers of 0 or more such as 0,1,2 or 0-9"),
    (["--train_step=4"], "unknown flag --train_step"),
    (["--method=mpl"], "--method: each student has a method of its own; the flag to give is --rows"),
    (["--selection=x"], "--selection: each seed has a selection of its own"),
    (["--predictions_dir", "x"], "--predictions_dir: each seed has predictions of its own"),
    (["--seed=5", "--seeds=1,2"], "--seed: it is each student's of --seeds; leave one of the two flags out"),
    (["--split_seed=5", "--seeds=1,2", "--labeled_selection=random"], "--split_seed: it is each student's seed"),
    (["--pretrain={root}/student.cfg"], "expected --method=baseline"),
    (["--pretrain={root}/none.cfg"], "no such file"),
    (["--dataset=image_folder", "--student_network=wrn-10-1"], "--per_class is missing")])
def test_bad_flags(planned, capsys, flags, said):
    argv, run = planned
    finished_before = os.path.exists(run / "seed_3" / "pretrain" / "results.json")
    argv = [text for text in argv if not text.startswith("--per_class") or "per_class" not in said]
    try:
        code = reduced.main([*argv, *(flag.format(root=run.parent) for flag in flags)])
    except SystemExit as error:
        code = error.code
    assert code == 2 and said in capsys.readouterr().err
    assert not os.path.exists(run / "seed_3" / "pretrain" / "results.json") or finished_before

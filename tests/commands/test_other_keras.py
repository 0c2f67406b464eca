"""Runs that either Keras made, read by both: predict and --fixed_teacher take them, the rest says where to."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mpl_tf import config, evaluate, predict
from mpl_tf.run import composing, restoring, run_folder, serving, training, wiring
from tests import tiny
from tests.conftest import ROOT

HERE = 3 if tiny.KERAS_3 else 2
OTHER = 5 - HERE
RUNS = ("digits_run", "features_run")
LINE = (f"was made with Keras {OTHER}; continue or evaluate it there .Python 3.1.*; predict and "
        "--fixed_teacher take a finished run here too$")


@pytest.fixture(params=[2, 3], ids=["of Keras 2", "of Keras 3"])
def made(request, tmp_path, monkeypatch):
    """The number of the Keras that made the runs, copied to the working folder."""
    shutil.copytree(ROOT / "tests" / "fixtures" / f"of_keras_{request.param}", tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    return request.param


def expected(run):
    """Images uint8 [4, H, W, C], and their probabilities by the Keras that trained."""
    with np.load("expected_of_runs.npz") as stored:
        images, probs = stored[f"{run}_images"], stored[f"{run}_probs"]
    assert np.ptp(probs, axis=0).max() > 1e-4       # so that equal answers say something
    return images, probs


@pytest.mark.parametrize("run", RUNS)
def test_predict_gives_what_the_other_keras_gave(made, run, said, capsys):
    images, probs = expected(run)
    served = serving.Served(run, images.shape[1], probs.shape[1])
    np.testing.assert_allclose(served(images), probs, atol=1e-5)
    assert not said()               # its weights were read, and nothing of it was run
    Image.fromarray(images[0].squeeze()).save("new.png")
    assert predict.main([f"--model_dir={run}", "--json_lines", "new.png"]) == 0
    out = capsys.readouterr()
    printed = [p for _, p in json.loads(out.out)["probabilities"]]
    assert out.err == "" and len(printed) == probs.shape[1]
    if run == "digits_run":     # photographs are cropped first; a level of 255 may be another
        np.testing.assert_allclose(printed, probs[0], atol=1e-3)


def test_evaluate_and_training_say_in_one_line_where_to_go_on(made, capsys):
    flags = {**run_folder.read_flags("digits_run"), "model_dir": "digits_run", "train_steps": 4}
    before = sorted(os.listdir("digits_run/checkpoints"))
    if made == HERE:
        assert evaluate.main(["--model_dir=digits_run"]) == 0
        assert "step 2" in capsys.readouterr().out
        return
    assert evaluate.main(["--model_dir=digits_run"]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1
    with pytest.raises(ValueError, match=LINE):     # though networks/ is not to be read here either
        training.run(config.of(**flags))
    assert sorted(os.listdir("digits_run/checkpoints")) == before


@pytest.mark.parametrize("run, flags", [
    ("digits_run", dict(dataset="digits")), ("features_run", dict(dataset="features", data_dir="features"))])
def test_a_run_of_either_is_a_fixed_teacher(made, run, flags):
    c = config.of(method="soft_pseudo_labels", fixed_teacher=run, model_dir="new", student_network="mlp-2",
                  student_dropout=0, train_steps=2, eval_steps=2, warmup_steps=0, batch_size=4,
                  unlabeled_batch_size=4, plots=False, **flags)
    dataset = wiring.load_dataset(c)
    teacher = wiring.load_fixed_teacher(c, wiring.build_student(c, dataset), dataset.made)
    images, probs = expected(run)
    whole = composing.of_run(dataset.made, teacher) if dataset.made else teacher
    found = tf.nn.softmax(whole(images / np.float32(127.5) - 1, training=False))
    np.testing.assert_allclose(found, probs, atol=1e-5)
    assert wiring.build_model(c, dataset).teacher is not None      # which reads it again


@pytest.mark.parametrize("spoil, words", [
    (lambda: os.remove("digits_run/student.keras"), "No such file"),
    (lambda: shutil.copy("features_run/student.keras", "digits_run/student.keras"), "is another network")])
def test_without_its_student_the_other_keras_saved_model_is_run_with_a_warning(made, spoil, words, said):
    spoil()
    images, probs = expected("digits_run")
    served = serving.Served("digits_run", 8, 10)
    np.testing.assert_allclose(served(images), probs, atol=1e-5)
    lines = said()
    assert len(lines) == (made == OTHER)
    for line in lines:
        assert "is run as a program" in line and "the other Keras wrote it" in line and words in line


@pytest.mark.parametrize("names, made_by", [
    (["layer_with_weights-0/bias"], 2), (["student/layer_with_weights-0/bias"], 2), (["variables/0/.A"], 2),
    (["_operations/1/bias"], 3), (["step", "student/_layers/1/bias"], 3), (["_layers/1/bias"], 3),
    (["student_optimizer/_trainable_variables/0"], 3), (["student/own/bias", "my_variables/0"], None), ([], None)])
def test_the_keras_is_told_by_names(names, made_by):
    assert restoring.made_by(names) == made_by
    assert restoring.is_foreign(names) == (made_by == OTHER)

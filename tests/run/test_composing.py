"""Runs on features: the exported model of images is backbone, transformation and head."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config, datasets, predict
from mpl_tf.datasets import feature_transform
from mpl_tf.run import composing, keras_files, training
from tests.featured import NAMES, SIZE, backbone, made
from tests.prep import jpeg, put

FLAGS = dict(dataset="features", method="mpl", objective="uda", student_network="linear",
             teacher_network="linear", batch_size=4, unlabeled_batch_size=4, student_dropout=0,
             teacher_dropout=0, student_learning_rate=0.5, teacher_learning_rate=0.5, train_steps=4,
             warmup_steps=0, eval_steps=4, summary_steps=100, plots=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of a finished run, folder of its features)."""
    root = tmp_path_factory.mktemp("composed")
    features, _ = made(root)
    training.run(config.of(**FLAGS, data_dir=str(features), model_dir=str(root / "run"), feature_components=3))
    return root / "run", features


def images(count=5):
    return np.random.default_rng(0).uniform(-1, 1, [count, SIZE, SIZE, 3]).astype("float32")


@pytest.mark.parametrize("components, unit_length", [(0, False), (0, True), (3, False), (3, True)])
def test_the_composed_model_is_backbone_transformation_and_head(tmp_path, components, unit_length):
    body = tf.keras.models.load_model(backbone(tmp_path / "b.keras"))
    features = body.predict(images(), verbose=0)
    transform = feature_transform.fit(features.astype(np.float64), components, unit_length)
    head = tf.keras.Sequential([tf.keras.Input((len(transform.bias),)), tf.keras.layers.Dense(2)])
    expected = head.predict(transform(features), verbose=0)
    model = composing.compose(body, transform, head)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "c.keras")
    again = tf.keras.models.load_model(tmp_path / "c.keras")
    np.testing.assert_allclose(again.predict(images(), verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_a_run_exports(run):
    folder, features = run
    dataset = datasets.load("features", features, feature_components=3)
    body = tf.keras.models.load_model(features / "backbone.keras")
    head = keras_files.load(str(folder / composing.HEAD))
    student = keras_files.load(str(folder / "student.keras"))
    expected = head.predict(dataset.made.transform(body.predict(images(), verbose=0)), verbose=0)
    np.testing.assert_allclose(student.predict(images(), verbose=0), expected, rtol=1e-4, atol=1e-5)
    results = json.loads((folder / "results.json").read_text())
    logits = head.predict(dataset.test.images.points, verbose=0)
    assert results["student_test_accuracy"] == pytest.approx(np.mean(logits.argmax(1) == dataset.test.labels))
    assert composing.view(str(folder)) == {"size": SIZE, "crop": "inception"}


def test_predict_takes_photographs(run, tmp_path, capsys):
    folder, features = run
    put(str(tmp_path / "new.jpg"), jpeg(77))
    predict.main([f"--model_dir={folder}", str(tmp_path / "new.jpg"), "--json_lines"])
    [line] = capsys.readouterr().out.strip().splitlines()
    assert set(NAMES) <= set(str(json.loads(line)).replace("'", " ").split())


def test_heads_of_other_features_are_told_apart(run):
    folder, features = run
    same = datasets.load("features", features, feature_components=3).made.transform
    assert composing.check_head(str(folder), same) is None
    for options in ({}, {"feature_components": 2}, {"feature_components": 3, "feature_unit_length": True},
                    {"feature_components": 3, "holdout": 2}):
        other = datasets.load("features", features, **options).made.transform
        assert "transformed otherwise" in composing.check_head(str(folder), other), options


def test_a_backbone_that_is_missing_or_another_is_one_line(tmp_path):
    digest = composing.digest(tf.keras.models.load_model(backbone(tmp_path / "backbone.keras")))
    assert composing.digest(composing.stored(str(tmp_path), digest)) == digest
    backbone(tmp_path / "backbone.keras", seed=2)
    with pytest.raises(ValueError, match="is another backbone than features.json says"):
        composing.stored(str(tmp_path), digest)
    (tmp_path / "backbone.keras").unlink()
    with pytest.raises(ValueError, match="backbone.keras is missing"):
        composing.stored(str(tmp_path), digest)
    with pytest.raises(ValueError, match="has no features.json: the run is not finished"):
        composing.view(str(tmp_path))


def test_strong_views_need_features_with_views(run, tmp_path):
    source = pathlib.Path(run[1]).parent
    folder, _ = made(source, "plain", views=0)
    with pytest.raises(ValueError, match="expected features with strong views, and these have none") as refused:
        config.from_arguments([f"--{name}={value}" for name, value in {
            **FLAGS, "plots": "false", "data_dir": folder, "model_dir": tmp_path / "run"}.items()])
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_student_loads_in_plain_keras(run, tmp_path):
    student = keras_files.load(str(run[0] / "student.keras"))
    np.save(tmp_path / "x.npy", images())
    np.save(tmp_path / "y.npy", student.predict(images(), verbose=0))
    code = ("import sys; import numpy as np, tensorflow as tf; folder, path = sys.argv[1:];"
            "model = tf.keras.models.load_model(path);"
            "assert 'mpl_tf' not in sys.modules;"
            "y = model.predict(np.load(folder + '/x.npy'), verbose=0);"
            "np.testing.assert_allclose(y, np.load(folder + '/y.npy'), atol=1e-5)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(run[0] / "student.keras")], check=True,
                   cwd=tmp_path)

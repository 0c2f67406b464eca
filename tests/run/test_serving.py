"""An exported student is loaded in one place, and refused in one line where it does not fit."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config, datasets, networks
from mpl_tf.data import augment
from mpl_tf.run import run_folder
from mpl_tf.run.serving import Served, view_of
from tests.conftest import ROOT
from tests.runs import settings

RUN = str(ROOT / "tests" / "fixtures" / "before_packages" / "finished")


def test_it_gives_what_the_saved_model_gives():
    images = datasets.load("digits").test.images[:5]
    served = Served(RUN, 8, 10)
    assert served.shape == (8, 8, 1)
    direct = tf.saved_model.load(f"{RUN}/saved_model").signatures["serving_uint8"]
    np.testing.assert_array_equal(
        served(images), direct(image=tf.constant(images))["probabilities"])


@pytest.mark.parametrize("size, num_classes, said", [
    (9, 10, "takes images of 8 pixels and gives 10 classes, but its flags .* say 9 and 10"),
    (8, 11, "say 8 and 11: train it again"), (9, None, "say 9 and 10")])
def test_another_size_or_number_of_classes_is_refused(size, num_classes, said):
    with pytest.raises(ValueError, match=said) as error:
        Served(RUN, size, num_classes)
    assert "\n" not in str(error.value)


def test_one_that_classifies_no_images_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"))
    with pytest.raises(ValueError, match="cannot be read .*serving_uint8.*: where .* move results.json out") as error:
        Served(str(tmp_path), 8)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(folder of a run whose SavedModel writes a file when it is run, that file)."""
    root = tmp_path_factory.mktemp("hostile")
    folder, marker = str(root / "run"), str(root / "marker")
    shutil.copytree(RUN, folder, ignore=shutil.ignore_patterns("checkpoints", "saved_model"))
    network = networks.build("mlp-4", 10, (8, 8, 1))

    def serve(image):
        tf.io.write_file(marker, "executed")
        logits = network(augment.normalize(image))
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}
    spec = tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="image")
    tf.saved_model.save(network, os.path.join(folder, "saved_model"), signatures={
        "serving_uint8": tf.function(serve).get_concrete_function(spec)})
    return folder, marker, network


def test_a_saved_model_is_not_run_where_its_weights_are_enough(hostile, said):
    folder, marker, network = hostile
    images = datasets.load("digits").test.images[:5]
    found = Served(folder, 8, 10)(images)
    np.testing.assert_allclose(
        found, tf.nn.softmax(network(augment.normalize(images))), atol=1e-6)
    assert not os.path.exists(marker) and not said()


@pytest.mark.parametrize("name", ["a*b?[!x]", "b\\ack\\1", "na\udcffme"])
def test_an_odd_name_of_a_run_does_not_make_its_saved_model_run(hostile, tmp_path, said, name):
    folder, marker, _ = hostile
    shutil.copytree(folder, tmp_path / name)
    Served(str(tmp_path / name), 8, 10)(datasets.load("digits").test.images[:2])
    assert not os.path.exists(marker) and not said()


def test_where_they_are_not_it_is_run_with_a_warning(hostile, tmp_path, said):
    """A run of an earlier version may have a network that this one builds otherwise."""
    folder, marker, network = hostile
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / run_folder.CONFIG
    noted = json.loads(path.read_text())
    images = datasets.load("digits").test.images[:5]
    for other in ("mlp-5", "mlp-4-4", "small_conv"):
        noted["flags"]["student_network"] = other
        path.write_text(json.dumps(noted))
        found = Served(str(tmp_path / "run"), 8, 10)(images)
        np.testing.assert_allclose(
            found, tf.nn.softmax(network(augment.normalize(images))), atol=1e-6)
        [line] = said()
        assert "saved_model is run as a program, because its weights do not fit" in line
    assert os.path.exists(marker)
    os.remove(marker)


@pytest.mark.parametrize("error", [
    tf.errors.NotFoundError(None, None, "Failed to find\nany"), OSError(5, "Input/output error"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")], ids=type)
def test_what_says_nothing_of_its_network_does_not_make_it_run(hostile, monkeypatch, error):
    """Only weights that do not fit do."""
    def read(*_):
        raise error
    monkeypatch.setattr(tf.train.Checkpoint, "read", read)
    with pytest.raises(ValueError, match="saved_model cannot be read .*: where its files are") as caught:
        Served(hostile[0], 8, 10)
    assert "\n" not in str(caught.value) and not os.path.exists(hostile[1])


def test_the_precision_of_a_run_is_its_networks_alone(hostile, tmp_path):
    folder, marker, network = hostile
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / run_folder.CONFIG
    noted = json.loads(path.read_text())
    noted["flags"]["precision"] = "mixed_bfloat16"
    path.write_text(json.dumps(noted))
    images = datasets.load("digits").test.images[:5]
    found = Served(str(tmp_path / "run"), 8, 10)(images)
    expected = tf.nn.softmax(network(augment.normalize(images)))
    np.testing.assert_allclose(found, expected, atol=2e-2)
    assert np.any(found.numpy() != expected.numpy()) and not os.path.exists(marker)
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_how_a_run_evaluates_an_image(tmp_path):
    of_digits = config.of(**run_folder.read_flags(RUN))
    assert view_of(of_digits) == {"size": 8, "crop": "whole"}
    of_photographs = settings(tmp_path, dataset="image_folder", data_dir=str(tmp_path),
                              image_size=24)
    assert view_of(of_photographs) == {"size": 24, "crop": "inception"}

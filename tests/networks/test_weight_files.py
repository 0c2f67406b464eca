"""Weights of files: all, all but the head's, a backbone's; or none, and the model stays as it was."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import networks
from mpl_tf.networks import applications, weight_files
from tests import tiny


def build(classes=10, name="small_conv", shape=(8, 8, 1), **options):
    return networks.build(name, classes, shape, **options)


def weights_of(model):
    return [weight.numpy() for weight in model.weights]


def equal(a, b):
    return [np.array_equal(x, y) for x, y in zip(a, b)]


@pytest.mark.parametrize("end", ["keras", "weights.h5"])
@pytest.mark.parametrize("name", [
    "small_conv", "mlp-8", "wrn-10-1", pytest.param("efficientnet-b0", marks=pytest.mark.slow)])
def test_a_file_of_the_same_network_is_loaded_and_another_head_keeps_its_own(name, end, tmp_path):
    path = str(tmp_path / f"net.{end}")
    source = build(name=name, seed=1)
    source.save(path) if end == "keras" else source.save_weights(path)
    assert all(equal(weights_of(build(name=name, seed=2, weights=path)), weights_of(source)))
    fresh, other = weights_of(build(7, name, seed=2)), weights_of(build(7, name, seed=2, weights=path))
    assert all(equal(other[:-2], weights_of(source)[:-2])) and all(equal(other[-2:], fresh[-2:]))


@pytest.mark.slow
def test_a_backbone_is_loaded_into_the_network_around_it(tmp_path):
    name, shape = "keras.applications:VGG16", (32, 32, 3)
    tf.keras.utils.set_random_seed(1)
    theirs = tf.keras.applications.VGG16(include_top=False, weights=None, input_shape=shape)
    older = not tiny.KERAS_3        # which reads h5 only
    for end in ("weights.h5", *["h5"] * older):     # the latter as Keras's own downloads are
        path = str(tmp_path / f"theirs.{end}")
        theirs.save_weights(path)
        for model in (build(4, name, shape, weights=path), applications.backbone(name, shape, path)):
            assert all(equal(weights_of(model), weights_of(theirs)))


def test_what_does_not_fit_is_one_line_and_changes_nothing(tmp_path):
    deep, wide = str(tmp_path / "deep.weights.h5"), str(tmp_path / "wide.keras")
    build(name="mlp-8-8").save_weights(deep)
    build(name="mlp-9").save(wide)
    (tmp_path / "text.keras").write_text("not one")
    (tmp_path / "text.weights.h5").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    for path, words in (
            (deep, "6 weights in the file, 4 in the network"),
            (wide, r"keras does not fit student \(its (student/)?hidden1/kernel of shape \[64, 8\] has none"),
            (str(tmp_path / "text.keras"), "does not fit"),
            (str(tmp_path / "text.weights.h5"), "it is a PNG image|PNG image"),
            (str(tmp_path / "absent.keras"), "no such file"),
            (str(tmp_path / "a.npz"), "expected a file NAME.keras or NAME.weights.h5")):
        with pytest.raises(ValueError, match=words) as error:
            build(name="mlp-8", weights=path)
        assert "\n" not in str(error.value) and str(error.value).startswith(f"weights={path}")
    model = build(name="mlp-8")
    before = weights_of(model)
    with pytest.raises(ValueError):
        weight_files.load(model, wide)
    assert all(equal(before, weights_of(model)))

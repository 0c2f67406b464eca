"""EfficientNet from the package's blocks with this project's layers."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import networks
from mpl_tf.networks import layers
from mpl_tf.networks.efficientnet import strides_dropped
from tests import finite_differences as fd


def _drops(network):
    return {layer.name: layer.rate for layer in network.layers
            if isinstance(layer, layers.Dropout)}


@pytest.mark.slow
def test_b0_for_digits():
    """Weights by count and scale, the last map's side, the rates of dropout."""
    network = networks.build("efficientnet-b0", 10, (8, 8, 1), seed=1)
    assert network.count_params() == 4_049_564 - 2 * 9 * 32 + 1280 * 10 + 10   # 1 channel, not 3
    assert network.get_layer("top_conv").output.shape == (None, 4, 4, 1280)
    drops = _drops(network)
    assert drops.pop("dropout") == 0.2 and len(drops) == 9
    assert drops["block2b_drop"] == pytest.approx(0.2 * 2 / 16)
    assert drops["block6d_drop"] == pytest.approx(0.2 * 14 / 16)
    assert layers.not_replayable(network) == []
    kernel = network.get_layer("top_conv").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / 1280), rel=0.02)


@pytest.mark.slow
def test_weights_follow_the_seed_and_a_file_keeps_the_network(tmp_path):
    network, again, other = (fd.small_efficientnet(seed) for seed in (1, 1, 3))
    for one, same in zip(network.weights, again.weights):
        np.testing.assert_array_equal(one.numpy(), same.numpy())
    assert np.any(network.weights[0].numpy() != other.weights[0].numpy())
    network.save(str(tmp_path / "student.keras"))
    loaded = tf.keras.models.load_model(str(tmp_path / "student.keras"))
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    for training in (False, True):
        outputs = []
        for one in (loaded, network):
            with layers.random_seed(tf.constant([1, 2])):
                outputs.append(one(images, training=training))
        np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("side, dropped, last", [
    (8, 4, 4), (16, 3, 4), (32, 2, 4), (64, 1, 4), (96, 1, 6), (128, 0, 4), (224, 0, 7)])
def test_small_images_keep_a_last_map_of_four_pixels(side, dropped, last):
    assert strides_dropped(side) == dropped
    assert side // 2 ** (5 - dropped) == last


@pytest.mark.slow
@pytest.mark.parametrize("size, before, dropout, last_drop", [
    (0, 4_049_564, 0.2, 0.2 * 14 / 16), (7, 64_097_680, 0.5, 0.2 * 54 / 55)])
def test_sizes_of_tan_and_le(size, before, dropout, last_drop):
    """Counts as in the package; the rates of stochastic depth end at 0.2 in every size."""
    network = networks.build(f"efficientnet-b{size}", 1000, (224, 224, 3), seed=1)
    assert network.count_params() == before + network.get_layer("logits").count_params()
    drops = _drops(network)
    assert drops.pop("dropout") == dropout
    assert max(drops.values()) == pytest.approx(last_drop)


def test_stochastic_depth_drops_examples_whole():
    layer = layers.Dropout(0.4, noise_shape=(None, 1, 1, 1), name="drop")
    masks = []
    for _ in range(2):
        with layers.random_seed(tf.constant([1, 2])):
            masks.append(layer(tf.ones([4000, 2, 2, 3]), training=True).numpy())
    outputs, again = masks
    assert np.all(outputs == outputs[:, :1, :1, :1])
    assert set(np.unique(outputs[:, 0, 0, 0] > 0)) == {False, True}
    assert abs((outputs[:, 0, 0, 0] > 0).mean() - 0.6) < 5 * np.sqrt(0.24 / 4000)
    np.testing.assert_allclose(outputs.max(), 1 / 0.6, rtol=1e-6)
    np.testing.assert_array_equal(outputs, again)
    config = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert tuple(config.noise_shape) == (None, 1, 1, 1)


@pytest.mark.slow
def test_local_weights(tmp_path):
    """Of the package's own model without top; a file of something else is one line."""
    from efficientnet import tfkeras
    theirs = tfkeras.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = str(tmp_path / "notop.h5")
    theirs.save_weights(path)
    ours = networks.build("efficientnet-b0", 10, (32, 32, 3), seed=1, weights=path)
    for one, other in zip(theirs.weights, ours.weights):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    (tmp_path / "text.h5").write_text("not one")
    with pytest.raises(ValueError, match="does not fit efficientnet-b0") as error:
        networks.build("efficientnet-b0", 10, (32, 32, 3), weights=str(tmp_path / "text.h5"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments, words", [
    (dict(size=8), "expected 0 to 7"), (dict(size=0, drop_connect=1.0), "outside [0, 1)"),
    (dict(size=0, input_shape=(2,)), "takes images"),
    (dict(size=0, weights="none.h5"), "weights=none.h5: no such file")])
def test_what_does_not_exist_is_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError) as error:
        networks.efficientnet(**{"num_classes": 10, "input_shape": (32, 32, 3), **arguments})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_weights_for_another_network_are_refused():
    with pytest.raises(ValueError, match="weights=imagenet for small_conv: expected a network that has"):
        networks.build("small_conv", 10, (32, 32, 3), weights="imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["nested_tape", "jvp"])
def test_the_meta_gradient_through_efficientnet_and_rmsprop(way):
    """Appendix B, Eq. 8, in float64, with dropout and stochastic depth on."""
    model = fd.make_model("efficientnet", "rmsprop_momentum", way)
    assert len(_drops(model.student)) == 3
    errors = fd.relative_errors(model, fd.make_batch((8, 8, 2)), warm_steps=2, directions=2)
    assert max(errors) < 1e-5, errors

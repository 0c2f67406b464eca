"""mpl_tf.networks: counts, structure, initial weights, precisions, saving."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import networks
from mpl_tf.networks import layers, rbf
from tests import tiny
from tests.conftest import ROOT

SMALL = [("wrn-10-1", (8, 8, 3)), ("small_conv", (8, 8, 1)), ("mlp-5-7", (3,)), ("rbf", (2,))]


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def inputs(shape, batch=16):
    return np.random.default_rng(0).uniform(-1, 1, (batch, *shape)).astype("float32")


def wrn_weights(depth, width, num_classes, channels):
    """Zagoruyko & Komodakis's Table 1 by hand: convolutions, scales and biases, last layer."""
    total, c_in = 9 * channels * 16, 16
    for c_out in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 4) // 6):
            total += 2 * c_in + 9 * c_in * c_out + 2 * c_out + 9 * c_out * c_out
            total += c_in * c_out if c_in != c_out else 0
            c_in = c_out
    return total + 2 * c_in + c_in * num_classes + num_classes


@pytest.mark.parametrize("depth,width,num_classes,channels", [
    (28, 2, 10, 3), (10, 1, 10, 3), (16, 4, 100, 3), (16, 1, 7, 1)])
def test_wide_resnet_count(depth, width, num_classes, channels):
    model = networks.wide_resnet(depth, width, num_classes, (32, 32, channels))
    assert trainable(model) == wrn_weights(depth, width, num_classes, channels)
    last = (depth - 4) // 6
    shapes = [model.get_layer(f"group{g}_block{last}_add").output.shape[1:] for g in (1, 2, 3)]
    assert shapes == [(32, 32, 16 * width), (16, 16, 32 * width), (8, 8, 64 * width)]
    if (depth, width) == (28, 2):
        assert trainable(model) == 1_467_610            # "1.5 million parameters"


def test_wide_resnet_against_its_definition():
    tf.keras.mixed_precision.set_global_policy("float64")
    model = networks.build("wrn-10-1", 4, (8, 8, 3), seed=3)
    rng = np.random.default_rng(1)
    for v in model.variables:
        v.assign(v + 0.1 * rng.uniform(size=v.shape))
    values = {layer.name: [w.numpy() for w in layer.weights] for layer in model.layers}

    def bn_relu(x, name):
        gamma, beta, mean, variance = values[f"{name}_bn"]
        return np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0.0)

    def conv(x, name, stride=1):
        return tf.nn.conv2d(x, values[name][0], stride, "SAME").numpy()

    images = rng.uniform(-1, 1, (2, 8, 8, 3))
    x = conv(images, "stem")
    for group, stride in ((1, 1), (2, 2), (3, 2)):
        name = f"group{group}_block1"
        a = bn_relu(x, f"{name}_1")
        shortcut = x if group == 1 else conv(a, f"{name}_shortcut", stride)
        x = shortcut + conv(bn_relu(conv(a, f"{name}_conv1", stride), f"{name}_2"), f"{name}_conv2")
    kernel, bias = values["logits"]
    expected = bn_relu(x, "head").mean(axis=(1, 2)) @ kernel + bias
    np.testing.assert_allclose(model(images), expected, rtol=1e-10)


@pytest.mark.slow
def test_resnet50_count_and_strides():
    model = networks.build("resnet-50", 1000, (224, 224, 3))
    assert (trainable(model), model.count_params()) == (25_557_032, 25_610_152)
    keras = tf.keras.applications.ResNet50(weights=None)    # the same but for convolutions' biases
    biases = sum(x.filters for x in keras.layers if isinstance(x, tf.keras.layers.Conv2D))
    assert model.count_params() == keras.count_params() - biases
    assert [model.get_layer(f"group2_block1_conv{i}").strides[0] for i in (1, 2, 3)] == [1, 2, 1]
    assert model.get_layer("group4_block3_out").output.shape[1:] == (7, 7, 2048)
    assert [layer.name for layer in model.layers[-2:]] == ["dropout", "logits"]
    counts = networks.counts("resnet-50", 1000, (224, 224, 3))
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in model.layers[1:])
    assert counts.weights == model.count_params() and outputs / 5 < counts.activations < outputs


def test_small_networks_counts():
    assert trainable(networks.build("small_conv", 10, (8, 8, 1))) == (
        9 * 32 + 9 * 32 * 64 + 9 * 64 * 96 + 2 * (32 + 64 + 96) + 96 * 10 + 10) == 75_370
    assert trainable(networks.build("mlp", 2, (2,))) == 2 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2
    assert trainable(networks.build("mlp-5", 3, (4, 4, 1))) == 16 * 5 + 5 + 5 * 3 + 3
    assert trainable(networks.build("rbf", 2, (2,))) == 570 * 2 + 2


@pytest.mark.slow
def test_small_conv_learns_digits():
    from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 8 - 1).astype("float32")
    model = networks.build("small_conv", 10, (8, 8, 1), dropout=0.2, batch_norm_decay=0.9)
    model.compile(tf.keras.optimizers.SGD(0.05, momentum=0.9), metrics=["accuracy"],
                  loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tf.keras.utils.set_random_seed(0)
    model.fit(images[:1000], labels[:1000], batch_size=50, epochs=3, verbose=0)
    assert model.evaluate(images[1000:], labels[1000:], verbose=0)[1] > 0.85


def test_initial_scales():
    model = networks.build("wrn-10-4", 10, (32, 32, 3), seed=1)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            size, _, _, fan_out = kernel.shape
            expected = np.sqrt(2.0 / (size * size * fan_out))
            # The standard deviation of n normal draws has a standard error of 1 / sqrt(2 n).
            assert abs(kernel.std() / expected - 1) < 5 / np.sqrt(2 * kernel.size), layer.name
            assert np.abs(kernel).max() > 2.5 * expected, f"{layer.name} is truncated"
    kernel, bias = model.get_layer("logits").get_weights()
    assert 0.95 < np.abs(kernel).max() * np.sqrt(256) <= 1.0 and not bias.any()


def fingerprint(model):
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()


@pytest.mark.slow
def test_initial_weights_are_a_function_of_the_seed_in_any_process():
    code = """
import mpl_tf, tensorflow as tf
from tests.networks.test_networks import SMALL, fingerprint
tf.random.set_seed(77)
for name, shape in reversed(SMALL):
    mpl_tf.networks.mlp(3, (2,)), tf.keras.layers.Dense(2)(tf.ones([1, 1]))
    print(fingerprint(mpl_tf.networks.build(name, 4, shape, dropout=0.5, role="teacher", seed=9)))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert result.returncode == 0, result.stderr
    here = [fingerprint(networks.build(name, 4, shape, seed=9)) for name, shape in SMALL]
    assert result.stdout.split() == here[::-1]


def test_initial_weights_are_the_same_on_every_tensorflow():
    model = networks.build("small_conv", 10, (8, 8, 1), seed=0)
    np.testing.assert_allclose(model.get_layer("conv1").kernel[0, 0, 0, :3],
                               [0.014823488, 0.08039627, -0.07793099], rtol=1e-5)
    np.testing.assert_allclose(model.get_layer("logits").kernel[0, :3],
                               [0.07042246, -0.06290009, 0.08785678], rtol=1e-5)


def test_seeds_and_layers_differ():
    models = [networks.build("wrn-16-1", 4, (8, 8, 3), seed=seed) for seed in (0, 1)]
    kernels = [w.numpy() for m in models for w in m.trainable_weights if w.shape.rank == 4]
    assert len({k.tobytes() for k in kernels}) == len(kernels) == 2 * 15
    assert fingerprint(networks.mlp(2)) != fingerprint(networks.mlp(2))     # without a seed


@pytest.mark.parametrize("name,shape", SMALL)
def test_names_do_not_depend_on_what_was_built_before(name, shape):
    models = [networks.build(name, 4, shape, role="teacher") for _ in range(2)]
    names = [[layer.name for layer in model.layers] for model in models]
    assert names[0] == names[1] and len(set(names[0])) == len(names[0])
    assert [w.name for w in models[0].weights] == [w.name for w in models[1].weights]
    assert models[0].name == "teacher"
    assert layers.not_replayable(models[0]) == []


@pytest.mark.parametrize("name,shape", SMALL)
def test_mixed_precision_has_float32_logits(name, shape):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = networks.build(name, 4, shape, dropout=0.2)
    logits = model(inputs(shape), training=True)
    assert logits.dtype == tf.float32 and np.isfinite(logits).all()
    assert {tf.as_dtype(w.dtype) for w in model.weights} == {tf.float32}
    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert computed.pop("logits") == "float32"
    for layer in ("group1_block1_conv1", "conv1", "hidden1"):
        assert computed.get(layer, "bfloat16") == "bfloat16"
    if name == "rbf":
        assert computed["features"] == "float32"        # bfloat16 would move the points


@pytest.mark.parametrize("how", [
    "policy", pytest.param("floatx", marks=tiny.keras_2_only)])     # Keras 3's policy stays
@pytest.mark.parametrize("name,shape", SMALL)
def test_float64_throughout(name, shape, how):
    if how == "policy":
        tf.keras.mixed_precision.set_global_policy("float64")
    else:
        tf.keras.mixed_precision.set_global_policy(None)
        tf.keras.backend.set_floatx("float64")
    model = networks.build(name, 4, shape, dropout=0.2)
    assert {layer.compute_dtype for layer in model.layers} == {"float64"}
    assert {tf.as_dtype(w.dtype) for w in model.weights} == {tf.float64}
    for v in model.trainable_variables:
        v.assign(v + 0.1)
    x = inputs(shape).astype("float64")
    # A change far below float32's resolution reaches the logits.
    logits = model(x).numpy()
    change = np.abs(model(x * (1 + 1e-10)) - logits).max() / np.abs(logits).max()
    assert logits.dtype == np.float64 and 0.0 < change < 1e-8


@pytest.mark.parametrize("name", ["wrn-10-1", "small_conv"])
def test_batch_norm_decay_and_epsilon(name):
    model = networks.build(name, 4, (8, 8, 3), batch_norm_decay=0.75)
    norms = [x for x in model.layers if isinstance(x, tf.keras.layers.BatchNormalization)]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.75, 1e-3)}
    first = norms[0]
    before = tf.keras.Model(model.input, first.input)(images := inputs((8, 8, 3), 64))
    model(images, training=True)
    np.testing.assert_allclose(first.moving_mean, 0.25 * np.mean(before, (0, 1, 2)), rtol=1e-3,
                               atol=1e-6)
    np.testing.assert_allclose(first.moving_variance, 0.75 + 0.25 * np.var(before, (0, 1, 2)),
                               rtol=1e-3)


@pytest.mark.parametrize("name,shape", SMALL)
def test_dropout_stands_at_the_prediction(name, shape):
    model = networks.build(name, 4, shape, dropout=0.5)
    assert [layer.name for layer in model.layers[-2:]] == ["dropout", "logits"]
    assert isinstance(model.layers[-2], layers.Dropout) and model.layers[-2].rate == 0.5
    kernel = model.layers[-1].kernel        # zero in "rbf"
    kernel.assign(np.arange(np.prod(kernel.shape)).reshape(kernel.shape))
    x = inputs(shape)
    np.testing.assert_array_equal(model(x), model(x))
    passes = []
    for seed in (1, 2, 1):
        with layers.random_seed(tf.constant([seed, 0])):
            passes.append(model(x, training=True).numpy())
    np.testing.assert_array_equal(passes[0], passes[2])
    assert np.any(passes[0] != passes[1])


@pytest.mark.parametrize("name,shape", SMALL)
def test_saving_round_trips(name, shape, tmp_path):
    model = networks.build(name, 4, shape, dropout=0.3, batch_norm_decay=0.9)
    for v in model.variables:
        v.assign(v + 0.01)
    path = str(tmp_path / "student.keras")
    model.save(path)
    tf.keras.backend.clear_session()
    again = tf.keras.models.load_model(path)
    np.testing.assert_array_equal(model(x := inputs(shape)), again(x))
    assert again.name == "student"
    assert [x.get_config() for x in again.layers] == [x.get_config() for x in model.layers]


def test_gaussian_features():
    tf.keras.mixed_precision.set_global_policy("float64")
    width = rbf.TWO_MOONS_WIDTH
    layer = networks.build("rbf", 2, (2,)).get_layer("features")
    assert layer.centres.shape == (570, 2)
    steps = [np.diff(np.unique(layer.centres[:, axis])) for axis in (0, 1)]
    np.testing.assert_allclose(np.concatenate(steps), width)
    points = np.random.default_rng(0).uniform((-1.2, -0.7), (2.2, 1.2), (50, 2))
    features = layer(points).numpy()
    np.testing.assert_allclose((features ** 2).sum(-1), 1.0, rtol=1e-12)
    squares = ((points[:, None] - layer.centres) ** 2).sum(-1)
    # Away from the grid's edge sum_c exp(-|x-c|^2/w^2) is pi: the scale is the same for all points.
    expected = np.exp(-squares / (2 * width ** 2)) / np.sqrt(np.pi)
    np.testing.assert_allclose(features, expected, atol=2e-3)


def test_gaussian_features_far_away_are_finite():
    model = networks.build("rbf", 2, (2,))
    points = tf.constant([[1e3, -1e3], [40.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.log_softmax(model(points))[:, 0])
    gradient = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(g).all() for g in gradient) and np.any(gradient[0])
    assert not any(w.numpy().any() for w in model.weights)      # starts at zero


def test_gaussian_features_cover_a_given_range():
    model = networks.rbf_linear(3, (3,), data_range=((0, 0, 0), (1, 1, 2)), width=0.5)
    low, high = (f(model.get_layer("features").centres, 0) for f in (np.min, np.max))
    np.testing.assert_allclose(low, -1.5)
    assert (high >= (2.5, 2.5, 3.5)).all() and (high < (3.0, 3.0, 4.0)).all()


@pytest.mark.parametrize("arguments,message", [
    (("wrn28", 10, (8, 8, 3)), "unknown network 'wrn28': available are .*mlp-SIZE.*rbf.*resnet-50.*wrn-28-2"),
    (("resnet-18", 10, (8, 8, 3)), "unknown network 'resnet-18'"),
    (("wrn-27-2", 10, (8, 8, 3)), "depth has to be 6 n . 4"),
    (("wrn-4-2", 10, (8, 8, 3)), "depth has to be 6 n . 4"),
    (("wrn-28-0", 10, (8, 8, 3)), "width has to be at least 1"),
    (("wrn-28-2", 10, (2,)), "takes images"),
    (("wrn-28-2", 1, (8, 8, 3)), "num_classes=1"),
    (("small_conv", 10, (8, 8, 1), 1.0), "Dropout rate 1.0"),
    (("small_conv", 10, (8, 8, 1), 0.0, 1.0), "batch_norm_decay=1.0"),
    (("mlp-0", 10, (2,)), "at least 1"),
    (("rbf", 10, (8, 8, 1)), "takes points"),
    (("rbf", 10, (5,)), "needs data_range"),
    (("rbf", 10, (2,), 0.0, 0.99, "student", 0, ((0,), (1,))), "corners of shapes"),
    (("rbf", 10, (2,), 0.0, 0.99, "student", 0, ((0, 0), (999, 999))), "at most 100000"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        networks.build(*arguments)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------ how large, without building it

@pytest.mark.parametrize("name, shape, classes", [
    ("mlp", (2,), 3), ("mlp-5-7", (4, 4, 1), 2), ("mlp-9", (10,), 10),
    ("calibration-6", (5,), 5), ("wrn-10-1", (8, 8, 1), 3), ("wrn-16-2", (9, 9, 3), 10),
    ("small_conv", (9, 7, 1), 4)])
def test_counts_are_those_of_the_network(name, shape, classes):
    counts, model = networks.counts(name, classes, shape), networks.build(name, classes, shape)
    assert counts.weights == model.count_params()
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in model.layers[1:])
    assert outputs / 5 < counts.activations <= outputs


def test_networks_that_no_machine_holds_are_refused_at_once():
    for name, words in (
            ("mlp-99999999999", "a hidden layer of 99999999999 units: .*at most 100000000"),
            ("mlp" + "-1" * 1001, "1001 hidden layers: expected at most 1000"),
            ("mlp-" + "9" * 5000, "a hidden layer of 9{20} units"),
            ("wrn-100000000-1", "depth 100000000: expected at most 1000"),
            ("wrn-28-100000000", "width 100000000: expected at most 1000"),
            ("calibration-99999999999", "units: expected at least 1 and at most")):
        with pytest.raises(ValueError, match=words) as caught:
            networks.build(name, 10, (8, 8, 3))
        assert len(str(caught.value)) < 200
    assert networks.counts("rbf", 2, (2,)) is None

"""mpl_tf.layers: dropout whose masks can be drawn again."""

import itertools
import zlib

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.networks import layers
from tests import tiny

SEED = tf.constant([3, 5], tf.int32)


def dropped(name="dropout", seed=SEED, rate=0.4, shape=(64, 32), dtype="float32"):
    layer = layers.ReplayableDropout(rate, name=name, dtype=dtype)
    with layers.random_seed(seed):
        return layer(tf.ones(shape, dtype), training=True).numpy()


def expected(name, seed, rate, shape, replica=None):
    """The mask from TensorFlow's stateless functions alone."""
    fold_in = tf.random.experimental.stateless_fold_in
    seed = fold_in(seed, zlib.crc32(name.encode()) & 0x7FFFFFFF, alg="philox")
    if replica is not None:
        seed = fold_in(seed, replica, alg="philox")
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox").numpy()
    return ((bits.astype("float64") + 2 ** 31) / 2 ** 32 >= rate) / (1.0 - rate)


def test_mask_is_a_function_of_seed_and_name():
    first = dropped()
    np.testing.assert_allclose(first, expected("dropout", SEED, 0.4, (64, 32)), rtol=1e-6)
    np.testing.assert_array_equal(first, dropped())
    assert np.mean(first != dropped(name="other")) > 0.3
    assert np.mean(first != dropped(seed=tf.constant([3, 6]))) > 0.3
    assert np.mean(first != dropped(seed=tf.constant([4, 5]))) > 0.3


def test_replay_inside_one_function():
    layer = layers.ReplayableDropout(0.5, name="dropout")

    @tf.function
    def passes(x, seed):
        outputs = []
        for this_seed in (seed, seed + 1, seed):
            with layers.random_seed(this_seed):
                outputs.append(layer(x, training=True))
        return outputs

    x = tf.random.stateless_normal([32, 16], [0, 1])
    first, other, again = passes(x, SEED)
    np.testing.assert_array_equal(first, again)
    assert np.any(first.numpy() != other.numpy())
    with layers.random_seed(SEED):
        np.testing.assert_array_equal(first, layer(x, training=True))   # eager agrees with traced


@pytest.mark.parametrize("shape", [(64, 8), (7, 3)])
def test_compiled_masks_are_the_same(shape):
    layer = layers.ReplayableDropout(0.5, name="dropout")

    def drop(x, seed):      # the seed is an argument: a constant would be folded before XLA sees it
        with layers.random_seed(seed):
            return layer(x, training=True)

    compiled = tf.function(drop, jit_compile=True)
    np.testing.assert_array_equal(drop(tf.ones(shape), SEED), compiled(tf.ones(shape), SEED))


def test_contexts_nest_and_end():
    layer = layers.ReplayableDropout(0.5, name="dropout")
    x = tf.ones([16, 16])
    with layers.random_seed(SEED):
        outer = layer(x, training=True)
        with layers.random_seed(SEED + 1):
            inner = layer(x, training=True)
        after = layer(x, training=True)
    with layers.random_seed(SEED):
        again = [layer(x, training=True) for _ in range(2)]
    np.testing.assert_array_equal(again, [outer, after])    # the inner pass shifted nothing
    masks = [mask.numpy() for mask in (outer, inner, after)]
    assert all(np.any(one != other) for one, other in itertools.combinations(masks, 2))
    free = [layer(x, training=True).numpy() for _ in range(2)]      # no pass: a new mask each call
    assert np.any(free[0] != free[1])
    tf.random.set_seed(1)
    once = layer(x, training=True).numpy()
    tf.random.set_seed(1)
    np.testing.assert_array_equal(once, layer(x, training=True))


def test_a_layer_called_again_in_a_pass_draws_other_masks_and_the_same_in_its_replay():
    layer, other = (layers.ReplayableDropout(0.5, name="twice") for _ in range(2))
    passes = []
    for _ in range(2):
        with layers.random_seed(SEED):
            passes.append([one(tf.ones([64]), training=True).numpy() for one in (layer, layer, other)])
    np.testing.assert_array_equal(*passes)
    assert all(np.any(one != two) for one, two in itertools.combinations(passes[0], 2))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.65])
def test_rate_and_scale(rate):
    outputs = dropped(rate=rate, shape=(500, 400))
    kept = outputs != 0.0
    # Five standard errors of 200,000 draws.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    np.testing.assert_allclose(outputs[kept], 1 / (1 - rate), rtol=1e-6)


def test_nothing_happens_at_inference_or_at_rate_zero():
    x = tf.random.stateless_normal([8, 8], [0, 1])
    layer = layers.ReplayableDropout(0.9, name="dropout")
    with layers.random_seed(SEED):
        for training in (False, 0, None):
            np.testing.assert_array_equal(x, layer(x, training=training))
        np.testing.assert_array_equal(x, layer(x, training=tf.constant(False)))
        without = layers.ReplayableDropout(0.0, name="zero")
        np.testing.assert_array_equal(x, without(x, training=True))
    masks = []
    for training in (True, tf.constant(True)):
        with layers.random_seed(SEED):
            masks.append(layer(x, training=training))
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_masks_agree_across_precisions(dtype):
    outputs = dropped(dtype=dtype)
    assert outputs.dtype == tf.as_dtype(dtype).as_numpy_dtype
    np.testing.assert_array_equal(outputs != 0, dropped() != 0)


def test_gradient_goes_through_the_same_mask():
    layer = layers.ReplayableDropout(0.3, name="dropout")
    x = tf.random.stateless_normal([32, 8], [0, 1])

    @tf.function
    def value_and_gradient(x):
        with tf.GradientTape() as tape, layers.random_seed(SEED):
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x)

    y, gradient = value_and_gradient(x)
    np.testing.assert_allclose(y, gradient * x, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected("dropout", SEED, 0.3, (32, 8)), rtol=1e-6)


def test_replicas_draw_masks_of_their_own():
    strategy = tiny.two_replicas()
    with strategy.scope():
        layer = layers.ReplayableDropout(0.4, name="dropout")

    @tf.function
    def step():
        def replica():
            with layers.random_seed(SEED):
                return layer(tf.ones([16, 8]), training=True)
        return strategy.run(replica)

    masks = strategy.experimental_local_results(step())
    assert len(masks) == 2
    for replica, mask in enumerate(masks):
        np.testing.assert_allclose(
            mask, expected("dropout", SEED, 0.4, (16, 8), replica), rtol=1e-6)


@tiny.keras_2_only      # tests/method/test_layers_of_keras_3.py
def test_not_replayable_names_what_keras_draws():
    block = tf.keras.Sequential(
        [tf.keras.layers.Dense(3), tf.keras.layers.Dropout(0.2, name="deep")])
    image = tf.keras.Input([4])
    x = layers.ReplayableDropout(0.5, name="ours")(block(image))
    x = tf.keras.layers.GaussianNoise(0.1, name="noise")(tf.keras.layers.Dropout(0.0)(x))
    inner = tf.keras.Model(image, x)
    outer = tf.keras.Sequential([inner, tf.keras.layers.Dense(2)])
    assert sorted(layers.not_replayable(outer)) == ["deep (Dropout)", "noise (GaussianNoise)"]


@tiny.keras_2_only
def test_recurrent_layers_are_named_only_with_dropout():
    def model(**kwargs):
        return tf.keras.Sequential([tf.keras.Input([5, 3]), tf.keras.layers.LSTM(2, **kwargs)])

    assert layers.not_replayable(model()) == []
    assert layers.not_replayable(model(recurrent_dropout=0.1))


def test_configuration_round_trips_and_rates_are_checked():
    layer = layers.ReplayableDropout(0.25, name="here")
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert (type(again), again.rate, again.name) == (layers.ReplayableDropout, 0.25, "here")
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"outside \[0, 1\)"):
            layers.ReplayableDropout(rate)


def test_the_name_of_earlier_versions_is_another_name_of_the_class():
    """In programs, and in what they saved: of .keras files, and of HDF5 files and SavedModels."""
    assert layers.Dropout is layers.ReplayableDropout
    config = {"name": "here", "rate": 0.25, "noise_shape": None}
    for extra in ({"module": "mpl_tf.layers", "class_name": "Dropout",
                   "registered_name": "mpl_tf>Dropout"}, {"class_name": "mpl_tf>Dropout"}):
        again = tf.keras.layers.deserialize({**extra, "config": config})
        assert (type(again), again.rate, again.name) == (layers.ReplayableDropout, 0.25, "here")
    saved = tf.keras.layers.serialize(again)
    assert saved["registered_name"] == "mpl_tf>ReplayableDropout"


def test_masks_of_rows_are_those_of_the_whole_batch():
    layer = layers.ReplayableDropout(0.5, name="dropout")
    ones, seed = tf.ones([12, 3, 3]), tf.constant([1, 2])
    with layers.random_seed(seed):
        whole = layer(ones, training=True).numpy()
    with layers.random_seed(seed), layers.rows([4], 2):
        np.testing.assert_array_equal(layer(ones[:2], training=True), whole[4:6])
    with layers.random_seed(seed), layers.rows([2, 8], 2):      # of two views, one after the other
        np.testing.assert_array_equal(layer(ones[:4], training=True),
                                      np.concatenate([whole[2:4], whole[8:10]]))
    with layers.random_seed(seed), layers.rows([4], 2):     # rows of several numbers, folded into the batch
        folded = tf.reshape(layer(tf.ones([6, 3]), training=True), [2, 3, 3])
        np.testing.assert_array_equal(folded, whole[4:6])
    with layers.random_seed(seed):
        np.testing.assert_array_equal(layer(ones, training=True), whole)
    for noise_shape, same in (((None, 1, 3), False), ((1, 3, 3), True)):    # of examples, of all alike
        odd = layers.ReplayableDropout(0.5, noise_shape, name="odd")
        with layers.random_seed(seed):
            whole = odd(ones, training=True).numpy()
        with layers.random_seed(seed), layers.rows([8], 4):
            np.testing.assert_array_equal(odd(ones[:4], training=True), whole[8:])
        assert np.array_equal(whole[:4], whole[8:]) == same

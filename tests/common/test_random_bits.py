"""Philox against TensorFlow's own, splitmix64 against NumPy: bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import random_bits

SEEDS = [(0, 0), (1, 2), (-1, 5), (2 ** 31 - 1, -2 ** 31), (-7, -9)]
MODES = {"eager": lambda f: f, "traced": tf.function, "compiled": tf.function(jit_compile=True)}


@pytest.mark.parametrize("mode", MODES)
def test_bits(mode):
    for shape in ([], [1], [7], [3, 5, 2]):
        ours = MODES[mode](lambda seed: random_bits.philox_bits(shape, seed))
        for seed in SEEDS:
            np.testing.assert_array_equal(
                ours(tf.constant(seed)),
                tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox"))


@pytest.mark.parametrize("mode", MODES)
def test_fold_in(mode):
    ours = MODES[mode](random_bits.fold_in)
    for seed in SEEDS:
        for number in (0, 3, 2 ** 31 - 1):
            np.testing.assert_array_equal(
                ours(tf.constant(seed), tf.constant(number)),
                tf.random.experimental.stateless_fold_in(seed, number, alg="philox"))


def test_the_shape_may_be_known_only_when_it_runs():
    ours = tf.function(lambda x: random_bits.philox_bits(tf.shape(x), tf.constant([1, 2])),
                       input_signature=[tf.TensorSpec([None, 3])])
    np.testing.assert_array_equal(
        ours(tf.zeros([4, 3])),
        tf.random.stateless_uniform([4, 3], [1, 2], None, None, tf.int32, alg="philox"))


# splitmix64

U64 = np.uint64


def numpy_bits(seed, *counters):
    def mix(x):
        x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
        return x ^ (x >> U64(31))
    golden = U64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        key = mix(np.asarray([seed % 2 ** 64], U64) + golden)
        for counter in counters:
            key = mix(key + (np.asarray(counter).astype(U64) + U64(1)) * golden)
    return key


def test_mix_is_splitmix64():
    # The first three outputs of the reference implementation for the state 1234567.
    state = 1234567 + 0x9E3779B97F4A7C15 * np.arange(1, 4).astype(object)
    states = tf.constant(np.array([s % 2 ** 64 for s in state], U64))
    assert random_bits.mix(states).numpy().tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 7, -1, 2 ** 63 + 5])
def test_uniforms_equal_numpy_bit_for_bit(seed):
    examples, epochs = np.arange(100) * 977, np.arange(100) % 7
    expected = numpy_bits(seed, 3, examples[:, None], epochs[:, None], np.arange(11)[None])
    expected = (expected >> U64(40)).astype(np.float32) * np.float32(2.0 ** -24)
    traced = tf.function(lambda e, p: random_bits.uniforms(seed, e, p, 11, 3))
    result = traced(tf.constant(examples), tf.constant(epochs)).numpy()
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() < 1


def test_uniforms_are_uniform_and_independent():
    examples = tf.range(20000, dtype=tf.int64)
    u = random_bits.uniforms(0, examples, examples * 0, 4, 1).numpy()
    others = [random_bits.uniforms(s, examples, examples * 0 + e, 1, t).numpy()
              for s, e, t in ((1, 0, 1), (0, 1, 1), (0, 0, 2))]
    everything = np.concatenate([u, *others], axis=1)
    counts = np.stack([np.histogram(c, 20, (0, 1))[0] for c in everything.T])
    assert (((counts - 1000) ** 2 / 1000).sum(axis=1) < 50).all()    # chi-square, 19 freedoms
    correlation = np.corrcoef(everything.T) - np.eye(7)
    assert np.abs(correlation).max() < 0.04


@pytest.mark.parametrize("compiled", [None, False, pytest.param(True, marks=pytest.mark.slow)])
def test_any_part_of_a_tensor_has_its_bits(compiled):
    part = random_bits.philox_part
    if compiled is not None:
        part = tf.function(part, jit_compile=compiled)
    seed = tf.constant([3, -5])
    whole = random_bits.philox_bits([7, 5, 3], seed).numpy().ravel()
    for first, count in ((0, 105), (1, 104), (15, 30), (34, 1), (6, 0), (103, 2)):
        np.testing.assert_array_equal(part(first, count, seed), whole[first:first + count])
    far = 2 ** 40 + 2   # counters beyond 32 bits are those of Philox still
    np.testing.assert_array_equal(part(tf.constant(far, tf.int64), 6, seed)[2:],
                                  part(tf.constant(far + 2, tf.int64), 4, seed))

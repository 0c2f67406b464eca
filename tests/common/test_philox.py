"""The streams are TensorFlow's own, bit for bit, eagerly, traced and compiled."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import philox

SEEDS = [(0, 0), (1, 2), (-1, 5), (2 ** 31 - 1, -2 ** 31), (-7, -9)]
MODES = {"eager": lambda f: f, "traced": tf.function, "compiled": tf.function(jit_compile=True)}


@pytest.mark.parametrize("mode", MODES)
def test_bits(mode):
    for shape in ([], [1], [7], [3, 5, 2]):
        ours = MODES[mode](lambda seed: philox.bits(shape, seed))
        for seed in SEEDS:
            np.testing.assert_array_equal(
                ours(tf.constant(seed)),
                tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox"))


@pytest.mark.parametrize("mode", MODES)
def test_fold_in(mode):
    ours = MODES[mode](philox.fold_in)
    for seed in SEEDS:
        for number in (0, 3, 2 ** 31 - 1):
            np.testing.assert_array_equal(
                ours(tf.constant(seed), tf.constant(number)),
                tf.random.experimental.stateless_fold_in(seed, number, alg="philox"))


def test_the_shape_may_be_known_only_when_it_runs():
    ours = tf.function(lambda x: philox.bits(tf.shape(x), tf.constant([1, 2])),
                       input_signature=[tf.TensorSpec([None, 3])])
    np.testing.assert_array_equal(
        ours(tf.zeros([4, 3])),
        tf.random.stateless_uniform([4, 3], [1, 2], None, None, tf.int32, alg="philox"))

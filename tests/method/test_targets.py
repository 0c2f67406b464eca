"""Section 2's targets against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.method import targets
from tests.tiny import log_softmax

LOGITS = np.random.default_rng(0).normal(size=(6, 4)) * 3
LABELS = np.array([0, 3, 1, 1, 2, 0])


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype("int32"), LABELS.astype("uint8")])
def test_one_hot(labels):
    np.testing.assert_array_equal(targets.one_hot(tf.constant(labels), 4, tf.float64),
                                  np.eye(4)[LABELS])


@pytest.mark.parametrize("label", [4, 99, -1])
def test_a_label_out_of_range_is_not_a_number(label):
    probs = targets.one_hot(tf.constant([1, label]), 4).numpy()
    np.testing.assert_array_equal(probs[0], [0, 1, 0, 0])
    assert np.all(np.isnan(probs[1]))
    for smoothed in (0.0, 0.1):
        loss = targets.cross_entropy(
            targets.smooth(tf.constant([1, label]), 4, smoothed), tf.zeros([2, 4]))
        assert np.isnan(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.15, 0.9])
def test_label_smoothing(smoothing):
    probs = targets.smooth(tf.constant(LABELS), 4, smoothing, tf.float64).numpy()
    expected = np.full((6, 4), smoothing / 4)
    expected[np.arange(6), LABELS] = 1 - smoothing + smoothing / 4
    np.testing.assert_allclose(probs, expected, rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-14)


def test_hard_takes_the_largest_and_the_first_of_equals():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 5.0], [0.0, 0.0, 0.0], [-9.0, -1.0, -1.0]])
    np.testing.assert_array_equal(targets.hard(tf.constant(logits)), np.eye(3)[[1, 0, 0, 1]])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 5.0])
def test_soft(temperature):
    np.testing.assert_allclose(targets.soft(tf.constant(LOGITS), temperature),
                               np.exp(log_softmax(LOGITS / temperature)), rtol=1e-12)


def test_temperature_sharpens_below_one_and_smooths_above():
    sharp, plain, smooth = (float(targets.entropy(targets.soft(tf.constant(LOGITS), temperature)))
                            for temperature in (0.5, 1.0, 2.0))
    assert sharp < plain < smooth


def test_cross_entropy_and_its_gradients():
    probs = np.exp(log_softmax(LOGITS[::-1]))
    q, logits = tf.constant(probs), tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch([q, logits])
        loss = targets.cross_entropy(q, logits)
    by_q, by_logits = tape.gradient(loss, [q, logits])
    np.testing.assert_allclose(loss, -np.mean(np.sum(probs * log_softmax(LOGITS), 1)), rtol=1e-13)
    np.testing.assert_allclose(by_q, -log_softmax(LOGITS) / 6, rtol=1e-12)
    np.testing.assert_allclose(by_logits, (np.exp(log_softmax(LOGITS)) - probs) / 6, atol=1e-14)


def test_cross_entropy_has_the_mixed_derivative():
    """d/dq of (u . dCE/dlogits) = -(u - sum_c p_c u_c) / B; the fused op would return zero."""
    u = np.random.default_rng(1).normal(size=LOGITS.shape)
    probs = np.exp(log_softmax(LOGITS))
    q, logits = tf.constant(np.full((6, 4), 0.25)), tf.constant(LOGITS)
    with tf.GradientTape() as outer:
        outer.watch(q)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            loss = targets.cross_entropy(q, logits)
        gradient = inner.gradient(loss, logits)
    mixed = outer.gradient(gradient, q, output_gradients=tf.constant(u))
    expected = -(u - np.sum(probs * u, axis=1, keepdims=True)) / 6
    np.testing.assert_allclose(mixed, expected, atol=1e-14)


def test_large_logits_stay_finite():
    logits = tf.constant([[1e4, -1e4, 0.0]])
    assert np.isfinite(targets.cross_entropy(targets.soft(logits), logits))
    assert float(targets.entropy(targets.soft(logits))) == 0.0


def test_half_precision_logits_are_widened_and_others_kept():
    logits = tf.constant(LOGITS)
    for given, expected in (("bfloat16", "float32"), ("float16", "float32"),
                            ("float32", "float32"), ("float64", "float64")):
        cast = tf.cast(logits, given)
        assert targets.full_precision(cast).dtype.name == expected
        assert targets.soft(cast).dtype.name == expected
        assert targets.cross_entropy(targets.soft(logits), cast).dtype.name == expected


def test_entropy_and_agreement():
    probs = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    entropy = -np.mean([2 * 0.5 * np.log(0.5), 0.0, sum(p * np.log(p) for p in probs[2])])
    np.testing.assert_allclose(targets.entropy(tf.constant(probs)), entropy, rtol=1e-13)
    others = tf.constant([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.0, 0.1, 0.9]], tf.float64)
    np.testing.assert_allclose(targets.agreement(tf.constant(probs), others), 2 / 3, rtol=1e-6)

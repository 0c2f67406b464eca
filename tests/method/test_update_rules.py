"""Appendix B's rules against Keras's own updates, and their derivatives against tapes and numbers."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.method import update_rules
from tests import tiny
from tests.finite_differences import OPTIMIZERS

RNG = np.random.default_rng(0)


def _warmed(name, steps, shapes=((3, 2), (4,))):
    """A float64 optimizer after some steps, its variables, and gradients for the coming one."""
    tiny.use_float64()
    variables = [tf.Variable(RNG.normal(size=shape)) for shape in shapes]
    optimizer = OPTIMIZERS[name]()
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply_gradients([(tf.constant(RNG.normal(size=v.shape)), v) for v in variables])
    return optimizer, variables, [tf.constant(RNG.normal(size=v.shape)) for v in variables]


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_deltas_are_what_keras_adds(name, steps):
    optimizer, variables, gradients = _warmed(name, steps)
    deltas = update_rules.Rule(optimizer, variables).deltas(gradients)
    before = [variable.numpy() for variable in variables]
    optimizer.apply_gradients(zip(gradients, variables))
    for delta, old, new in zip(deltas, before, variables):
        np.testing.assert_allclose(delta, new.numpy() - old, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_vjp_is_the_derivative_of_deltas(name, steps):
    optimizer, variables, gradients = _warmed(name, steps)
    rule = update_rules.Rule(optimizer, variables)
    cotangents = [tf.constant(RNG.normal(size=v.shape)) for v in variables]
    with tf.GradientTape() as tape:
        tape.watch(gradients)
        deltas = rule.deltas(gradients)
    expected = tape.gradient(deltas, gradients, output_gradients=cotangents)
    for w, reference in zip(rule.vjp(gradients, cotangents), expected):
        np.testing.assert_allclose(w, reference, rtol=1e-9, atol=1e-14)


def test_hand_worked_numbers():
    """One weight, worked on paper: g = 2, v = 3, rate 0.1."""
    number = lambda x: tf.constant(x, tf.float64)
    g, v, lr = number(2.0), number(3.0), number(0.1)
    # momentum 0.5, m = 1: m' = 0.5 - 0.2 = 0.3; Nesterov 0.5 * 0.3 - 0.2 = -0.05.
    assert update_rules.sgd(g, lr).numpy() == pytest.approx(-0.2)
    assert update_rules.sgd(g, lr, 0.5, number(1.0)).numpy() == pytest.approx(0.3)
    assert update_rules.sgd(g, lr, 0.5, number(1.0), True).numpy() == pytest.approx(-0.05)
    assert update_rules.sgd_vjp(v, lr, 0.5, True).numpy() == pytest.approx(-0.45)
    # rho 0.75, r = 4: r' = 3 + 1 = 4, eps = 0: -0.1 * 2 / 2 = -0.1; w = -0.1 * 3 / 8 * 3.
    assert update_rules.rmsprop(g, lr, number(4.0), 0.75, 0.0).numpy() == pytest.approx(-0.1)
    assert update_rules.rmsprop_vjp(g, v, lr, number(4.0), 0.75, 0.0).numpy() == pytest.approx(
        -0.1125)
    # b1 = 0.5, m = 0: m' = 1; b2 = 0.75, s = 4: s' = 4; -0.1 * 1 / 2, and
    # w = -0.1 (0.5 / 2 - 1 * 0.25 * 2 / (2 * 4)) 3 = -0.1 * 0.1875 * 3.
    args = (lr, number(0.0), number(4.0), 0.5, 0.75, 0.0)
    assert update_rules.adam(g, *args).numpy() == pytest.approx(-0.05)
    assert update_rules.adam_vjp(g, v, *args).numpy() == pytest.approx(-0.05625)


def test_adam_where_the_second_moment_is_zero():
    """g = 0 at zero slots: w = -alpha (1 - b1) / eps v, finite."""
    zero = tf.zeros([], tf.float64)
    w = update_rules.adam_vjp(zero, tf.constant(2.0, tf.float64), 0.1, zero, zero, 0.9, 0.999, 1e-7)
    assert w.numpy() == pytest.approx(-0.1 * 0.1 / 1e-7 * 2.0)


def test_rate_is_that_of_the_coming_step():
    optimizer, variables, gradients = _warmed("schedule", 2)
    assert float(update_rules.Rule(optimizer, variables).learning_rate) == pytest.approx(0.125)
    last = 0.125 if tiny.KERAS_3 else 0.25      # Keras 2 shows the last step's
    assert float(optimizer.learning_rate) == pytest.approx(last)


@pytest.mark.parametrize("make, named", [
    (lambda: tf.keras.optimizers.Adagrad(0.1), "Adagrad"),
    (lambda: tf.keras.optimizers.AdamW(0.1), "AdamW"),
    pytest.param(lambda: tf.keras.optimizers.legacy.SGD(0.1), "legacy", marks=tiny.keras_2_only),
    (lambda: tf.keras.optimizers.SGD(0.1, clipnorm=1.0), "clipnorm=1.0"),
    (lambda: tf.keras.optimizers.SGD(0.1, clipvalue=1.0), "clipvalue=1.0"),
    (lambda: tf.keras.optimizers.SGD(0.1, global_clipnorm=1.0), "global_clipnorm=1.0"),
    (lambda: tf.keras.optimizers.SGD(0.1, weight_decay=0.1), "weight_decay=0.1"),
    (lambda: tf.keras.optimizers.SGD(0.1, use_ema=True), "use_ema=True"),
    (lambda: tf.keras.optimizers.Adam(0.1, amsgrad=True), "amsgrad=True"),
    (lambda: tf.keras.optimizers.RMSprop(0.1, centered=True), "centered=True"),
])
def test_what_is_not_differentiated_is_refused_by_name(make, named):
    with pytest.raises(ValueError, match=named) as error:
        update_rules.check_optimizer(make())
    assert "\n" not in str(error.value)

"""mpl_tf.schedules: warm-up, then cosine."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.method.schedules import WarmupCosine, WarmupExponential


def by_hand(step, rate, total, warmup):
    if step < warmup:
        return rate * (step + 1) / warmup
    if step >= total:
        return 0.0
    return rate * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def test_worked_values():
    schedule = WarmupCosine(0.4, total_steps=12, warmup_steps=4)
    values = [float(schedule(step)) for step in (0, 1, 2, 3, 4, 6, 8, 10, 12, 13)]
    root = math.sqrt(0.5)
    np.testing.assert_allclose(
        values, [0.1, 0.2, 0.3, 0.4, 0.4, 0.2 * (1 + root), 0.2, 0.2 * (1 - root), 0.0, 0.0],
        rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "total,warmup", [(1_000_000, 2_000), (50, 0), (7, 7), (1, 0), (1, 1), (9, 1)])
def test_against_the_formula(total, warmup):
    schedule = WarmupCosine(0.3, total, warmup)
    steps = np.unique(np.clip([0, 1, warmup - 1, warmup, warmup + 1, total // 2, total - 1, total,
                               total + 5], 0, None))
    for step in steps:
        np.testing.assert_allclose(schedule(int(step)), by_hand(step, 0.3, total, warmup),
                                   rtol=1e-5, atol=1e-8)
    assert float(schedule(0)) > 0.0 and float(schedule(total)) == 0.0


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_traced_and_compiled(jit_compile, dtype):
    schedule = WarmupCosine(0.4, 40, 8)
    traced = tf.function(schedule, jit_compile=jit_compile)
    for step in (0, 3, 8, 25, 39, 40):
        value = traced(tf.constant(step, dtype))
        assert value.dtype == tf.float32 and value.shape == ()
        np.testing.assert_allclose(value, by_hand(step, 0.4, 40, 8), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_optimizer_follows_it(dtype):
    weight = tf.Variable(0.0, dtype=dtype)
    optimizer = tf.keras.optimizers.SGD(WarmupCosine(0.4, 6, 2))

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones([], dtype), weight)])

    places = []
    for _ in range(6):
        step()
        places.append(float(weight))
    steps = -np.diff([0.0, *places])
    np.testing.assert_allclose(steps, [by_hand(t, 0.4, 6, 2) for t in range(6)], rtol=1e-5)


def test_serialisation():
    schedule = WarmupCosine(0.4, 12, 4)
    optimizer = tf.keras.optimizers.SGD(schedule)
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    loaded = again.get_config()["learning_rate"]
    if isinstance(loaded, dict):
        loaded = tf.keras.optimizers.schedules.deserialize(loaded)
    assert isinstance(loaded, WarmupCosine)
    assert loaded.get_config() == schedule.get_config() == {
        "learning_rate": 0.4, "total_steps": 12, "warmup_steps": 4}


@pytest.mark.parametrize("arguments,message", [
    ((0.1, 10, 11), "warmup_steps=11 .* total_steps=10"),
    ((0.1, 10, -1), "warmup_steps=-1"),
    ((0.1, 0, 0), "total_steps=0"),
    ((-0.1, 10, 0), "learning_rate=-0.1"),
    ((float("nan"), 10, 0), "learning_rate=nan"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        WarmupCosine(*arguments)
    assert "\n" not in str(error.value)


def test_exponential_by_hand():
    schedule = WarmupExponential(0.4, decay_steps=3, decay_rate=0.5, warmup_steps=4)
    values = [float(schedule(step)) for step in range(10)]
    np.testing.assert_allclose(values, [0.1, 0.2, 0.3, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05],
                               rtol=1e-6)
    again = WarmupExponential.from_config(schedule.get_config())
    assert float(again(7)) == values[7] and again(tf.constant(3)).dtype == tf.float32
    for arguments in ((-0.1, 1), (0.1, 0), (0.1, 1, 0.0), (0.1, 1, 0.9, -1)):
        with pytest.raises(ValueError, match="expected"):
            WarmupExponential(*arguments)

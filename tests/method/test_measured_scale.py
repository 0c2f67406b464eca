"""The law of meta_scale="measured" over many steps, against NumPy: its means, the late, the silent and the broken step."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import meta_scale
from tests import finite_differences as fd


def test_measured_is_the_law_of_numpy_over_steps():
    """|m| and |g| of every step from `diagnostics`, the law of the notes, and the factor in use."""
    batches = [fd.make_batch((2,), seed=seed) for seed in range(14)]
    model = fd.make_model("dense", "nesterov", objective=mpl_tf.objectives.Supervised(), meta_weight=0.7,
                          meta_scale="measured")
    objectives, metas, recents = [], [], []
    for step, batch in enumerate(batches):
        found = model.diagnostics(batch)
        objectives.append(float(found["objective_gradient_norm_weights"]))
        metas.append(float(found["meta_gradient_norm_weights"]))
        recents.append(np.mean(objectives))         # fewer steps than the window
        room = 1 - recents[-1] / max(recents[min(9, step):])
        model.reset_metrics()
        logs = model.traced_step(batch)
        factor = 0.7 * room * np.mean(objectives) / np.mean(metas)
        assert float(logs["meta_factor"]) == pytest.approx(factor, rel=1e-8, abs=1e-12)
    assert factor > 0


def test_the_recent_mean_forgets_and_the_largest_stays():
    statistics = tf.zeros(meta_scale.STATISTICS, tf.float64)
    step_of = tf.function(lambda length, statistics, step: meta_scale.measured(
        [tf.constant([0.5], tf.float64)], [length[None]], tf.constant(1.0, tf.float64), statistics, step)[1:])
    lengths = [2.0] * 300 + [0.5] * 1000
    for step, length in enumerate(lengths):
        logs, statistics = step_of(tf.constant(length, tf.float64), statistics, tf.constant(step))
    recent = 0.5 + 1.5 * (1 - 1 / 100) ** 1000
    assert statistics.numpy() == pytest.approx([np.mean(lengths), 0.5, recent, 2.0], rel=1e-9)
    assert float(logs["meta_factor"]) == pytest.approx((1 - recent / 2) * np.mean(lengths) / 0.5, rel=1e-9)


def by_steps(lengths, metas, dtype=tf.float64):
    """(each step's meta_factor, the statistics at the end) of |g| and |m| by step, weight 1."""
    statistics, factors = tf.zeros(meta_scale.STATISTICS, dtype), []
    one = tf.function(lambda g, m, statistics, step: meta_scale.measured(
        [m[None]], [g[None]], tf.constant(1.0, dtype), statistics, step)[1:])
    for step, (length, meta) in enumerate(zip(lengths, metas)):
        logs, statistics = one(tf.constant(length, dtype), tf.constant(meta, dtype), statistics,
                               tf.constant(step))
        factors.append(float(logs["meta_factor"]))
    return factors, statistics.numpy()


def test_a_signal_that_begins_late_is_no_longer_than_one_from_the_start():
    """Steps without a signal, as while the student's rate is 0, would make the later ones thousands of |g| long."""
    lengths, metas = np.linspace(2.0, 1.0, 400), np.r_[np.zeros(200), np.linspace(0.1, 0.2, 200)]
    metas[250] = 1e-20          # rounding noise
    factors, _ = by_steps(lengths, metas)
    heard = metas > 1e-15
    for step in range(400):
        if not heard[step]:
            assert factors[step] == 0
        elif step > 110:
            recent = float(_recent(lengths[:step + 1]))
            room = 1 - recent / max(float(_recent(lengths[:k + 1])) for k in range(meta_scale.FIRST - 2, step + 1))
            ratio = lengths[:step + 1][heard[:step + 1]].sum() / metas[:step + 1].sum()
            assert factors[step] == pytest.approx(room * ratio, rel=1e-9)


def _recent(lengths):
    mean = 0.0
    for count, length in enumerate(lengths, 1):
        mean += (length - mean) / min(count, meta_scale.WINDOW)
    return mean


def test_a_step_that_is_not_finite_is_not_remembered():
    """An optimizer with a loss scale leaves it out; the next steps are as if it had only been counted."""
    lengths, metas = np.linspace(2.0, 1.0, 60), np.full(60, 0.1)
    before = by_steps(lengths[:30], metas[:30], tf.float32)[1]
    for broken in (np.inf, np.nan):
        for which in (lengths, metas):
            values = which.copy()
            values[30] = broken
            pair = (values, metas) if which is lengths else (lengths, values)
            np.testing.assert_array_equal(by_steps(*(each[:31] for each in pair), tf.float32)[1], before)
            factors, statistics = by_steps(*pair, tf.float32)
            assert np.isfinite(statistics).all() and factors[-1] > 0
            assert not np.isfinite(factors[30]) or not factors[30]      # that step itself hides nothing

"""The teacher's gradient, read from a real train_step, against central differences of R (Eq. 2)."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import meta_gradient, targets
from tests import finite_differences as fd

# Relative to the gradient's norm. Differences at 1e-6 in float64 are good to about 1e-8 here;
# Adam's step is far from linear where its second moment is small.
TOLERANCE = {"adam": 1e-4}
WAYS = ("nested_tape", "jvp")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", fd.OPTIMIZERS)
def test_every_optimizer_from_warm_slots(optimizer, way):
    model = fd.make_model("dense", optimizer, way)
    errors = fd.relative_errors(model, fd.make_batch((2,)))
    assert max(errors) < TOLERANCE.get(optimizer, 1e-6), errors


@pytest.mark.parametrize("optimizer", ["nesterov", "rmsprop_momentum", "schedule"])
def test_from_fresh_slots(optimizer):
    model = fd.make_model("dense", optimizer)
    errors = fd.relative_errors(model, fd.make_batch((2,)), warm_steps=0)
    assert max(errors) < 1e-6, errors


@pytest.mark.parametrize("network, optimizer, way", [
    ("conv", "nesterov", "jvp"), ("conv", "rmsprop_momentum", "nested_tape"),
    pytest.param("conv", "nesterov", "nested_tape", marks=pytest.mark.slow),
    pytest.param("conv", "rmsprop_momentum", "jvp", marks=pytest.mark.slow),
    pytest.param("wrn", "nesterov", "nested_tape", marks=pytest.mark.slow),
    pytest.param("wrn", "rmsprop_momentum", "jvp", marks=pytest.mark.slow),
    pytest.param("wrn", "nesterov", "jvp", marks=pytest.mark.slow),
    pytest.param("wrn", "rmsprop_momentum", "nested_tape", marks=pytest.mark.slow)])
def test_through_convolution_batch_norm_and_dropout(network, optimizer, way):
    model = fd.make_model(network, optimizer, way)
    errors = fd.relative_errors(model, fd.make_batch(fd.NETWORKS[network][1]))
    assert max(errors) < 1e-5, errors


@pytest.mark.parametrize("way, joint", [
    ("nested_tape", True), ("jvp", False), pytest.param("jvp", True, marks=pytest.mark.slow),
    pytest.param("nested_tape", False, marks=pytest.mark.slow)])
def test_with_udas_passes_over_both_views(way, joint):
    """UDA's weight is 0 here: what is left of the teacher's step is the meta gradient."""
    objective = mpl_tf.objectives.UDA(weight=0.0, supervised_weight=0.0, joint_views=joint)
    model = fd.make_model("conv", "nesterov", way, objective)
    errors = fd.relative_errors(model, fd.make_batch((6, 6, 2)))
    assert max(errors) < 1e-5, errors


def test_meta_weight_scales_the_signal():
    batch = fd.make_batch((2,))
    steps = [fd.teacher_step(fd.make_model("dense", "nesterov", meta_weight=weight), batch)
             for weight in (1.0, 10.0)]
    for one, ten in zip(*steps):
        np.testing.assert_allclose(ten, 10 * one, rtol=1e-9, atol=1e-15)


def _fused_cross_entropy(probs, logits, sample_weight=None):
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(probs, logits))


def test_the_fused_cross_entropy_has_no_signal(monkeypatch):
    """TensorFlow's trap: the nested tape through the fused op returns exactly zero, silently."""
    monkeypatch.setattr(targets, "cross_entropy", _fused_cross_entropy)
    model = fd.make_model("dense", "sgd", weight_decay=0.0)
    assert all(not np.any(g) for g in fd.teacher_step(model, fd.make_batch((2,))))
    assert max(fd.relative_errors(model, fd.make_batch((2,)))) > 0.5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.01])
def test_a_wrong_signal_is_caught(monkeypatch, way, factor):
    """Sign flipped, signal cut, one percent off: the check above fails for each."""
    name = {"nested_tape": "by_nested_tape", "jvp": "by_jvp"}[way]
    right = getattr(meta_gradient, name)
    monkeypatch.setattr(meta_gradient, name, lambda *args: factor * right(*args))
    model = fd.make_model("dense", "nesterov", way)
    assert max(fd.relative_errors(model, fd.make_batch((2,)), warm_steps=0)) > 5e-3


@pytest.mark.parametrize("network, joint", [
    ("conv", True), ("conv", False), pytest.param("wrn", True, marks=pytest.mark.slow)])
def test_both_ways_take_the_same_step(network, joint):
    """All weights, slots and averages after three float64 steps, UDA, dropout and batch norm on."""
    batch = fd.make_batch(fd.NETWORKS[network][1])
    states = []
    for way in WAYS:
        model = fd.make_model(network, "nesterov", way, mpl_tf.objectives.UDA(joint_views=joint),
                              teacher_rate=0.1)
        for _ in range(3):
            model.traced_step(batch)
        states.append(fd.snapshot(model)[1])
    for one, other in zip(*states):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-12)


def test_eager_and_traced_steps_agree():
    batch = fd.make_batch((6, 6, 2))
    eager, traced = (fd.make_model("conv", "rmsprop", objective=mpl_tf.objectives.UDA())
                     for _ in range(2))
    eager.train_step(batch)
    traced.traced_step(batch)
    for one, other in zip(fd.snapshot(eager)[1], fd.snapshot(traced)[1]):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)

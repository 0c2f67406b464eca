"""The teacher's objectives against NumPy in float64, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.method import objectives
from tests.tiny import log_softmax

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 5)
LABELED, WEAK, STRONG = RNG.normal(size=(5, 4)), RNG.normal(size=(7, 4)), RNG.normal(size=(7, 4))


def _losses(objective):
    loss, terms = objective.losses(*map(tf.constant, (LABELS, LABELED, WEAK, STRONG)))
    return float(loss), {name: float(value) for name, value in terms.items()}


def _supervised(smoothing):
    probs = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    return -np.mean(np.sum(probs * log_softmax(LABELED), axis=1))


@pytest.mark.parametrize("kind, view", [("Supervised", "image"), ("RandAugment", "augmented")])
@pytest.mark.parametrize("weight, smoothing", [(1.0, 0.0), (0.5, 0.1), (0.0, 0.0)])
def test_supervised_and_randaugment(kind, view, weight, smoothing):
    objective = getattr(objectives, kind)(weight=weight, label_smoothing=smoothing)
    loss, terms = _losses(objective)
    assert terms == {"supervised_loss": pytest.approx(_supervised(smoothing), rel=1e-13)}
    assert loss == pytest.approx(weight * _supervised(smoothing), rel=1e-13)
    assert objective.labeled_view == view and not objective.unlabeled


@pytest.mark.parametrize("config", [
    {}, {"weight": 2.0, "temperature": 0.5}, {"supervised_weight": 0.0},
    {"weight": 0.0, "label_smoothing": 0.2, "supervised_weight": 3.0}])
def test_uda(config):
    given = {"weight": 1.0, "temperature": 0.8, "label_smoothing": 0.0, "supervised_weight": 1.0,
             **config}
    loss, terms = _losses(objectives.UDA(**given))
    weak = np.exp(log_softmax(WEAK / given["temperature"]))
    consistency = -np.mean(np.sum(weak * log_softmax(STRONG), axis=1))
    supervised = _supervised(given["label_smoothing"])
    assert terms["supervised_loss"] == pytest.approx(supervised, rel=1e-13)
    assert terms["consistency_loss"] == pytest.approx(consistency, rel=1e-13)
    assert loss == pytest.approx(
        given["supervised_weight"] * supervised + given["weight"] * consistency, rel=1e-13)


def test_udas_targets_are_constants():
    weak, strong = tf.constant(WEAK), tf.constant(STRONG)
    with tf.GradientTape() as tape:
        tape.watch([weak, strong])
        loss, _ = objectives.UDA(temperature=0.8).losses(
            tf.constant(LABELS), tf.constant(LABELED), weak, strong)
    by_weak, by_strong = tape.gradient(loss, [weak, strong])
    assert by_weak is None
    expected = (np.exp(log_softmax(STRONG)) - np.exp(log_softmax(WEAK / 0.8))) / 7
    np.testing.assert_allclose(by_strong, expected, atol=1e-14)


@pytest.mark.parametrize("objective", [
    objectives.Supervised(weight=0.5, label_smoothing=0.1), objectives.RandAugment(weight=0.25),
    objectives.UDA(weight=2.0, temperature=0.7, label_smoothing=0.1, supervised_weight=0.5,
                   joint_views=False)])
def test_config_round_trips(objective):
    config = tf.keras.utils.serialize_keras_object(objective)
    restored = tf.keras.utils.deserialize_keras_object(config)
    assert type(restored) is type(objective)
    assert restored.get_config() == objective.get_config()
    assert _losses(restored) == _losses(objective)


@pytest.mark.parametrize("make, words", [
    (lambda: objectives.Supervised(weight=-1.0), "Supervised: weight=-1.0"),
    (lambda: objectives.Supervised(label_smoothing=1.0), "label_smoothing=1.0"),
    (lambda: objectives.RandAugment(label_smoothing=-0.1), "RandAugment: label_smoothing=-0.1"),
    (lambda: objectives.UDA(temperature=0.0), "UDA: temperature=0.0"),
    (lambda: objectives.UDA(temperature=-1.0), "temperature=-1.0"),
    (lambda: objectives.UDA(supervised_weight=-2.0), "supervised_weight=-2.0"),
    (lambda: objectives.UDA(joint_views="False"), "joint_views='False': give True or False")])
def test_impossible_values_are_refused_in_one_line(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_label_out_of_range_makes_the_loss_not_a_number():
    labels = tf.constant([0, 1, 2, 3, 4])
    for objective in (objectives.Supervised(), objectives.UDA(label_smoothing=0.1)):
        loss, _ = objective.losses(labels, *map(tf.constant, (LABELED, WEAK, STRONG)))
        assert np.isnan(loss)


def test_a_subclass_of_before_joint_views_is_restored():
    class Former(objectives.UDA):
        def __init__(self, weight=1.0, temperature=0.8, label_smoothing=0.0, supervised_weight=1.0):
            super().__init__(weight, temperature, label_smoothing, supervised_weight)

    restored = Former.from_config(Former(weight=3.0).get_config())
    assert restored.weight == 3.0 and restored.joint_views is True
    assert objectives.UDA.from_config(objectives.UDA(joint_views=False).get_config()).joint_views is False

"""Random layers and batch norm of Keras 3's own, which here draw from the seed of each pass."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.common import keras_seam
from tests import tiny

LAYERS = tf.keras.layers
pytestmark = pytest.mark.skipif(not tiny.KERAS_3, reason="of Keras 3")


def network(role, seed, *more):
    init = tf.keras.initializers.GlorotNormal(seed)
    return tf.keras.Sequential([
        tf.keras.Input((2,)), LAYERS.Dense(16, "tanh", kernel_initializer=init), *more,
        LAYERS.Dense(3, kernel_initializer=init)], name=role)


def drawing(role, seed):
    return network(role, seed, LAYERS.Dropout(0.5, name="drop"), LAYERS.GaussianNoise(0.3, name="noise"),
                   LAYERS.Reshape((4, 4)), LAYERS.SpatialDropout1D(0.3, name="rows"), LAYERS.Flatten())


def model(way="nested_tape", meta_weight=1.0, make=drawing):
    return tiny.model(make("student", 1), make("teacher", 2), mpl_tf.objectives.Supervised(),
                      meta_gradient=way, meta_weight=meta_weight, metrics=None)


def test_both_ways_draw_the_same_numbers_and_warn_of_none(recwarn):
    """jvp replays passes: with other masks its gradient would be another."""
    models = [model(way) for way in ("nested_tape", "jvp")]
    logs = [each.fit(tiny.dataset(tiny.batches(3)), verbose=0).history for each in models]
    tiny.assert_same_state(*models, rtol=2e-4, atol=1e-6)
    assert logs[0]["meta_gradient_norm"] == pytest.approx(logs[1]["meta_gradient_norm"], rel=1e-3)
    assert not [each for each in recwarn if "resumed" in str(each.message)]


def test_masks_are_a_function_of_seed_and_step():
    """Whatever was drawn before: a run that is resumed goes on with the masks it would have had."""
    first, second = model(), model()
    for _ in range(3):
        second.student(np.ones([2, 2], "float32"), training=True)
    for each in (first, second):
        each.fit(tiny.dataset(tiny.batches(2)), verbose=0)
    tiny.assert_same_state(first, second)


def test_the_control_is_the_baseline_with_layers_that_draw():
    control = model(meta_weight=0.0)
    baseline = mpl_tf.Baseline(drawing("teacher", 2), mpl_tf.objectives.Supervised(), seed=5)
    baseline.compile(tiny.nesterov(0.1), weight_decay=5e-4)
    for each in (control, baseline):
        each.fit(tiny.dataset(tiny.batches(3)), verbose=0)
    for ours, theirs in zip(control.teacher.weights, baseline.student.weights):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_replicas_draw_other_masks_and_share_averages():
    """Keras 3 updates batch norm's averages on each replica alone, and reads the first's."""
    strategy = tiny.two_replicas()
    with strategy.scope():
        made = model(make=lambda role, seed: network(
            role, seed, LAYERS.BatchNormalization(momentum=0.9, name="norm"), LAYERS.Dropout(0.5)))
    batch = tiny.batches(1)[0]
    with strategy.scope():
        hidden = [made.student.layers[0](half).numpy()
                  for half in np.split(batch["unlabeled"]["augmented"], 2)]
    made.fit(tiny.dataset([batch]), verbose=0)
    norm = made.student.get_layer("norm")
    mean = np.mean([half.mean(axis=0) for half in hidden], axis=0)
    for variable in keras_seam.tf_variables([norm.moving_mean]):
        for component in strategy.experimental_local_results(variable):
            np.testing.assert_allclose(component.numpy(), 0.1 * mean, rtol=1e-4, atol=1e-6)

    dropout = tf.keras.Sequential([tf.keras.Input((50,)), LAYERS.Dropout(0.5)])
    from mpl_tf.method import passes

    @tf.function
    def masks():
        def one():
            with passes.seeded(dropout, tf.constant([1, 2])):
                return dropout(tf.ones([1, 50]), training=True)
        return strategy.experimental_local_results(strategy.run(one))

    first, second = (mask.numpy() for mask in masks())
    assert np.any(first != second)
    np.testing.assert_array_equal(first, masks()[0].numpy())


def test_fused_batch_norm_is_that_of_keras():
    """The outputs are Keras 3's; the variance in the average is the unbiased one, as Keras 2 has it."""
    ours = mpl_tf.layers.FusedBatchNormalization(momentum=0.9, epsilon=1e-3)
    theirs = LAYERS.BatchNormalization(momentum=0.9, epsilon=1e-3)
    images = np.random.default_rng(0).normal(1.0, 2.0, [4, 5, 5, 3]).astype("float32")
    np.testing.assert_allclose(ours(images, training=True), theirs(images, training=True), atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-6)
    unbiased = images.astype("float64").reshape(-1, 3).var(axis=0, ddof=1)
    np.testing.assert_allclose(ours.moving_variance, 0.9 + 0.1 * unbiased, rtol=1e-5)
    np.testing.assert_allclose(ours(images), theirs(images), atol=2e-2)

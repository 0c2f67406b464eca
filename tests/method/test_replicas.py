"""Two logical CPU devices under MirroredStrategy against one device on the whole batch."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.common import keras_seam
from mpl_tf.method import passes
from mpl_tf.networks import layers
from tests import tiny
from tests.conftest import ROOT

OPTIMIZERS = {"nesterov": lambda: tiny.nesterov(0.2),
              "rmsprop": lambda: tf.keras.optimizers.RMSprop(0.01, momentum=0.9, epsilon=1e-3),
              "adam": lambda: tf.keras.optimizers.Adam(0.01, epsilon=1e-3)}
OBJECTIVES = {"supervised": mpl_tf.objectives.Supervised(weight=0.5, label_smoothing=0.1),
              "uda": mpl_tf.objectives.UDA(weight=1.0, temperature=0.8)}


def _model(optimizer, way, objective, **options):
    """Float64; the teacher follows SGD at rate 1, so its weights tell its gradient."""
    return tiny.model(optimizers=(OPTIMIZERS[optimizer](), tf.keras.optimizers.SGD(1.0)),
                      meta_gradient=way, objective=OBJECTIVES[objective],
                      student_weight_decay=0.01, teacher_weight_decay=0.01, **options)


@pytest.mark.parametrize("optimizer, way, objective", [
    ("nesterov", "nested_tape", "uda"),
    pytest.param("adam", "jvp", "uda", marks=pytest.mark.slow),
    pytest.param("nesterov", "jvp", "supervised", marks=pytest.mark.slow),
    pytest.param("rmsprop", "nested_tape", "supervised", marks=pytest.mark.slow)])
def test_two_replicas_equal_one_device(optimizer, way, objective):
    """Every weight, slot and logged scalar after three steps; B_u is not B_l."""
    tiny.use_float64()
    data = tiny.dataset(tiny.batches(3, labeled=4, unlabeled=6, dtype="float64"))
    one = _model(optimizer, way, objective, run_eagerly=True)
    logs = one.fit(data, verbose=0).history
    with tiny.two_replicas().scope():
        two = _model(optimizer, way, objective)
    logs_of_two = two.fit(data, verbose=0).history
    tiny.assert_same_state(two, one, rtol=1e-8, atol=1e-12)
    for name in logs:
        assert logs_of_two[name] == pytest.approx(logs[name], rel=1e-6), name


@pytest.mark.parametrize("way, objective", [
    ("jvp", "supervised"), pytest.param("nested_tape", "uda", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_batch_norm_and_dropout_on_two_replicas(way, objective):
    """The student's averages move once a step, by the mean of the replicas' own statistics."""
    with tiny.two_replicas().scope():
        model = tiny.model(networks_=tiny.RICH, meta_gradient=way, objective=OBJECTIVES[objective],
                           optimizers=(tiny.nesterov(0.0), tiny.nesterov(0.1)))
    batch = tiny.batches(1)[0]
    images, labels = tiny.evaluation_data()
    logs = model.fit(tiny.dataset([batch]), validation_data=(images, labels), verbose=0).history
    assert all(np.isfinite(values[0]) for values in logs.values())
    hidden = model.student.get_layer("hidden")(batch["unlabeled"]["augmented"]).numpy()
    norm = model.student.get_layer("bn")
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6)
    variances = [hidden[:4].var(0), hidden[4:].var(0)]
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.9 + 0.1 * np.mean(variances, axis=0),
                               rtol=1e-4)
    for network in model.networks.values():
        for weight in network.trainable_weights:    # replicas stay one model
            held, = keras_seam.tf_variables([weight])
            np.testing.assert_array_equal(*(value.numpy() for value in held.values))
    log_probs = tiny.log_softmax(model.student(images))
    loss, accuracy = model.evaluate(images, labels, batch_size=16, verbose=0)
    assert loss == pytest.approx(-log_probs[range(50), labels].mean(), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(log_probs.argmax(1) == labels))


def synchronized(role, seed):
    """A network whose batch norm takes the statistics of all replicas."""
    layers = tiny.network(role, seed).layers
    layers.insert(1, tf.keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name="bn"))
    return tf.keras.Sequential([tf.keras.Input((2,)), *layers], name=role)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["supervised", "uda"])
def test_synchronized_batch_norm_on_two_replicas_equals_one_device(objective):
    tiny.use_float64()
    data = tiny.dataset(tiny.batches(3, labeled=4, unlabeled=6, dtype="float64"))
    made = lambda **options: tiny.model(synchronized("student", 1), synchronized("teacher", 2),
                                        OBJECTIVES[objective], **options)
    one = made(run_eagerly=True)
    one.fit(data, verbose=0)
    with tiny.two_replicas().scope():
        two = made()
    two.fit(data, verbose=0)
    tiny.assert_same_state(two, one, rtol=1e-8, atol=1e-12)


FOUR = """
import tensorflow as tf
from tests import tiny
from tests.method.test_replicas import synchronized     # it sets two logical devices
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4)
tiny.use_float64()
data = tiny.dataset(tiny.batches(2, labeled=8, unlabeled=12, dtype="float64"))
made = lambda: tiny.model(synchronized("student", 1), synchronized("teacher", 2))
one = made()
one.fit(data, verbose=0)
with tiny.two_replicas().scope():
    four = made()
four.fit(data, verbose=0)
assert four.distribute_strategy.num_replicas_in_sync == 4
tiny.assert_same_state(four, one, rtol=1e-8, atol=1e-12)
"""


@pytest.mark.slow
def test_four_replicas_equal_one_device():
    done = subprocess.run([sys.executable, "-c", FOUR], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr


def test_forward_mode_refuses_what_replicas_exchange():
    """It would take the other replicas' statistics for constants, and the meta gradient be wrong."""
    with tiny.two_replicas().scope():
        model = tiny.model(synchronized("student", 1), tiny.network("teacher", 2), meta_gradient="jvp")
    before = tf.distribute.ReplicaContext.all_reduce
    with pytest.raises(ValueError) as error:
        model.fit(tiny.dataset(tiny.batches(1)), verbose=0)
    assert "BatchNormalization(synchronized=True)" in str(error.value) and "\n" not in str(error.value)
    assert tf.distribute.ReplicaContext.all_reduce is before


def test_masks_differ_between_replicas_and_can_be_drawn_again():
    strategy = tiny.two_replicas()
    dropout = layers.Dropout(0.5, name="dropout")

    @tf.function
    def masks(step):
        def mask():
            with layers.random_seed(passes.pass_seed(5, step, passes.STUDENT_UNLABELED)):
                return dropout(tf.ones([40]), training=True)
        return strategy.experimental_local_results(strategy.run(mask))

    first, second = masks(tf.constant(3))
    assert np.any(first != second)
    for one, again in zip((first, second), masks(tf.constant(3))):
        np.testing.assert_array_equal(one, again)
    assert np.any(first != masks(tf.constant(4))[0])


@pytest.mark.slow
def test_diagnostics_on_two_replicas():
    tiny.use_float64()
    data = tiny.dataset(tiny.batches(1, labeled=4, unlabeled=6, dtype="float64"))
    one = _model("nesterov", "nested_tape", "uda")
    strategy = tiny.two_replicas()
    with strategy.scope():
        two = _model("nesterov", "nested_tape", "uda")
    expected = one.diagnostics(next(iter(data)))
    before = [value.numpy() for value in two.weights]
    result = two.diagnostics(next(iter(strategy.experimental_distribute_dataset(data))))
    for name in set(expected) - {"pseudo_labels", "meta_gradient_agreement"}:    # of a replica's halves
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-8, err_msg=name)
    np.testing.assert_allclose(result["pseudo_labels"], expected["pseudo_labels"][:3], rtol=1e-10)
    for value, weight in zip(before, two.weights):
        np.testing.assert_array_equal(value, weight.numpy())


@pytest.mark.parametrize("sizes, words", [
    ({"labeled": 5, "unlabeled": 8}, "batches of 5 for 2 replicas"),
    ({"labeled": 4, "unlabeled": 7}, "batches of 7 for 2 replicas")])
def test_unequal_shares_are_refused(sizes, words):
    with tiny.two_replicas().scope():
        model = tiny.model()
    with pytest.raises(ValueError) as error:
        model.fit(tiny.dataset(tiny.batches(1, **sizes)))
    assert words in str(error.value) and "drop_remainder" in str(error.value)
    assert "\n" not in str(error.value)


def test_batches_of_unknown_size_are_refused():
    """A last batch of another size would be split unequally, silently."""
    data = tiny.dataset(tiny.batches(1, labeled=8, unlabeled=8)).unbatch().batch(4)
    with tiny.two_replicas().scope():
        model = tiny.model()
    with pytest.raises(ValueError, match="unknown size for 2 replicas"):
        model.fit(data)


@pytest.mark.slow
def test_unbuilt_networks_are_built_on_all_replicas():
    dense = tf.keras.layers.Dense
    with tiny.two_replicas().scope():
        model = tiny.model(*(tf.keras.Sequential([dense(4), dense(3)], name=role)
                             for role in ("student", "teacher")))
    logs = model.fit(tiny.dataset(tiny.batches(1)), verbose=0).history
    assert logs["meta_gradient_norm"][0] > 0
    assert all(len(weight.values) == 2 for weight in keras_seam.tf_variables(model.student.weights))

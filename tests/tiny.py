"""Tiny networks, batches and models for tests of everything around the algorithm."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.common import keras_seam
from mpl_tf.run import devices

KERAS_3 = keras_seam.IS_KERAS_3
keras_2_only = pytest.mark.skipif(KERAS_3, reason="of Keras 2")
CLASSES = 3
RICH = {"batch_norm": True, "dropout": 0.3}


def use_float64():
    """Makes float64 the dtype of what is built until the end of the test."""
    tf.keras.backend.set_floatx("float64")
    tf.keras.mixed_precision.set_global_policy("float64")


def network(role, seed, shape=(2,), batch_norm=False, dropout=0.0, classes=CLASSES, **kwargs):
    """A small model [B, *shape] -> logits, its weights a function of `seed`."""
    init = tf.keras.initializers.GlorotNormal(seed)
    layers = [tf.keras.Input(shape, name=f"{role}_input")]
    if len(shape) == 3:
        layers += [tf.keras.layers.Conv2D(4, 3, kernel_initializer=init, name="conv", **kwargs),
                   tf.keras.layers.GlobalAveragePooling2D(name="pool", **kwargs)]
    layers.append(tf.keras.layers.Dense(8, use_bias=not batch_norm, kernel_initializer=init,
                                        name="hidden", **kwargs))
    if batch_norm:
        layers.append(tf.keras.layers.BatchNormalization(momentum=0.9, name="bn", **kwargs))
    layers.append(tf.keras.layers.Activation("tanh", name="tanh", **kwargs))
    if dropout:
        layers.append(mpl_tf.layers.Dropout(dropout, name="dropout", **kwargs))
    layers.append(tf.keras.layers.Dense(classes, kernel_initializer=init, name="logits", **kwargs))
    return tf.keras.Sequential(layers, name=role)


def operation(function, name):
    """Operations between layers, which Keras 2 makes layers of, and which Keras 3 takes in a Lambda."""
    return tf.keras.layers.Lambda(function, name=name) if KERAS_3 else function


def networks(**kwargs):
    """A student and a teacher."""
    return network("student", 1, **kwargs), network("teacher", 2, **kwargs)


def batches(steps=4, labeled=6, unlabeled=8, shape=(2,), augmented=True, dtype="float32", seed=0):
    """A list of training batches as NumPy arrays."""
    rng = np.random.default_rng(seed)
    images = lambda count: rng.normal(size=(count, *shape)).astype(dtype)

    def batch():
        views = {"image": images(unlabeled)}
        if augmented:
            views["augmented"] = images(unlabeled)
        return {"labeled": {"image": images(labeled), "label": rng.integers(0, CLASSES, labeled)},
                "unlabeled": views}
    return [batch() for _ in range(steps)]


def dataset(batches_):
    """A tf.data.Dataset with static shapes that yields `batches_`."""
    stacked = tf.nest.map_structure(lambda *arrays: np.stack(arrays), *batches_)
    return tf.data.Dataset.from_tensor_slices(stacked)


def evaluation_data(count=50, shape=(2,), dtype="float32"):
    """Images and labels, as arrays."""
    rng = np.random.default_rng(99)
    return rng.normal(size=(count, *shape)).astype(dtype), rng.integers(0, CLASSES, count)


def two_replicas():
    """The process's one strategy of two logical CPU devices."""
    return devices.get_strategy("mirrored")


def nesterov(rate=0.3):
    """The paper's optimizer."""
    return tf.keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)


def model(student=None, teacher=None, objective=None, optimizers=None, meta_gradient="nested_tape",
          meta_weight=1.0, meta_scale="absolute", networks_=None, microbatch_size=None,
          **compile_arguments):
    """A compiled MetaPseudoLabels: UDA, Nesterov, weight decay, accuracy."""
    if student is None:
        student, teacher = networks(**(networks_ or {}))
    made = mpl_tf.MetaPseudoLabels(
        student, teacher, objective or mpl_tf.objectives.UDA(weight=1.0, temperature=0.8),
        meta_weight=meta_weight, meta_gradient=meta_gradient, meta_scale=meta_scale, seed=5,
        microbatch_size=microbatch_size)
    student_optimizer, teacher_optimizer = optimizers or (nesterov(), nesterov(0.1))
    made.compile(student_optimizer, teacher_optimizer, **{
        "student_weight_decay": 5e-4, "teacher_weight_decay": 5e-4, "metrics": ["accuracy"],
        **compile_arguments})
    return made


def state(model_):
    """Values by name of both networks and both optimizers, slots and step counters included."""
    variables = {role: network_.weights for role, network_ in model_.networks.items()}
    for role, optimizer in model_.optimizers.items():
        variables[f"{role}_optimizer"] = optimizer.variables
    return {f"{part}/{number}/{variable.name}": variable.numpy()
            for part, held in variables.items() for number, variable in enumerate(held)}


def assert_same_state(one, other, **tolerance):
    """Bit for bit, or to `tolerance` of np.testing.assert_allclose. Takes models or states."""
    one, other = (held if isinstance(held, dict) else state(held) for held in (one, other))
    numbers = lambda held: [(name.split("/")[:2], value) for name, value in sorted(held.items())]
    assert len(one) == len(other)
    for (name, value), (_, reference) in zip(numbers(one), numbers(other)):
        if tolerance:
            np.testing.assert_allclose(value, reference, err_msg=str(name), **tolerance)
        else:
            np.testing.assert_array_equal(value, reference, err_msg=str(name))


def log_softmax(logits):
    """NumPy, float64."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

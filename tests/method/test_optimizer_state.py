"""What compile and save say of optimizers and precisions, and what a file keeps of them."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import optimizer_state
from tests import tiny
from tests.method.test_inputs import OBJECTIVES, model


def test_an_old_optimizer_after_unfreezing_is_refused_by_name():
    made = model()
    student, optimizer = made.student, tf.keras.optimizers.SGD(0.1, momentum=0.9)
    student.layers[0].trainable = False
    made.compile(optimizer, "sgd")
    made.train_on_batch(tiny.batches(1)[0])
    student.layers[0].trainable = True
    with pytest.raises(ValueError, match="the student's optimizer was built for other variables and "
                                         "has no state for '(student/)?hidden/kernel(:0)?'.*give compile a new"):
        made.compile(optimizer, "sgd")
    made.compile(type(optimizer).from_config(optimizer.get_config()), "sgd")
    before = student.layers[0].kernel.numpy()
    made.train_on_batch(tiny.batches(1)[0])
    assert not np.array_equal(student.layers[0].kernel.numpy(), before)


@pytest.mark.parametrize("optimizer, lost", [
    (lambda: tf.keras.optimizers.SGD(0.1, momentum=0.9), False),
    (lambda: tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(0.1, 10)), False),
    (lambda: tf.keras.optimizers.AdamW(), False),
    (lambda: tf.keras.optimizers.Nadam(), not tiny.KERAS_3),    # a number outside of its variables
    *(pytest.param(make, lost, marks=tiny.keras_2_only) for make, lost in (
        (lambda: tf.keras.optimizers.legacy.SGD(0.1), False),       # has nothing to lose
        (lambda: tf.keras.optimizers.legacy.SGD(0.1, momentum=0.9), True),
        (lambda: tf.keras.optimizers.legacy.Adam(), True)))])
def test_optimizers_are_tried(optimizer, lost):
    made = optimizer()
    found = optimizer_state.lost({"teacher": made})
    assert found == ([f"teacher_optimizer ({type(made).__name__})"] if lost else [])
    assert int(made.iterations) == 0


@tiny.keras_2_only
def test_a_lost_state_is_told_when_fit_begins_and_when_it_is_saved(tmp_path):
    student, teacher = tiny.networks()
    made = mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES["uda"])
    made.compile("sgd", tf.keras.optimizers.legacy.Adam())
    with pytest.warns(UserWarning, match=r"teacher_optimizer \(Adam\) has state that a .keras"):
        made.fit(tiny.dataset(tiny.batches(1)), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.fit(tiny.dataset(tiny.batches(1)), verbose=0)      # it was said
    with pytest.warns(UserWarning, match="m.keras lacks state of teacher_optimizer"):
        made.save(tmp_path / "m.keras")
    assert (tmp_path / "m.keras").is_file()


class Undescribed(tf.keras.Model):
    """A network whose class does not say how to build it again."""

    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def call(self, images):
        return self.dense(images)


class Rate(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1


def test_save_always_writes(tmp_path):
    made = mpl_tf.Baseline(Undescribed(tf.keras.layers.Dense(3)), OBJECTIVES["supervised"])
    made.compile("adam")
    made.train_on_batch(tiny.batches(1)[0])
    with pytest.warns(UserWarning, match="n.keras is not written.*n.weights.h5 has all weights"):
        made.save(tmp_path / "n.keras")
    weights = made.get_weights()
    again = mpl_tf.Baseline(Undescribed(tf.keras.layers.Dense(3)), OBJECTIVES["supervised"])
    again.compile("adam")
    again.build((None, 2))
    again.load_weights(tmp_path / "n.weights.h5")
    for one, other in zip(weights, again.get_weights()):
        np.testing.assert_array_equal(one, other)

    student, teacher = tiny.networks()
    made = mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES["uda"])
    made.compile("sgd", tf.keras.optimizers.SGD(Rate()))
    made.train_on_batch(tiny.batches(1)[0])
    with pytest.warns(UserWarning, match="r.keras lacks what compile was given .teacher_optimizer"):
        made.save(tmp_path / "r.keras")
    loaded = tf.keras.models.load_model(tmp_path / "r.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], made.get_weights()[0])


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_float16_is_refused(policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        student, teacher = tiny.networks()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(ValueError, match=f"has the policy {policy}: in float16 small gradients"):
        mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES["uda"])


def test_pure_bfloat16_is_warned_of():
    student = tiny.network("student", 1, dtype="bfloat16")
    made = mpl_tf.Baseline(student, OBJECTIVES["supervised"])
    with pytest.warns(UserWarning, match="student keeps its weights in bfloat16"):
        made.compile("sgd")

"""Models that train one network alone, against plain steps written out here."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from tests import tiny

DECAY = 0.01


def _reference_step(network, images, probs, rate=0.5):
    """Weights after one SGD step on CE(probs, network(images)) + DECAY/2 |kernels|^2."""
    with tf.GradientTape() as tape:
        logits = network(images, training=True)
        log_probs = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
        loss = -tf.reduce_mean(tf.reduce_sum(probs * log_probs, axis=1))
        total = loss + DECAY / 2 * tf.add_n(
            [tf.reduce_sum(w ** 2) for w in network.trainable_weights if "kernel" in w.name])
    gradients = tape.gradient(total, network.trainable_weights)
    for weight, gradient in zip(network.trainable_weights, gradients):
        weight.assign_sub(rate * gradient)
    return float(loss), [w.numpy() for w in network.weights]


def _float64_network(role, seed, **kwargs):
    tiny.use_float64()
    return tiny.network(role, seed, batch_norm=True, **kwargs)


def _assert_weights(network, expected):
    for weight, value in zip(network.weights, expected):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind, view", [("Supervised", "image"), ("RandAugment", "augmented")])
def test_one_supervised_step(kind, view):
    batch = tiny.batches(1, dtype="float64")[0]
    batch["labeled"]["augmented"] = batch["labeled"]["image"] + 1.0
    probs = 0.9 * np.eye(3)[batch["labeled"]["label"]] + 0.1 / 3
    loss, expected = _reference_step(
        _float64_network("student", 1), batch["labeled"][view], probs)
    model = mpl_tf.Baseline(_float64_network("student", 1),
                            getattr(mpl_tf.objectives, kind)(label_smoothing=0.1))
    model.compile(tf.keras.optimizers.SGD(0.5), weight_decay=DECAY)
    logs = model.fit(tiny.dataset([batch]), verbose=0).history
    assert set(logs) == {"loss", "supervised_loss", "learning_rate"}
    assert logs["loss"][0] == logs["supervised_loss"][0] == pytest.approx(loss, rel=1e-12)
    _assert_weights(model.student, expected)


@pytest.mark.parametrize("joint", [True, False])
def test_one_uda_step(joint):
    """Both views pass together, so batch norm sees their joint statistics, or each has its own."""
    batch = tiny.batches(1, dtype="float64")[0]
    model = mpl_tf.Baseline(_float64_network("student", 1), mpl_tf.objectives.UDA(2.0, 0.5, joint_views=joint))
    model.compile(tf.keras.optimizers.SGD(0.5))
    twin = _float64_network("student", 1)
    with tf.GradientTape() as tape:
        supervised = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(
            batch["labeled"]["label"], twin(batch["labeled"]["image"], training=True), True))
        views = [batch["unlabeled"]["image"], batch["unlabeled"]["augmented"]]
        weak, strong = (tf.split(twin(np.concatenate(views), training=True), 2) if joint
                        else [twin(view, training=True) for view in views])
        consistency = tf.reduce_mean(tf.keras.losses.categorical_crossentropy(
            tf.stop_gradient(tf.nn.softmax(weak / 0.5)), strong, from_logits=True))
        loss = supervised + 2.0 * consistency
    for weight, gradient in zip(twin.trainable_weights,
                                tape.gradient(loss, twin.trainable_weights)):
        weight.assign_sub(0.5 * gradient)
    logs = model.fit(tiny.dataset([batch]), verbose=0).history
    assert logs["loss"][0] == pytest.approx(float(loss), rel=1e-12)
    assert logs["consistency_loss"][0] == pytest.approx(float(consistency), rel=1e-12)
    _assert_weights(model.student, [w.numpy() for w in twin.weights])


@pytest.mark.parametrize("hard, temperature", [(True, 1.0), (False, 1.0), (False, 0.5)])
def test_one_step_from_a_fixed_teacher(hard, temperature):
    batch = tiny.batches(1, dtype="float64")[0]
    teacher = _float64_network("teacher", 2)
    teacher(np.random.default_rng(3).normal(size=(9, 2)), training=True)   # averages of its own
    before = [w.numpy() for w in teacher.weights]
    images = batch["unlabeled"]["augmented"]
    logits = teacher(images, training=False).numpy()
    probs = (np.eye(3)[logits.argmax(1)] if hard
             else np.exp(tiny.log_softmax(logits / temperature)))
    loss, expected = _reference_step(_float64_network("student", 1), images, probs)
    model = mpl_tf.FixedTeacher(_float64_network("student", 1), teacher, hard, temperature)
    model.compile(tf.keras.optimizers.SGD(0.5), weight_decay=DECAY)
    logs = model.fit(tiny.dataset([batch]), verbose=0).history
    assert set(logs) == {"loss", "pseudo_label_entropy", "pseudo_label_confidence", "agreement",
                         "learning_rate"}
    assert logs["loss"][0] == pytest.approx(loss, rel=1e-12)
    assert logs["pseudo_label_confidence"][0] == pytest.approx(probs.max(1).mean(), rel=1e-12)
    _assert_weights(model.student, expected)
    for weight, value in zip(teacher.weights, before):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_a_baseline_as_users_run_it():
    """No unlabeled part, accuracy of the training-mode logits, evaluation, any Keras optimizer."""
    batch = tiny.batches(1)[0]
    del batch["unlabeled"]
    model = mpl_tf.Baseline(tiny.network("student", 1, batch_norm=True), mpl_tf.objectives.Supervised())
    optimizer = tf.keras.optimizers.Adam if tiny.KERAS_3 else tf.keras.optimizers.legacy.Adam
    model.compile(optimizer(0.01), metrics=["accuracy"])
    logits = model.student(batch["labeled"]["image"], training=True).numpy()
    images, labels = tiny.evaluation_data()
    logs = model.fit(tiny.dataset([batch]), validation_data=(images, labels), verbose=0).history
    assert logs["accuracy"][0] == pytest.approx(
        np.mean(logits.argmax(1) == batch["labeled"]["label"]))
    log_probs = tiny.log_softmax(model.student(images))
    assert logs["val_loss"][0] == pytest.approx(-log_probs[np.arange(50), labels].mean(), rel=1e-5)
    np.testing.assert_allclose(model.predict(images, verbose=0), model.student(images), atol=1e-6)


@pytest.mark.parametrize("make, words", [
    (lambda student, teacher: mpl_tf.FixedTeacher(student, teacher, temperature=0.0),
     "temperature=0.0 must be above 0"),
    (lambda student, teacher: mpl_tf.FixedTeacher(student, tiny.network("teacher", 2, classes=4)),
     "student has 3, teacher has 4"),
    (lambda student, teacher: mpl_tf.FixedTeacher(student, student), "share weights"),
    (lambda student, teacher: mpl_tf.Baseline(lambda x: x, mpl_tf.objectives.Supervised()),
     "student is a function, expected a tf.keras.Model")])
def test_models_that_do_not_fit_are_refused_in_one_line(make, words):
    with pytest.raises(ValueError) as error:
        make(*tiny.networks())
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("objective, removed, words", [
    ("UDA", ("unlabeled", "augmented"), '["unlabeled"]["augmented"] (UDA needs it)'),
    ("UDA", ("unlabeled",), '["unlabeled"]["image"]'),
    ("RandAugment", (), '["labeled"]["augmented"] (RandAugment needs it)')])
def test_missing_views_are_refused_in_one_line(objective, removed, words):
    batch = tiny.batches(1)[0]
    if removed:
        part = batch if len(removed) == 1 else batch[removed[0]]
        del part[removed[-1]]
    model = mpl_tf.Baseline(tiny.network("student", 1), getattr(mpl_tf.objectives, objective)())
    model.compile(tf.keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError) as error:
        model.train_step(tf.nest.map_structure(tf.constant, batch))
    assert words in str(error.value) and "\n" not in str(error.value)


@tf.keras.utils.register_keras_serializable("mpl_tf_tests")
class Entropy(mpl_tf.objectives.Objective):
    """An objective of a user's own: cross-entropy, and the entropy of the strong view's labels."""

    unlabeled = True
    terms = ("supervised_loss", "entropy")

    def __init__(self, weight=0.3, kind="plain"):
        super().__init__(weight=weight, kind=kind)
        self.weight = weight

    def losses(self, labels, labeled_logits, weak_logits=None, strong_logits=None):
        supervised = mpl_tf.targets.cross_entropy(
            tf.one_hot(labels, labeled_logits.shape[-1], dtype=labeled_logits.dtype),
            labeled_logits)
        entropy = mpl_tf.targets.entropy(tf.nn.softmax(strong_logits))
        return supervised + self.weight * entropy, {
            "supervised_loss": supervised, "entropy": entropy}


@pytest.mark.slow
def test_a_users_own_objective():
    """Its terms are logged, alone and in the teacher; what it forgot to name is one line."""
    alone = mpl_tf.Baseline(tiny.network("student", 1), Entropy())
    alone.compile(tiny.nesterov())
    data = tiny.dataset(tiny.batches(2))
    logs = alone.fit(data, verbose=0).history
    assert logs["loss"][0] == pytest.approx(logs["supervised_loss"][0] + 0.3 * logs["entropy"][0])
    logs = tiny.model(objective=Entropy()).fit(data, verbose=0).history
    assert 0 < logs["teacher_entropy"][0] < np.log(3) and logs["teacher_supervised_loss"][0] > 0
    forgetful = Entropy()
    forgetful.terms = ("supervised_loss",)
    with pytest.raises(ValueError, match=r"Entropy.losses returns the terms \['entropy', "):
        tiny.model(objective=forgetful).train_step(
            tf.nest.map_structure(tf.constant, tiny.batches(1)[0]))

"""MetaPseudoLabels as users of Keras use it: fit, evaluate, predict, callbacks, compile options."""

import csv
import re
import traceback

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import passes
from mpl_tf.networks import layers as layers_
from tests import tiny

LOGGED = {"accuracy", "loss", "student_loss", "R", "teacher_supervised_loss",
          "teacher_consistency_loss", "teacher_meta_loss", "meta_gradient_norm",
          "pseudo_label_entropy", "pseudo_label_confidence", "agreement", "student_learning_rate",
          "teacher_learning_rate"}


def _cross_entropy(network, images, labels):
    return -np.mean(tiny.log_softmax(network(images, training=False))[range(len(labels)), labels])


def test_fit_evaluate_predict():
    model = tiny.model()
    images, labels = tiny.evaluation_data()
    logs = model.fit(tiny.dataset(tiny.batches()), epochs=2, validation_data=(images, labels),
                     validation_batch_size=16, verbose=0).history
    assert set(logs) == LOGGED | {"val_loss", "val_accuracy"}
    assert all(np.all(np.isfinite(values)) for values in logs.values())
    expected = _cross_entropy(model.student, images, labels)
    assert logs["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    for batch_size in (50, 16):     # 50 = 3 * 16 + 2: the last batch counts by its examples
        loss, accuracy = model.evaluate(images, labels, batch_size=batch_size, verbose=0)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert accuracy == pytest.approx(np.mean(model.student(images).numpy().argmax(1) == labels))
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    assert model.evaluate(batches, verbose=0, return_dict=True)["loss"] == pytest.approx(
        expected, rel=1e-5)
    np.testing.assert_allclose(model.predict(images, verbose=0), model.student(images), atol=1e-6)
    np.testing.assert_array_equal(model(images), model.student(images))
    doubled = np.where(np.arange(50) < 25, 2.0, 0.0)
    weighted = model.evaluate(images, labels, sample_weight=doubled, verbose=0)[0]
    assert weighted == pytest.approx(  # Keras: sum of weighted losses over the number of examples
        _cross_entropy(model.student, images[:25], labels[:25]), rel=1e-5)


def test_training_metrics_are_of_the_students_training_logits_on_labeled_data():
    """At a zero student rate, the logits are those of batch statistics at the first weights."""
    batch = tiny.batches(1)[0]
    model = tiny.model(networks_={"batch_norm": True}, optimizers=(tiny.nesterov(0.0), "sgd"))
    logits = tiny.network("student", 1, batch_norm=True)(batch["labeled"]["image"], training=True)
    teacher_before = tiny.network("teacher", 2, batch_norm=True)
    views = np.concatenate([batch["unlabeled"]["image"], batch["unlabeled"]["augmented"]])
    probs = np.exp(tiny.log_softmax(teacher_before(views, training=True)[8:]))
    labels = batch["labeled"]["label"]
    logs = model.fit(tiny.dataset([batch]), verbose=0).history
    expected = {
        "accuracy": np.mean(logits.numpy().argmax(1) == labels),
        "R": -np.mean(tiny.log_softmax(logits)[range(6), labels]),
        "teacher_meta_loss": -np.mean(tiny.log_softmax(logits)[range(6), labels]),
        "pseudo_label_entropy": -np.mean(np.sum(probs * np.log(probs), axis=1)),
        "pseudo_label_confidence": probs.max(axis=1).mean(),
        "student_learning_rate": 0.0, "teacher_learning_rate": 0.01}
    for name, value in expected.items():
        assert logs[name][0] == pytest.approx(value, rel=1e-5), name


def test_images_without_a_second_view():
    networks = tiny.networks(shape=(6, 6, 2))
    model = tiny.model(*networks, objective=mpl_tf.objectives.Supervised())
    batches = tiny.batches(2, shape=(6, 6, 2), augmented=False)
    before = tiny.state(model)
    logs = model.fit(tiny.dataset(batches), validation_data=tiny.evaluation_data(5, (6, 6, 2)),
                     verbose=0).history
    assert logs["meta_gradient_norm"][0] > 0 and "teacher_consistency_loss" not in logs
    after = tiny.state(model)
    assert all(np.any(after[name] != before[name]) for name in before if "kernel" in name)


def test_callbacks(tmp_path):
    rates = []

    def scale(epoch, logs):
        model.meta_weight.assign(0.0 if epoch else 3.0)

    model = tiny.model()
    callbacks = [
        tf.keras.callbacks.EarlyStopping("val_loss", min_delta=100.0, patience=1,
                                         restore_best_weights=True),
        tf.keras.callbacks.ModelCheckpoint(str(tmp_path / "weights_{epoch}.weights.h5"),
                                           save_weights_only=True),
        tf.keras.callbacks.ModelCheckpoint(str(tmp_path / "whole.keras")),
        tf.keras.callbacks.TensorBoard(str(tmp_path / "logs"), histogram_freq=1,
                                       update_freq="batch"),
        tf.keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        tf.keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
        tf.keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=50),
        tf.keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
        tf.keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: scale(epoch, logs),
            on_epoch_end=lambda epoch, logs: rates.append(
                float(model.student_optimizer.learning_rate)))]
    logs = model.fit(tiny.dataset(tiny.batches(2)), epochs=9,
                     validation_data=tiny.evaluation_data(),
                     callbacks=callbacks, verbose=0).history
    np.testing.assert_allclose(rates, [0.1, 0.05], rtol=1e-6)
    np.testing.assert_allclose(logs["student_learning_rate"], rates, rtol=1e-6)
    np.testing.assert_allclose(logs["teacher_meta_loss"], [3 * logs["R"][0], 0], rtol=1e-6)
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))
    assert [float(row["R"]) for row in rows] == pytest.approx(logs["R"], rel=1e-6)
    assert list((tmp_path / "logs" / "train").glob("events*"))
    twin = tiny.model()     # EarlyStopping stopped after two epochs and put the first's weights back
    twin.load_weights(str(tmp_path / "weights_1.weights.h5"))
    for one, other in zip(twin.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(one, other)
    whole = tf.keras.models.load_model(str(tmp_path / "whole.keras"))
    assert int(whole.student_optimizer.iterations) == 4


def test_learning_rate_schedules():
    decay = tf.keras.optimizers.schedules.ExponentialDecay
    optimizers = tiny.nesterov(decay(0.4, 1, 0.5)), tf.keras.optimizers.Adam(decay(0.1, 1, 0.1))
    model = tiny.model(optimizers=optimizers, objective=mpl_tf.objectives.Supervised())
    logs = model.fit(tiny.dataset(tiny.batches(1)), epochs=3, verbose=0).history
    np.testing.assert_allclose(logs["student_learning_rate"], [0.4, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(logs["teacher_learning_rate"], [0.1, 0.01, 0.001], rtol=1e-6)


@pytest.fixture(scope="module")
def plain_run():
    """Logs and state after four ordinary steps, batch norm and dropout on."""
    model = tiny.model(networks_=tiny.RICH)
    return model.fit(tiny.dataset(tiny.batches(4)), verbose=0).history, tiny.state(model)


@pytest.mark.slow
def test_several_steps_per_execution_equal_single_steps(plain_run):
    model = tiny.model(networks_=tiny.RICH, steps_per_execution=2)
    assert model.fit(tiny.dataset(tiny.batches(4)), verbose=0).history == plain_run[0]
    tiny.assert_same_state(model, plain_run[1])


@pytest.mark.parametrize("options", [
    {"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    pytest.param({"jit_compile": True, "meta_gradient": "jvp"}, marks=pytest.mark.slow)])
def test_other_ways_to_run_agree_to_rounding(plain_run, options):
    """The jvp compiled by XLA against the nested tape that is not: same masks, same statistics."""
    model = tiny.model(networks_=tiny.RICH, **options)
    logs = model.fit(tiny.dataset(tiny.batches(4)), verbose=0).history
    for name in LOGGED:
        assert logs[name] == pytest.approx(plain_run[0][name], rel=1e-4, abs=1e-6), name
    tiny.assert_same_state(model, plain_run[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", [pytest.param("nested_tape", marks=pytest.mark.slow), "jvp"])
def test_float64_stays_float64(way):
    tiny.use_float64()
    model = tiny.model(meta_gradient=way)
    images, labels = tiny.evaluation_data(dtype="float64")
    logs = model.fit(tiny.dataset(tiny.batches(2, dtype="float64")), verbose=0).history
    assert logs["R"][0] != float(np.float32(logs["R"][0]))
    assert model.predict(images, verbose=0).dtype == model(images).dtype == "float64"
    assert model.evaluate(images, labels, verbose=0)[0] == pytest.approx(
        _cross_entropy(model.student, images, labels), rel=1e-12)
    assert {value.dtype.name for name, value in tiny.state(model).items()
            if "iteration" not in name} == {"float64"}


def test_float64_layers_in_a_float32_process():
    model = tiny.model(*tiny.networks(dtype="float64"))
    model.fit(tiny.dataset(tiny.batches(2, dtype="float64")), verbose=0)
    assert model.predict(tiny.evaluation_data(dtype="float64")[0], verbose=0).dtype == "float64"
    assert model.meta_weight.dtype == tf.float64
    assert {value.dtype.name for name, value in tiny.state(model).items()
            if "kernel" in name} == {"float64"}


def test_bfloat16_trains_with_full_precision_logits():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    images, labels = tiny.evaluation_data()
    for way in ("nested_tape", "jvp"):
        model = tiny.model(meta_gradient=way)
        logs = model.fit(tiny.dataset(tiny.batches(2)), validation_data=(images, labels),
                         verbose=0).history
        assert all(np.isfinite(values[0]) for values in logs.values())
        assert logs["meta_gradient_norm"][0] > 0
        logits = tf.cast(model(images), tf.float32)
        assert logs["val_loss"][0] == pytest.approx(
            -np.mean(tiny.log_softmax(logits)[range(50), labels]), rel=1e-3)
        assert {value.dtype.name for name, value in tiny.state(model).items()
                if "kernel" in name} == {"float32"}
    assert model.student(images, training=True).dtype == tf.bfloat16
    assert passes.forward(model.student, tf.constant(images), [1, 2]).dtype == tf.float32


def test_summary_before_training_counts_both_networks():
    lines = []
    model = tiny.model()
    model.summary(print_fn=lambda line, *_: lines.append(line))
    weights = sum(network.count_params() for network in model.networks.values())
    text = "\n".join(lines)
    assert "student" in text and "teacher" in text
    text = re.sub("\x1b\\[[^m]*m", "", text)
    counts = [int(re.search(rf"{kind} params: *([\d,]+)", text).group(1).replace(",", ""))
              for kind in ("Trainable", "Non-trainable")]
    assert sum(counts) == weights + 1      # and meta_weight


def test_unbuilt_students_are_built_by_the_first_batch():
    layers = tf.keras.layers
    networks = [tf.keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(3)], name=role)
                for role in ("student", "teacher")]
    model = tiny.model(*networks, meta_gradient="jvp")
    logs = model.fit(tiny.dataset(tiny.batches(2)), verbose=0).history
    assert logs["meta_gradient_norm"][0] > 0 and len(model.student.weights) == 4
    model.summary(print_fn=lambda *_: None)


@pytest.mark.slow
def test_diagnostics_tell_of_the_coming_step_and_change_nothing():
    """A teacher that follows the meta signal alone, at rate 1: its step is the meta gradient."""
    model = tiny.model(optimizers=(tiny.nesterov(), "sgd"), student_weight_decay=0.01,
                       objective=mpl_tf.objectives.Supervised(weight=0.0), teacher_weight_decay=0.0)
    batch = tf.nest.map_structure(tf.constant, tiny.batches(1)[0])
    model.train_step(batch)
    model.teacher_optimizer.learning_rate.assign(1.0)
    before = tiny.state(model)
    logits = model.student(batch["labeled"]["image"], training=True)
    diagnosed = {name: value.numpy() for name, value in model.diagnostics(batch).items()}
    tiny.assert_same_state(model, before)
    teacher = model.teacher.get_weights()
    model.train_step(batch)
    step = np.sqrt(sum(np.sum((new - old) ** 2)
                       for old, new in zip(teacher, model.teacher.get_weights())))
    assert diagnosed["meta_gradient_norm_weights"] == pytest.approx(step, rel=1e-3)
    assert diagnosed["R_before"] == pytest.approx(
        -np.mean(tiny.log_softmax(logits)[range(6), batch["labeled"]["label"]]), rel=1e-5)
    assert diagnosed["gradient_cosine"] == diagnosed["objective_gradient_norm_weights"] == 0.0
    np.testing.assert_allclose(diagnosed["pseudo_labels"].sum(axis=1), 1.0, rtol=1e-5)
    assert diagnosed["pseudo_labels"].shape == (8, 3)


def _rewritten():
    """How many of the functions that are being called are AutoGraph's."""
    return sum("autograph_generated" in frame.filename for frame in traceback.extract_stack())


class Branching(tf.keras.layers.Layer):
    """A user's layer with a Python `if` over a tensor, which Keras 2 lets AutoGraph rewrite."""

    def call(self, inputs):
        if tf.reduce_sum(inputs) > 1e9:
            inputs = tf.zeros_like(inputs)
        return inputs


@pytest.mark.parametrize("baseline", [False, True])
def test_a_step_is_traced_as_written_and_a_users_layer_as_keras_traces_it(baseline):
    seen = []

    class Watched(mpl_tf.objectives.Supervised):
        def losses(self, *args, **kwargs):
            seen.append(_rewritten())
            return super().losses(*args, **kwargs)

    layers = [] if tiny.KERAS_3 else [Branching()]     # Keras 3 has no AutoGraph within a step
    student, teacher = (tf.keras.Sequential([tf.keras.Input([2]), *layers, tf.keras.layers.Dense(3)])
                        for _ in range(2))
    if baseline:
        model = mpl_tf.Baseline(student, Watched())
        model.compile("sgd")
    else:
        model = mpl_tf.MetaPseudoLabels(student, teacher, Watched())
        model.compile("sgd", "sgd")
    model.fit(tiny.dataset(tiny.batches()), verbose=0)
    tf.function(model.train_step).get_concrete_function(tiny.batches()[0])
    own = [type(model).train_step, type(model).test_step, type(model).call, layers_.ReplayableDropout.call]
    own += [] if baseline else [type(model)._diagnose]
    assert all(hasattr(function, "autograph_info__") for function in own)
    outer = 0 if tiny.KERAS_3 else 1     # a function of Keras 2's around the step
    assert seen and set(seen) <= {0, outer}, seen

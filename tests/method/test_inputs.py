"""Weights and lengths of what a step is given, and what callbacks and users see of it."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import batches as batches_module
from tests import tiny

OBJECTIVES = {"supervised": mpl_tf.objectives.Supervised(label_smoothing=0.1),
              "uda": mpl_tf.objectives.UDA()}


def model(objective="uda", way="nested_tape", rate=0.1, **kwargs):
    student, teacher = tiny.networks()
    made = mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES[objective], meta_gradient=way)
    made.compile(tf.keras.optimizers.SGD(rate), tf.keras.optimizers.SGD(rate), **kwargs)
    return made


def weighted(batch, weights):
    return {**batch, "labeled": {**batch["labeled"], "sample_weight": np.asarray(weights, "float32")}}


# ------------------------------------------------------------------------------ weights of examples

def cross_entropy(probs, images, labels, weights):
    """(1/B) sum_i w_i (-log p_i), in float64, of a network's function `probs`."""
    chosen = probs(images)[np.arange(len(labels)), labels].astype("float64")
    return float(np.mean(weights * -np.log(chosen)))


def of(network):
    return lambda images: tf.nn.softmax(network(images, training=False)).numpy()


@pytest.mark.parametrize("way", ["nested_tape", "jvp"])
def test_sample_weights_are_in_the_objective_and_in_r(way):
    batch, weights = tiny.batches(1)[0], np.array([0.0, 2.0, 1.0, 0.5, 3.0, 1.0])
    images, labels = batch["labeled"]["image"], batch["labeled"]["label"]
    made = model(way=way)
    before = cross_entropy(of(made.teacher), images, labels, weights)
    logs = made.train_on_batch(weighted(batch, weights), return_dict=True)
    assert logs["teacher_supervised_loss"] == pytest.approx(before, rel=1e-5)
    after = cross_entropy(of(made.student), images, labels, weights)    # R is at the new weights
    assert logs["R"] == pytest.approx(after, rel=1e-5)
    assert logs["loss"] == logs["student_loss"]


def test_an_example_of_weight_two_counts_as_two():
    """A batch with an example twice, and one with weights 2/B', move both networks alike."""
    batch = tiny.batches(1)[0]
    images, labels = batch["labeled"]["image"], batch["labeled"]["label"]
    twice = {**batch, "labeled": {"image": images[[0, *range(6)]], "label": labels[[0, *range(6)]]}}
    weights = np.array([2.0, 1, 1, 1, 1, 1]) * 6 / 7
    models = model("supervised"), model("supervised")
    models[0].train_on_batch(twice)
    models[1].train_on_batch(weighted(batch, weights))
    for one, other in zip(*(each.get_weights() for each in models)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_class_weight_in_fit_is_the_weight_of_each_example():
    given = tiny.batches(3)
    by_hand = [weighted(batch, np.array([0.5, 4.0, 1.0])[batch["labeled"]["label"]])
               for batch in given]
    models = [model(metrics=["accuracy"], weighted_metrics=[tf.keras.metrics.SparseCategoricalAccuracy(
        name="weighted")]) for _ in range(2)]
    models[0].fit(tiny.dataset(given), class_weight={0: 0.5, 1: 4.0}, verbose=0)
    models[1].fit(tiny.dataset(by_hand), verbose=0)
    for one, other in zip(*(each.get_weights() for each in models)):
        np.testing.assert_array_equal(one, other)
    assert models[0].history.history == models[1].history.history


def test_class_weights_multiply_sample_weights():
    batch = weighted(tiny.batches(1)[0], [1, 2, 3, 4, 5, 6])
    batch["labeled"]["label"] = np.array([0, 1, 2, 0, 9, -1])     # the check of labels comes later
    made = batches_module.with_class_weight(tf.data.Dataset.from_tensors(batch), {0: 10.0})
    assert next(iter(made))["labeled"]["sample_weight"].numpy().tolist() == [10, 2, 3, 40, 5, 6]


@pytest.mark.parametrize("weights", [{"cat": 1.0}, {-1: 1.0}, {0: float("nan")}, [1.0, 2.0], {0.5: 1}])
def test_other_class_weights_are_refused(weights):
    with pytest.raises(ValueError, match="class_weight=.*expected {class number: weight}") as refusal:
        model().fit(tiny.dataset(tiny.batches(1)), class_weight=weights, verbose=0)
    assert "\n" not in str(refusal.value)


def test_class_weights_of_other_classes_or_for_other_data_are_refused():
    with pytest.raises(ValueError, match="has class 3, but the networks have logits for 3 classes"):
        model().fit(tiny.dataset(tiny.batches(1)), class_weight={3: 2.0}, verbose=0)
    with pytest.raises(ValueError, match=r'training data has no \["labeled"\]\["label"\]'):
        model().fit(tf.data.Dataset.from_tensors({"labeled": {"image": np.ones((2, 2), "float32")}}),
                    class_weight={0: 2.0}, verbose=0)


class Plain(mpl_tf.objectives.Objective):
    """An objective of a user's own, which takes what it uses."""

    def losses(self, labels, labeled_logits):
        loss = tf.reduce_mean(tf.square(labeled_logits))
        return loss, {"supervised_loss": loss}


class NeedsViews(Plain):
    unlabeled = True


def test_weights_that_an_objective_does_not_take_are_refused():
    student, teacher = tiny.networks()
    made = mpl_tf.MetaPseudoLabels(student, teacher, Plain())
    made.compile("sgd", "sgd")
    made.train_on_batch(tiny.batches(1)[0])
    with pytest.raises(ValueError, match="Plain.losses does not take them: give it an argument"):
        made.train_on_batch(weighted(tiny.batches(1)[0], np.ones(6)))
    with pytest.raises(ValueError, match="NeedsViews.losses takes 2 tensors, expected losses.labels, "
                                         "labeled_logits, weak_logits, strong_logits"):
        mpl_tf.MetaPseudoLabels(student, teacher, NeedsViews())
    batch = tiny.batches(1)[0]
    batch["unlabeled"]["sample_weight"] = np.ones(8, "float32")
    with pytest.raises(ValueError, match="which no method here uses"):
        made.train_on_batch(batch)
    fixed = mpl_tf.FixedTeacher(student, teacher)
    fixed.compile("sgd")
    with pytest.raises(ValueError, match="FixedTeacher learns from no labels"):
        fixed.fit(tiny.dataset(tiny.batches(1)), class_weight={0: 1.0})


# ------------------------------------------------------------------------------------------ lengths

def cut(batch, part, key, rows):
    changed = {name: dict(views) for name, views in batch.items()}
    changed[part][key] = np.resize(changed[part][key], (rows, *changed[part][key].shape[1:]))
    return changed


def of_unknown_length(batch):
    specs = tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), batch)
    return tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=specs)


@pytest.mark.parametrize("known", [pytest.param(True, marks=pytest.mark.slow), False])
def test_pieces_of_other_lengths_are_refused(known):
    made = model()
    for part, key, rows, sizes in [
            ("labeled", "label", 1, r"\[6 1\]"), ("labeled", "image", 1, r"\[1 6\]"),
            ("unlabeled", "augmented", 1, r"\[8 1\]"), ("unlabeled", "image", 7, r"\[7 8\]"),
            ("labeled", "label", 0, r"\[6 0\]")]:
        batch = cut(tiny.batches(1)[0], part, key, rows)
        data = tf.data.Dataset.from_tensors(batch) if known else of_unknown_length(batch)
        with pytest.raises(ValueError, match=f"in {part}: .*they have {sizes}$") as refusal:
            made.fit(data, verbose=0)
        assert "\n" not in str(refusal.value)


def test_empty_batches_and_data_are_refused():
    batch = tiny.batches(1)[0]
    empty = tf.nest.map_structure(lambda array: array[:0], batch)
    for data in (tf.data.Dataset.from_tensors(empty), of_unknown_length(empty)):
        with pytest.raises(ValueError, match=r"or empty ones.* \[0 0\]$"):
            model().fit(data, verbose=0)
    with pytest.raises(ValueError, match="training data has no batches"):
        model().fit(tf.data.Dataset.from_tensors(batch).take(0), verbose=0)


def test_evaluation_compares_lengths_too():
    images, labels = tiny.evaluation_data(6)
    data = tf.data.Dataset.from_tensors((images, labels, np.ones(1, "float32")))
    with pytest.raises(ValueError, match="in evaluation: image, label, sample_weight"):
        model().evaluate(data, verbose=0)


def test_train_on_batch_is_a_step_of_fit_whatever_the_lengths():
    given = tiny.batches(2, labeled=5, unlabeled=9)
    models = model(metrics=["accuracy"]), model(metrics=["accuracy"])
    models[0].fit(tiny.dataset(given), verbose=0)
    logs = [models[1].train_on_batch(batch, reset_metrics=False, return_dict=True)
            for batch in given][-1]
    for one, other in zip(*(each.get_weights() for each in models)):
        np.testing.assert_array_equal(one, other)
    assert logs == {name: values[0] for name, values in models[0].history.history.items()}
    for way in ({"y": np.zeros(5)}, {"sample_weight": np.ones(5)}):
        with pytest.raises(ValueError, match="takes labels and weights within x"):
            models[1].train_on_batch(given[0], **way)


# ------------------------------------------------------------------------- what callbacks and users see

@pytest.mark.parametrize("where", [
    pytest.param("labeled", marks=pytest.mark.slow), "unlabeled"])
def test_terminate_on_nan_sees_every_network(where):
    """A NaN in x_l reaches the teacher's objective and R, but not the student's first loss."""
    given = tiny.batches(4)
    given[1][where]["image"][0] = np.nan
    made = model("uda")
    made.fit(tiny.dataset(given), verbose=0, callbacks=[tf.keras.callbacks.TerminateOnNaN()])
    assert made.optimizer.iterations.numpy() == 2 and made.stop_training


def test_early_stopping_watches_the_loss():
    made = model(rate=0.0)
    made.fit(tiny.dataset(tiny.batches(1)), epochs=9, verbose=0,
             callbacks=[tf.keras.callbacks.EarlyStopping("loss", patience=2, min_delta=1e-9)])
    assert len(made.history.epoch) == 3


def test_the_bar_shows_loss_r_and_metrics(capsys):
    made = model(metrics=["accuracy"])
    history = made.fit(tiny.dataset(tiny.batches(2)), verbose=2,
                       validation_data=tf.data.Dataset.from_tensors(tiny.evaluation_data(6)))
    last = capsys.readouterr().out.strip().splitlines()[-1]
    shown = {word.split(":")[0] for word in last.split(" - ") if ": " in word}
    assert shown == {"loss", "R", "accuracy", "val_loss", "val_accuracy"}
    assert {"student_loss", "agreement", "teacher_consistency_loss"} <= set(history.history)


@pytest.mark.parametrize("arguments, words", [
    ({"optimizer": "adam"}, "compile wants an optimizer for each: compile.student_optimizer="),
    ({"student_optimizer": "sgd"}, "compile wants an optimizer for each"),
    ({"student_optimizer": "sgd", "teacher_optimizer": "sgd", "loss": "mse"}, "compile has loss, but")])
def test_other_arguments_of_compile_are_refused(arguments, words):
    student, teacher = tiny.networks()
    made = mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES["uda"])
    for use in (lambda: made.fit(tiny.dataset(tiny.batches(1))), made.evaluate,
                lambda: made.train_on_batch(tiny.batches(1)[0])):
        with pytest.raises(RuntimeError, match="is not compiled: call model.compile.student_opt"):
            use()
    with pytest.raises(ValueError, match=words) as refusal:
        made.compile(**arguments)
    assert "\n" not in str(refusal.value)


def test_summary_of_built_networks_needs_no_training(capsys):
    student, teacher = tiny.networks()
    mpl_tf.MetaPseudoLabels(student, teacher, OBJECTIVES["uda"]).summary()
    assert f"{student.count_params() + teacher.count_params() + 1}" in capsys.readouterr().out
    lazy = tf.keras.Sequential([tf.keras.layers.Dense(3)], name="lazy")
    with pytest.raises(ValueError, match="lazy has no weights yet"):
        mpl_tf.Baseline(lazy, OBJECTIVES["supervised"]).summary()


def test_networks_of_several_inputs_are_refused():
    inputs = [tf.keras.Input((2,)), tf.keras.Input((2,))]
    several = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(tf.keras.layers.Add()(inputs)))
    with pytest.raises(ValueError, match="student has 2 inputs, expected one, the images"):
        mpl_tf.Baseline(several, OBJECTIVES["supervised"])

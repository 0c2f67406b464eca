"""The evaluate command, and accuracies over batches of any size."""

import os

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from mpl_tf import evaluate
from mpl_tf.run import evaluation, run_folder
from tests.runs import settings


def linear():
    """A network of points whose class is the larger coordinate."""
    network = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(2, use_bias=False)])
    network.layers[0].kernel.assign(np.eye(2))
    return network


@pytest.mark.parametrize("batch_size", [1, 4, 7, 50])
def test_accuracy_counts_every_example_once(batch_size):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 2)).astype("float32")
    labels = rng.integers(0, 2, 50)
    batches = tf.data.Dataset.from_tensor_slices((points, labels)).batch(batch_size)
    found = evaluation.accuracy_function(linear())(batches)
    assert found["accuracy"] == np.mean(points.argmax(axis=1) == labels)
    by_class = sklearn.metrics.recall_score(labels, points.argmax(axis=1), average=None)
    np.testing.assert_allclose(found["by_class"], by_class, rtol=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(
        labels, points.argmax(axis=1)), rel=1e-12)
    np.testing.assert_array_equal(found["confusion"], sklearn.metrics.confusion_matrix(
        labels, points.argmax(axis=1)))
    assert set(found) == {"accuracy", "balanced_accuracy", "by_class", "confusion"}


def test_a_class_without_examples_counts_in_no_mean():
    """Three classes in the network, two in the data: one is right once of four times, one always."""
    points = np.eye(3, dtype="float32")[[0, 1, 1, 1, 2]]
    inputs = tf.keras.Input([3])
    network = tf.keras.Model(inputs, tf.keras.layers.Activation("linear")(inputs))
    data = tf.data.Dataset.from_tensor_slices((points, np.array([0, 0, 0, 0, 2]))).batch(2)
    figures, by_class, matrices = evaluation.evaluate(
        {"student": evaluation.accuracy_function(network)}, {"test": data})
    assert figures == {"student_test_accuracy": 0.4, "student_test_balanced_accuracy": 0.625}
    assert by_class == {"student_test": [0.25, None, 1.0]}
    np.testing.assert_array_equal(matrices["student_test"], [[1, 3, 0], [0, 0, 0], [0, 0, 1]])
    assert evaluation.named(by_class, ("cat", "dog", "cat")) == {
        "student_test": {"cat (0)": 0.25, "dog": None, "cat (2)": 1.0}}
    assert "balanced" not in evaluation.line(figures)


def test_top5_of_many_classes():
    points = np.random.default_rng(1).normal(size=(30, 100)).astype("float32")
    labels = np.argsort(-points, axis=1)[range(30), np.arange(30) % 10]     # their rank: 0 to 9
    inputs = tf.keras.Input([100])
    network = tf.keras.Model(inputs, tf.keras.layers.Activation("linear")(inputs))
    accuracy = evaluation.accuracy_function(network)
    batches = tf.data.Dataset.from_tensor_slices((points, labels)).batch(7)
    found = accuracy(batches)
    assert (found["accuracy"], found["top5_accuracy"], len(found["by_class"])) == (0.1, 0.5, 100)


def begun(folder):
    with run_folder.open_folder(settings(folder)):
        pass


@pytest.mark.parametrize("prepare, reason", [
    (lambda folder: None, "holds no run"),
    (lambda folder: (folder / "notes.txt").write_text("mine"), "not a run's folder"),
    (begun, "no checkpoint")])
def test_a_folder_without_a_checkpoint_is_one_line(tmp_path, capsys, prepare, reason):
    prepare(tmp_path)
    before = sorted(os.listdir(tmp_path))
    assert evaluate.main([f"--model_dir={tmp_path}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert reason in line and line.startswith("error: ")
    assert sorted(os.listdir(tmp_path)) == before


def test_flags_of_training_are_refused(capsys):
    assert evaluate.main(["--model_dir=x", "--train_steps=3"]) == 2
    assert "--train_steps" in capsys.readouterr().err


def test_figures_are_compared_with_the_results():
    figures = {"student_test_accuracy": 0.5}
    assert "not finished" in evaluate.comparison(4, figures, None)
    assert "not finished" in evaluate.comparison(4, figures, {**figures, "train_steps": 5})
    assert "the same" in evaluate.comparison(4, figures, {**figures, "train_steps": 4})
    line = evaluate.comparison(4, figures, {"student_test_accuracy": 0.75, "train_steps": 4})
    assert "0.75 there, 0.5 here" in line
    more = {**figures, "student_test_balanced_accuracy": 0.25}      # an earlier version noted none
    assert "the same" in evaluate.comparison(4, more, {**figures, "train_steps": 4})
    assert "0.5 there, 0.25 here" in evaluate.comparison(4, more, {
        **figures, "student_test_balanced_accuracy": 0.5, "train_steps": 4})


def test_how_many_were_evaluated_is_said_and_how_many_the_run_had():
    counts = {"test": 6, "labeled": 12, "holdout": 0}
    assert evaluate.count_lines(counts, {}) == (["test: 6 images"], False)
    assert evaluate.count_lines(counts, {"unlabeled": ("3 examples (a)", "4 examples (b)")}) == (
        ["test: 6 images"], False)
    changed = {"test": ("4 examples (a)", "6 examples (b)"), "labeled": ("12 examples (a)", "12 examples (b)"),
               "holdout": ("1 examples (a)", "none")}
    assert evaluate.count_lines(counts, changed, "examples") == ([
        "test: 6 examples; the run had 4", "labeled: 12 examples; the run had 12 of other data",
        "holdout: no examples; the run had 1"], True)
    assert evaluate.count_lines({"test": 0}, {}) == (["test: no images"], False)     # with --evaluate=holdout


def test_the_table_has_a_row_for_each_network():
    results = {"student_test_accuracy": 0.75, "teacher_test_accuracy": None,
               "student_labeled_accuracy": 1.0, "median_last_evaluations": 0.5,
               "flags": {"median_evaluations": 5}, "evaluations": [{}, {}]}
    assert evaluation.table(results).splitlines() == [
        "accuracy [%]      test   labeled", "student          75.00    100.00",
        "median of the student's last 2 evaluations on test data: 50.00"]
    results.update(teacher_test_accuracy=0.5, teacher_labeled_accuracy=0.25)
    assert "teacher          50.00     25.00" in evaluation.table(results)
    results.update(student_test_balanced_accuracy=0.625, teacher_test_balanced_accuracy=0.5)
    assert evaluation.table(results).splitlines()[:2] == [
        "accuracy [%]      test  test balanced   labeled",
        "student          75.00          62.50    100.00"]

"""Runs of reduced_mpl and noisy_student on stored predictions, and averaged weights."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf import config, evaluate
from mpl_tf.run import run_folder, training, wiring
from tests import tiny
from tests.runs import assert_same_state, settings, state

TAN_AND_LE = dict(
    student_optimizer="rmsprop", rmsprop_epsilon=1e-3, student_learning_rate=0.01,
    schedule="exponential", decay_steps=2, warmup_steps=2, student_weight_decay=1e-5,
    ema_decay=0.9, teacher_optimizer="adam", teacher_learning_rate=1e-4, randaugment_layers=0,
    cutout=0, objective="", predictions_dir="predictions", labeled_examples=200)


@pytest.fixture
def stored(monkeypatch):
    """experiment.load_dataset with made-up predictions, right for most images."""
    def load_dataset(settings_, stored=True):
        dataset = original(settings_.replace(
            predictions_dir="", method="mpl", objective="supervised", ema_decay=0.0))
        rng = np.random.default_rng(0)
        probs = lambda count: rng.dirichlet(np.ones(10), count).astype("float16")
        return dataclasses.replace(dataset, labeled_probs=probs(len(dataset.labeled.labels)),
                                   unlabeled_probs=probs(len(dataset.unlabeled)))
    original = wiring.load_dataset
    monkeypatch.setattr(wiring, "load_dataset", load_dataset)


@pytest.mark.slow
def test_a_reduced_run_resumes_bit_for_bit_with_its_averages(tmp_path, stored, capsys):
    flags = {**TAN_AND_LE, "method": "reduced_mpl", "student_network": "mlp-16", "eval_steps": 6}
    training.run(settings(tmp_path / "straight", **flags))
    training.run(settings(tmp_path / "resumed", **flags, **{"train_steps": 4}))
    results = training.run(settings(tmp_path / "resumed", **flags, **{"plots": True}))
    assert (tmp_path / "resumed" / "targets.png").stat().st_size > 10_000
    assert_same_state(tmp_path / "straight", tmp_path / "resumed")
    held = state(tmp_path / "resumed")
    assert "networks   student mlp-16" in capsys.readouterr().out
    # What is evaluated and exported is the average.
    student = tf.keras.models.load_model(tmp_path / "resumed" / "student.keras", compile=False)
    key = next(name for name in held if name.startswith("student_average") and "kernel" in name)
    kernel = next(w.numpy() for w in student.weights if w.shape == held[key].shape)
    np.testing.assert_array_equal(kernel, held[key])
    assert np.any(held[key] != held[key.replace("student_average", "student", 1)])
    step, figures = evaluate.evaluate(settings(tmp_path / "resumed", **flags))
    assert step == 6 and figures["student_test_accuracy"] == results["student_test_accuracy"]
    assert not any(name.startswith("teacher") for name in figures)
    assert results["teacher_test_accuracy"] is None


def test_a_noisy_students_run(tmp_path, stored):
    flags = {**TAN_AND_LE, "method": "noisy_student", "student_network": "mlp-16", "cutout": 2}
    results = training.run(settings(tmp_path, **flags))
    assert 0 <= results["student_test_accuracy"] <= 1
    assert results["evaluations"][-1]["loss"] > 0
    assert run_folder.RESULTS in os.listdir(tmp_path)


@pytest.mark.parametrize("replicas", [1, 2])
def test_averages_by_hand(replicas):
    """average <- d average + (1 - d) weights after each step, d = 1/10, 2/11, then at most 0.15."""
    strategy = tiny.two_replicas() if replicas == 2 else tf.distribute.get_strategy()
    build = lambda: tiny.network("student", 1, batch_norm=True)
    with strategy.scope():
        model = mpl_tf.Baseline(build(), mpl_tf.objectives.Supervised())
        model.compile(tiny.nesterov())
        model.average_weights(build(), 0.15)
    expected = [weight.numpy().astype("float64") for weight in model.student.weights]
    for batch, decay in zip(tiny.batches(3), (0.1, 0.15, 0.15)):
        model.fit(tiny.dataset([{"labeled": batch["labeled"]}]), verbose=0)
        expected = [decay * average + (1 - decay) * weight.numpy()
                    for average, weight in zip(expected, model.student.weights)]
    for weight, value in zip(model.classifiers["student"].weights, expected):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-5, atol=1e-6)
    assert model.classifiers["student"] is not model.student
    with pytest.raises(ValueError, match="other weights than the student"):
        model.average_weights(tiny.network("student", 1), 0.9)


@pytest.mark.slow
def test_flags_of_the_paper_reach_model_and_optimizers(tmp_path, stored):
    """C.2: an identity 5-layer MLP of 128, Adam 1e-4 throughout; Tan & Le's RMSprop."""
    c = settings(tmp_path, **{**TAN_AND_LE, "method": "reduced_mpl", "ema_decay": 0.0,
                              "student_network": "efficientnet-b0", "drop_connect": 0.3})
    assert (c.teacher_network, c.objective, c.teacher_schedule) == (
        "calibration-128", "supervised", "constant")
    assert c.replace(train_steps=3500, decay_steps=0).decay_steps == 24
    model = wiring.build_model(c, wiring.load_dataset(c))
    assert model.teacher_input == "teacher_probs" and list(model.classifiers) == ["student"]
    assert model.student.get_layer("block6d_drop").rate == pytest.approx(0.3 * 14 / 16)
    teacher, student = model.teacher_optimizer, model.student_optimizer
    assert float(teacher.learning_rate) == pytest.approx(1e-4) and teacher.epsilon == 1e-7
    assert (student.rho, student.momentum, student.epsilon) == (0.9, 0.9, 1e-3)
    rates = [float(student._learning_rate(step)) for step in range(5)]
    np.testing.assert_allclose(rates, [0.005, 0.01, 0.0097, 0.0097, 0.009409], rtol=1e-5)


@pytest.mark.parametrize("flags, words", [
    ("--method=reduced_mpl", "--method=reduced_mpl without --predictions_dir"),
    ("--method=noisy_student", "--method=noisy_student without --predictions_dir"),
    ("--predictions_dir=x", "--predictions_dir=x with --method=mpl"),
    ("--selection=x --method=baseline", "--selection=x with --method=baseline"),
    ("--method=reduced_mpl --predictions_dir=x --objective=uda", "expected supervised"),
    ("--method=reduced_mpl --predictions_dir=x --dataset=two_moons", "expected images"),
    ("--method=reduced_mpl --predictions_dir=x --teacher_network=small_conv",
     "expected a network of distributions"),
    ("--student_network=calibration-128", "expected a network of images"),
    ("--student_network=efficientnet-b9", "efficientnet-b0 to -b7"),
    ("--student_weights=imagenet", "expected a network that has them"),
    ("--decay_rate=0.9", "no effect with --schedule=cosine"),
    ("--drop_connect=0.1", "no effect with --student_network=small_conv"),
    ("--rmsprop_epsilon=0.1", "no effect with --student_optimizer=nesterov"),
    ("--method=noisy_student --predictions_dir=x --teacher_network=mlp", "has no effect"),
    ("--ema_decay=1", "at least 0 and below 1")])
def test_flags_that_cannot_be_are_refused_in_one_line(flags, words):
    with pytest.raises(ValueError) as error:
        config.parse(["--model_dir=m", *flags.split()])
    assert words in str(error.value) and "\n" not in str(error.value)

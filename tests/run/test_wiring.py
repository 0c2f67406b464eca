"""The wiring from flags to data, networks, model and optimizers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import data, datasets
from mpl_tf.run import devices as strategy, training, wiring
from tests import tiny
from tests.runs import settings


def as_arrays(strategy_, batch):
    """A batch's leaves, the replicas' parts put together."""
    return [np.concatenate([part.numpy() for part in strategy_.experimental_local_results(leaf)])
            for leaf in tf.nest.flatten(batch)]


@pytest.mark.parametrize("name", [
    "default", pytest.param("mirrored", marks=pytest.mark.slow)])
def test_look_ahead_passes_on_the_very_batches(name, tmp_path):
    """On one device and on two; a traced train function takes them without being traced again."""
    config = settings(tmp_path)
    dataset, devices = wiring.load_dataset(config), strategy.get_strategy(name)
    expected = wiring.train_batches(config, dataset, devices, start_step=3)
    batches = wiring.train_batches(config, dataset, devices, start_step=3)
    traces = []

    @tf.function
    def take(iterator):
        traces.append(1)
        return devices.run(lambda batch: batch, args=(next(iterator),))

    def assert_next(iterator):
        for left, right in zip(as_arrays(devices, take(expected)),
                               as_arrays(devices, take(iterator))):
            np.testing.assert_array_equal(left, right)

    assert_next(batches)
    first, replay = wiring.look_ahead(devices, batches, 2)
    kept = as_arrays(devices, first)
    assert sum(len(leaf) for leaf in kept) == 16 * len(kept)
    assert_next(replay)
    assert_next(replay)
    assert_next(batches)        # goes on where the two ended
    assert len(traces) == 1


@pytest.mark.parametrize("name, kind, options", [
    ("sgd", tf.keras.optimizers.SGD, dict(momentum=0.0, nesterov=False)),
    ("momentum", tf.keras.optimizers.SGD, dict(momentum=0.8, nesterov=False)),
    ("nesterov", tf.keras.optimizers.SGD, dict(momentum=0.8, nesterov=True)),
    ("rmsprop", tf.keras.optimizers.RMSprop, dict(momentum=0.8)),
    ("adam", tf.keras.optimizers.Adam, dict())])
def test_optimizers(tmp_path, name, kind, options):
    config = settings(tmp_path, student_optimizer=name, momentum=0.8, teacher_optimizer="sgd",
                      student_learning_rate=0.5, schedule="cosine", warmup_steps=2)
    optimizer = wiring.build_optimizer(config, "student")
    assert type(optimizer) is kind
    for option, value in options.items():
        assert getattr(optimizer, option) == value
    schedule = optimizer._learning_rate
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 1, 2, 4, 6)],
                               [0.25, 0.5, 0.5, 0.25, 0.0], atol=1e-7)
    assert type(wiring.build_optimizer(config, "teacher")) is tf.keras.optimizers.SGD


def test_weights_follow_the_seed_and_differ_between_student_and_teacher(tmp_path):
    config = settings(tmp_path)
    dataset = wiring.load_dataset(config)
    first, again = (wiring.build_networks(config, dataset) for _ in range(2))
    other = wiring.build_networks(settings(tmp_path, seed=1), dataset)
    kernel = lambda network: network.trainable_weights[0].numpy()
    np.testing.assert_array_equal(kernel(first["student"]), kernel(again["student"]))
    different = [kernel(n) for n in (*first.values(), *other.values())]
    for i, left in enumerate(different):
        for right in different[:i]:
            assert np.abs(left - right).max() > 0.01


def test_the_rbf_network_covers_the_data(tmp_path):
    config = settings(tmp_path, dataset="two_moons", student_network="rbf", labeled_examples=6,
                      batch_size=6, student_dropout=0.0, teacher_dropout=0.0)
    dataset = wiring.load_dataset(config)
    centres = wiring.build_networks(config, dataset)["student"].layers[1].centres
    assert (centres.min(axis=0) < dataset.unlabeled.min(axis=0)).all()
    assert (centres.max(axis=0) > dataset.unlabeled.max(axis=0)).all()
    assert len(centres) == 570      # as in the setting that the results are for


def test_flags_of_the_strong_view_reach_the_pipeline(tmp_path):
    flags = dict(randaugment_layers=1, randaugment_magnitude=9.0, cutout=4,
                 randaugment_operations="released")
    config = settings(tmp_path, objective="uda", seed=3, **flags)
    dataset = wiring.load_dataset(config)
    batch = next(wiring.train_batches(config, dataset, tf.distribute.get_strategy()))
    expected = next(iter(data.train_dataset(dataset, 16, seed=3, **flags)))
    np.testing.assert_array_equal(batch["unlabeled"]["augmented"],
                                  expected["unlabeled"]["augmented"])


def test_the_sampling_of_classes_reaches_the_pipeline(tmp_path):
    config = settings(tmp_path, labeled_sampling="balanced", batch_size=20)
    dataset = wiring.load_dataset(config)
    few = np.concatenate([np.flatnonzero(dataset.labeled.labels == 3)[:1],
                          np.flatnonzero(dataset.labeled.labels != 3)])
    dataset = dataclasses.replace(dataset, labeled=datasets.Split(
        dataset.labeled.images[few], dataset.labeled.labels[few]))
    batch = next(wiring.train_batches(config, dataset, tf.distribute.get_strategy()))
    assert np.bincount(batch["labeled"]["label"]).tolist() == [2] * 10
    model = wiring.build_model(config, dataset)
    assert "each class drawn equally often)" in training.plan(config, tf.distribute.get_strategy(), dataset,
                                                              model, 0)


def test_precision_is_that_of_activations(tmp_path):
    config = settings(tmp_path, precision="mixed_bfloat16")
    student = wiring.build_networks(config, wiring.load_dataset(config))["student"]
    assert student.output.dtype == tf.float32
    assert any(layer.compute_dtype == "bfloat16" for layer in student.layers)


# Every flag has a value of its own: one that is read where another belongs shows.
FLAGS = dict(
    dataset="digits", method="mpl", objective="uda", student_network="wrn-10-1",
    teacher_network="small_conv", student_dropout=0.11, teacher_dropout=0.12, batch_norm_decay=0.93,
    student_weight_decay=1e-3, teacher_weight_decay=2e-3, student_learning_rate=0.3,
    teacher_learning_rate=0.4, student_optimizer="rmsprop", teacher_optimizer="nesterov",
    momentum=0.7, rmsprop_epsilon=0.02, uda_weight=0.5, uda_temperature=0.6, label_smoothing=0.05,
    supervised_weight=0.25, meta_weight=1.5, meta_gradient="jvp", microbatch_size=4,
    seed=4, train_steps=8)


def built(tmp_path, **changes):
    config = settings(tmp_path, **{**FLAGS, **changes})
    return wiring.build_model(config, wiring.load_dataset(config))


def layers_of(network, kind):
    return [layer for layer in network._flatten_layers() if type(layer).__name__ == kind]


def test_flags_reach_the_model(tmp_path):
    model = built(tmp_path)
    assert model.objective.get_config() == dict(
        weight=0.5, temperature=0.6, label_smoothing=0.05, supervised_weight=0.25)
    assert float(model.meta_weight) == 1.5 and model.meta_gradient == "jvp" and model.seed == 4
    assert model.microbatch_size == 4
    assert (model.student_weight_decay, model.teacher_weight_decay) == (1e-3, 2e-3)
    assert [layer.rate for layer in layers_of(model.student, "ReplayableDropout")] == [0.11]
    assert [layer.rate for layer in layers_of(model.teacher, "ReplayableDropout")] == [0.12]
    norms = layers_of(model.student, "FusedBatchNormalization" if tiny.KERAS_3 else "BatchNormalization")
    assert norms and {layer.momentum for layer in norms} == {0.93}
    student, teacher = model.student_optimizer, model.teacher_optimizer
    assert (student.epsilon, student.momentum, teacher.momentum) == (0.02, 0.7, 0.7)
    assert float(student.learning_rate) == pytest.approx(0.3)
    assert float(teacher.learning_rate) == pytest.approx(0.4) and teacher.nesterov


@pytest.mark.parametrize("objective, view", [("supervised", "image"), ("randaugment", "augmented")])
def test_flags_reach_the_other_objectives(tmp_path, objective, view):
    model = built(tmp_path, objective=objective, uda_weight=1.0, uda_temperature=1.0)
    assert model.objective.get_config() == dict(weight=0.25, label_smoothing=0.05)
    assert model.objective.labeled_view == view
    baseline = built(tmp_path, objective=objective, method="baseline")
    assert type(baseline).__name__ == "Baseline" and baseline.weight_decay == 1e-3
    assert baseline.objective.get_config() == model.objective.get_config()


@pytest.mark.parametrize("method, hard, temperature", [
    ("hard_pseudo_labels", True, 1.0), ("soft_pseudo_labels", False, 1.0),
    ("distillation", False, 2.5)])
def test_flags_reach_a_fixed_teachers_student(tmp_path, method, hard, temperature):
    config = settings(tmp_path, **{**FLAGS, "method": "baseline", "objective": "supervised"})
    path = str(tmp_path / "teacher.keras")
    wiring.build_networks(config, wiring.load_dataset(config))["student"].save(path)
    model = built(tmp_path, method=method, objective="supervised", fixed_teacher=path,
                  temperature=temperature)
    assert (model.hard, model.temperature, model.weight_decay) == (hard, temperature, 1e-3)


@pytest.mark.parametrize("schedule, rates", [
    ("constant", [0.3, 0.3, 0.3]), ("cosine", [0.075, 0.3, 0.0]),
    ("exponential", [0.075, 0.3, 0.3 * 0.5 ** 4])])
def test_flags_reach_the_schedules(tmp_path, schedule, rates):
    """Steps 0, 3 and 8 of 8, four of them warm-up; then, exponentially, halved every two."""
    flags = dict(schedule=schedule)
    if schedule != "constant":
        flags["warmup_steps"] = 4
    if schedule == "exponential":
        flags.update(decay_steps=2, decay_rate=0.5)
    optimizer = wiring.build_optimizer(settings(tmp_path, **{**FLAGS, **flags}), "student")
    rate = optimizer._learning_rate
    found = [float(rate(step) if callable(rate) else rate) for step in (0, 3, 8)]
    np.testing.assert_allclose(found, rates, rtol=1e-6, atol=1e-7)


def test_labels_take_the_strong_view_for_randaugment(tmp_path):
    config = settings(tmp_path, objective="randaugment")
    batch = next(wiring.train_batches(config, wiring.load_dataset(config),
                                          tf.distribute.get_strategy()))
    assert np.abs(batch["labeled"]["augmented"] - batch["labeled"]["image"]).max() > 0.1

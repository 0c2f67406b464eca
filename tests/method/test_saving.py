"""Saving and loading the whole model: networks, objective, both optimizers, and what comes next."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from tests import tiny
from tests.conftest import ROOT


def _rich_model(**options):
    """Batch norm, dropout, slots in both optimizers, a schedule, a meta_weight of its own."""
    rate = mpl_tf.WarmupCosine(0.2, total_steps=20, warmup_steps=4)
    return tiny.model(
        networks_=tiny.RICH, meta_weight=0.5, **options,
        objective=mpl_tf.objectives.UDA(weight=2.0, temperature=0.7, label_smoothing=0.1),
        optimizers=(tf.keras.optimizers.RMSprop(0.01, momentum=0.9),
                    tf.keras.optimizers.Adam(rate)))


def test_a_loaded_model_continues_bit_for_bit(tmp_path):
    batches = tiny.batches(4)
    model = _rich_model(meta_gradient="jvp")
    model.fit(tiny.dataset(batches[:2]), verbose=0)
    model.meta_weight.assign(0.75)
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    assert type(loaded) is mpl_tf.MetaPseudoLabels
    tiny.assert_same_state(loaded, model)
    assert loaded.objective.get_config() == model.objective.get_config()
    assert (loaded.meta_gradient, loaded.seed, float(loaded.meta_weight)) == ("jvp", 5, 0.75)
    assert loaded.student_weight_decay == loaded.teacher_weight_decay == 5e-4
    for role, optimizer in model.optimizers.items():
        assert loaded.optimizers[role].get_config() == optimizer.get_config()
        assert int(loaded.optimizers[role].iterations) == 2
    images, labels = tiny.evaluation_data()
    np.testing.assert_array_equal(loaded(images), model(images))
    logs = [one.fit(tiny.dataset(batches[2:]), verbose=0).history for one in (model, loaded)]
    assert logs[0] == logs[1] and "accuracy" in logs[0]
    tiny.assert_same_state(loaded, model)


def test_save_before_the_first_step(tmp_path):
    path = str(tmp_path / "model.keras")
    model = _rich_model(run_eagerly=True)
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    for one in (model, loaded):
        one.fit(tiny.dataset(tiny.batches(2)), verbose=0)
    tiny.assert_same_state(loaded, model)


@pytest.mark.parametrize("name", [
    "weights.weights.h5",
    *(pytest.param(name, marks=tiny.keras_2_only) for name in ("weights.h5", "checkpoint"))])
def test_weights_alone(tmp_path, name):
    model = tiny.model(networks_=tiny.RICH, meta_weight=0.5)
    model.student(np.ones([4, 2], "float32"), training=True)    # averages of its own
    model.save_weights(str(tmp_path / name))
    other = tiny.model(tiny.network("student", 3, **tiny.RICH),
                       tiny.network("teacher", 4, **tiny.RICH), meta_weight=1.0)
    status = other.load_weights(str(tmp_path / name))
    if status is not None:
        status.expect_partial()
    assert float(other.meta_weight) == 0.5
    assert len(model.get_weights()) == len(other.get_weights()) > 0
    for one, value in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, value)


def test_a_checkpoint_of_everything_continues_bit_for_bit(tmp_path):
    """tf.train.Checkpoint(model=...): what BackupAndRestore keeps."""
    batches = tiny.batches(4)
    model = tiny.model(networks_=tiny.RICH, run_eagerly=True)
    model.fit(tiny.dataset(batches[:2]), verbose=0)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    other = tiny.model(tiny.network("student", 3, **tiny.RICH),
                       tiny.network("teacher", 4, **tiny.RICH), run_eagerly=True)
    status = tf.train.Checkpoint(model=other).restore(path)
    for one in (model, other):
        one.fit(tiny.dataset(batches[2:]), verbose=0)
    status.assert_existing_objects_matched()
    tiny.assert_same_state(other, model)


def test_backup_and_restore_takes_up_an_interrupted_fit(tmp_path):
    class Interruption(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    data = tiny.dataset(tiny.batches(2))
    backup = lambda: tf.keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    first = tiny.model(run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        first.fit(data, epochs=3, callbacks=[backup(), Interruption()], verbose=0)
    resumed, whole = (tiny.model(run_eagerly=True) for _ in range(2))
    logs = resumed.fit(data, epochs=3, callbacks=[backup()], verbose=0).history
    assert len(logs["R"]) == 1
    whole.fit(data, epochs=3, verbose=0)
    tiny.assert_same_state(resumed, whole)


@pytest.mark.parametrize("kind", ["baseline", "fixed_teacher"])
def test_models_of_one_network(tmp_path, kind):
    if kind == "baseline":
        model = mpl_tf.Baseline(tiny.network("student", 1, **tiny.RICH), mpl_tf.objectives.UDA(2.0))
    else:
        model = mpl_tf.FixedTeacher(*tiny.networks(**tiny.RICH), hard=True, temperature=0.5)
    model.compile(tiny.nesterov(), weight_decay=0.01, metrics=["accuracy"], run_eagerly=True)
    batches = tiny.batches(4)
    model.fit(tiny.dataset(batches[:2]), verbose=0)
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    tiny.assert_same_state(loaded, model)
    if kind == "fixed_teacher":
        assert (loaded.hard, loaded.temperature) == (True, 0.5)
        for one, other in zip(model.teacher.weights, loaded.teacher.weights):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    for one in (model, loaded):
        one.fit(tiny.dataset(batches[2:]), verbose=0)
    tiny.assert_same_state(loaded, model)


@pytest.mark.parametrize("name, options", [
    ("folder", {}), ("model.h5", {}), ("model.keras", {"save_format": "tf"})])
def test_formats_that_lose_the_networks_are_refused(tmp_path, name, options):
    """A SavedModel loads as an object without networks, teacher_optimizer or train_step."""
    with pytest.raises(ValueError, match="only the .keras format") as error:
        tiny.model().save(str(tmp_path / name), **options)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


FRESH = """
import sys
import mpl_tf
import numpy as np, tensorflow as tf
folder = sys.argv[1]
inputs, expected = np.load(folder + "/inputs.npz"), np.load(folder + "/expected.npz")
for name in expected:
    loaded = tf.keras.models.load_model(f"{folder}/{name}.keras")
    np.testing.assert_array_equal(loaded(inputs[name]), expected[name])
    parts = [*loaded._flatten_layers(), getattr(loaded, "objective", None)]
    parts += [optimizer._learning_rate for optimizer in getattr(loaded, "optimizers", {}).values()]
    print(name, *sorted({f"{type(part).__module__}.{type(part).__name__}" for part in parts
                         if type(part).__module__.startswith("mpl_tf.")}))
"""
ABSENT = """
import sys
sys.modules["mpl_tf"] = None        # cannot be imported
import tensorflow as tf
try:
    print("loaded", [type(layer) for layer in tf.keras.models.load_model(sys.argv[1]).layers])
except (TypeError, ValueError) as error:
    print("refused", error)
"""


def _python(code, argument):
    """What `code` prints in a new interpreter; the environment says which Keras, as here."""
    result = subprocess.run([sys.executable, "-c", code, str(argument)], cwd=ROOT, text=True,
                            capture_output=True, timeout=300,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_a_fresh_process_that_imports_the_package_alone_finds_our_classes(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    images = np.random.default_rng(1).normal(size=(5, 8, 8, 1)).astype("float32")
    probs = tf.nn.softmax(images[:, 0, :3, 0])
    saved = {
        "small_conv": (mpl_tf.networks.small_conv(3, (8, 8, 1), dropout=0.5), images),
        "rbf": (mpl_tf.networks.rbf_linear(3, dropout=0.2), points),
        "calibration": (mpl_tf.networks.calibration(3, hidden=(4,)), probs),
        "whole": (_rich_model(), points)}
    for name, (model, _) in saved.items():
        model.save(str(tmp_path / f"{name}.keras"))
    np.savez(tmp_path / "inputs.npz", **{name: inputs for name, (_, inputs) in saved.items()})
    np.savez(tmp_path / "expected.npz",
             **{name: model(inputs).numpy() for name, (model, inputs) in saved.items()})
    assert _python(FRESH, tmp_path).splitlines() == [
        "small_conv " + "mpl_tf.networks.layers.FusedBatchNormalization " * tiny.KERAS_3
        + "mpl_tf.networks.layers.ReplayableDropout",
        "rbf mpl_tf.networks.layers.GaussianFeatures mpl_tf.networks.layers.ReplayableDropout",
        "calibration mpl_tf.networks.layers.LogProbabilities",
        "whole mpl_tf.method.mpl.MetaPseudoLabels mpl_tf.method.objectives.UDA "
        "mpl_tf.method.schedules.WarmupCosine mpl_tf.networks.layers.ReplayableDropout"]


@pytest.mark.slow
def test_keras_has_nothing_to_take_for_our_dropout(tmp_path):
    """As it took its own Dropout, where the package was not imported."""
    path = tmp_path / "network.keras"
    tiny.network("student", 1, **tiny.RICH).save(str(path))
    said = _python(ABSENT, path)
    assert said.startswith("refused") and "ReplayableDropout" in said

"""Runs with networks by path and of keras.applications: begun, stopped, resumed, evaluated, served."""

import os
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config, evaluate, predict
from mpl_tf.run import run_folder, serving, training, wiring
from tests.runs import assert_same_state, settings

MODULE = """
    import tensorflow as tf

    @tf.keras.utils.register_keras_serializable("own_nets")
    class Scaled(tf.keras.layers.Layer):
        def __init__(self, scale, **options):
            super().__init__(**options)
            self.scale = scale

        def call(self, inputs):
            return self.scale * inputs

        def get_config(self):
            return {**super().get_config(), "scale": self.scale}

    class Lost(tf.keras.layers.Layer):
        def __init__(self, scale, **options):
            super().__init__(**options)
            self.scale = scale

        def call(self, inputs):
            return self.scale * inputs

    def build(num_classes, input_shape, **options):
        image = tf.keras.Input(input_shape)
        x = tf.keras.layers.Dense(6, activation="relu")(tf.keras.layers.Flatten()(image))
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(Scaled(0.5)(x)))

    def lost(num_classes, input_shape):
        image = tf.keras.Input(input_shape)
        x = Lost(0.5)(tf.keras.layers.Flatten()(image))
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(x))
"""
OWN = dict(student_network="own_nets:build", student_dropout=0.0, teacher_dropout=0.0)


def forget():
    for name in [name for name in sys.modules if name == "own_nets"]:
        del sys.modules[name]
    tf.keras.utils.get_custom_objects().pop("own_nets>Scaled", None)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of a module own_nets in the working folder, as a user's."""
    file = tmp_path / "own_nets.py"
    file.write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)   # a changed file of equal size and time
    yield file
    forget()


@pytest.mark.slow
def test_a_run_with_a_network_by_its_path_is_resumed_evaluated_and_served(module, tmp_path, capsys):
    whole, parts = settings("whole", **OWN), settings("parts", **OWN)
    training.run(whole)
    assert {"student.keras", "teacher.keras", "networks.json"} <= set(os.listdir("whole/networks"))
    training.run(parts.replace(train_steps=4))
    forget()
    module.write_text("# Another comment.\n" + module.read_text())
    training.run(parts)
    assert_same_state("whole", "parts")
    assert evaluate.main(["--model_dir=whole"]) == 0
    assert "the same as results.json's" in capsys.readouterr().out
    served = serving.Served("whole", 8)
    images = np.random.default_rng(0).integers(0, 256, [3, 8, 8, 1]).astype(np.uint8)
    loaded = tf.keras.models.load_model("whole/student.keras")
    np.testing.assert_allclose(served(images).numpy(), tf.nn.softmax(loaded(images / 127.5 - 1)),
                               rtol=1e-5)
    file = os.path.join("whole", run_folder.NETWORKS, "student.keras")
    for damage, words in ((lambda: open(file, "wb").close(), ", which holds the network .*, cannot be"),
                          (lambda: os.remove(file), ": there is no such file")):
        damage()
        with pytest.raises(ValueError, match=f"whole/networks/student.keras{words}"):
            evaluate.evaluate(whole)


def test_a_function_that_has_changed_is_told_of_when_a_run_is_resumed(module, capsys):
    run = settings("changed", **{**OWN, "eval_steps": 2})
    training.run(run.replace(train_steps=2))
    forget()
    module.write_text(module.read_text().replace("Dense(6,", "Dense(7,"))
    with pytest.raises(ValueError, match=(
            r"--student_network=own_nets:build has changed since the run in changed began: it had "
            r".*Dense\(6, .* and it has .*Dense\(7, .*; undo that to continue the run, or choose "
            "another --model_dir")) as error:
        training.run(run)
    assert "\n" not in str(error.value)
    assert evaluate.main(["--model_dir=changed"]) == 0      # by the networks that the run has kept
    forget()
    module.unlink()
    with pytest.raises(ValueError, match="--student_network=own_nets:build cannot be imported"):
        training.run(run)


def test_a_run_without_a_checkpoint_begins_anew_with_the_function_as_it_is(module):
    run = settings("begun", **OWN)
    for units in (6, 7):
        with run_folder.open_folder(run):
            built = wiring.build_networks(run, wiring.load_dataset(run))
        assert {network.layers[2].units for network in built.values()} == {units}
        kept = tf.keras.models.load_model("begun/networks/student.keras")
        assert kept.layers[2].units == units
        forget()
        module.write_text(module.read_text().replace("Dense(6,", "Dense(7,"))


def test_equal_seeds_give_equal_networks_and_roles_differ(module, tmp_path):
    kernels = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        run = settings(folder, **OWN, seed=seed)
        built = wiring.build_networks(run, wiring.load_dataset(run))
        kernels.append([built[role].weights[0].numpy() for role in ("student", "teacher")])
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(*kernels[0])


def test_a_network_that_no_file_can_hold_is_refused_before_a_step(module):
    with pytest.raises(ValueError, match="own_nets:lost.*(cannot be saved|cannot be read)") as error:
        training.run(settings("lost", **{**OWN, "student_network": "own_nets:lost"}))
    assert "\n" not in str(error.value) and not os.path.exists("lost/checkpoints")


def test_a_baseline_with_averages_begins_from_a_file_of_weights(module):
    first = wiring.build_networks(settings("first", **OWN), wiring.load_dataset(settings("x")))
    first["student"].save("first.keras")
    run = settings("second", **{**OWN, "method": "baseline", "ema_decay": 0.5,
                                "student_weights": "first.keras"})
    model = wiring.build_model(run, wiring.load_dataset(run))
    for network in (model.average, model.classifiers["student"]):
        for mine, theirs in zip(network.weights, first["student"].weights):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    with pytest.raises(ValueError, match="--student_weights=own_nets.py: expected a file NAME.keras"):
        wiring.build_model(run.replace(student_weights="own_nets.py"), wiring.load_dataset(run))


def test_imagenet_is_refused_offline_before_the_data_are_read(tmp_path, monkeypatch):
    from mpl_tf.networks import weight_files
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weight_files, "_HOST", "http://127.0.0.1:9/")
    monkeypatch.setattr(wiring, "load_dataset", None)
    run = settings(tmp_path / "run", student_network="keras.applications:VGG16",
                   teacher_network="mlp-8", student_weights="imagenet")
    with pytest.raises(ValueError, match="--student_weights=imagenet of VGG16 have to be downloaded"):
        training.run(run)
    for flag in ("student", "teacher"):
        with pytest.raises(ValueError, match=f"--{flag}_weights=imagenet with --{flag}_network=mlp-8"):
            config.of(**{"student_network": "mlp-8", f"{flag}_weights": "imagenet"})


@pytest.mark.slow
def test_a_network_of_keras_applications_learns_photographs_from_their_pixels(tmp_path, capsys):
    from PIL import Image
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(generator.normal(colour, 30, [32, 32, 3]), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    run = settings(tmp_path / "run", dataset="tfds:image_folder", data_dir=str(tmp_path / "images"),
                   image_size=32, student_network="keras.applications:MobileNet", method="baseline",
                   student_dropout=0.0, batch_size=8, train_steps=12, eval_steps=6, checkpoint_steps=6)
    training.run(run.replace(train_steps=6))
    training.run(run)
    assert evaluate.main([f"--model_dir={run.model_dir}"]) == 0
    assert "the same as results.json's" in capsys.readouterr().out
    image = str(tmp_path / "images" / "test" / "red" / "0.png")
    assert predict.main([f"--model_dir={run.model_dir}", image]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(image) and "run as a program" not in captured.err
    assert b"mpl_tf" not in (tmp_path / "run" / "student.keras").read_bytes()

"""Networks by the path of a function: what they are given, and every refusal in one line."""

import sys
import textwrap

import numpy as np
import pytest

from mpl_tf import config, networks
from mpl_tf.networks import imported

MODULE = """
    import tensorflow as tf

    def build(num_classes, input_shape, **options):
        build.options = options
        image = tf.keras.Input(input_shape)
        x = tf.keras.layers.Dense(4)(tf.keras.layers.Flatten()(image))
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(x))

    def of_any_size(num_classes, input_shape):
        layers = tf.keras.layers
        return tf.keras.Sequential([layers.Input((None, None, input_shape[-1])), layers.Conv2D(3, 1),
                                    layers.GlobalAveragePooling2D(), layers.Dense(num_classes)])

    def nothing(num_classes, input_shape):
        pass

    def number(num_classes, input_shape):
        return 3

    def fails(num_classes, input_shape):
        raise RuntimeError("no\\nway")

    def other_input(num_classes, input_shape):
        return build(num_classes, (5, 5, 1))

    def other_output(num_classes, input_shape):
        return build(num_classes + 1, input_shape)

    def two_inputs(num_classes, input_shape):
        images = [tf.keras.Input(input_shape), tf.keras.Input(input_shape)]
        x = tf.keras.layers.Flatten()(tf.keras.layers.Add()(images))
        return tf.keras.Model(images, tf.keras.layers.Dense(num_classes)(x))

    class Own(tf.keras.Model):
        def __init__(self, classes, **options):
            super().__init__(**options)
            self.flatten, self.dense = tf.keras.layers.Flatten(), tf.keras.layers.Dense(classes)

        def call(self, inputs):
            return self.dense(self.flatten(inputs))

    def subclassed(num_classes, input_shape):
        return Own(num_classes)

    constant = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in a package in the working folder, as a user's."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "nets.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "own_package" / "broken.py").write_text("import no_such_module\n")
    (tmp_path / "own_package" / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_package.nets"
    for name in [name for name in sys.modules if name.split(".")[0] == "own_package"]:
        del sys.modules[name]


def built(path, **options):
    return networks.build(path, 3, (6, 6, 1), **options)


def test_the_function_is_given_what_it_takes_and_its_weights_follow_the_seed(module):
    models = [built(f"{module}:build", seed=seed, dropout=0.5, role="teacher") for seed in (1, 1, 2)]
    options = sys.modules[module].build.options
    assert options["dropout"] == 0.5 and options["name"] == "teacher" and options["seed"] == 2
    values = [[weight.numpy() for weight in model.weights] for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(values[0], values[1]))
    assert not np.array_equal(values[0][0], values[2][0])


@pytest.mark.parametrize("function", ["of_any_size", "subclassed"])
def test_models_without_a_size_of_their_own_get_the_datas(module, function):
    model = built(f"{module}:{function}")
    assert model.input_shape == (None, 6, 6, 1) and model.output_shape == (None, 3)
    assert model(np.zeros([2, 6, 6, 1], np.float32)).shape == (2, 3)


@pytest.mark.parametrize("path, words", [
    ("own_package.nets:nothing", "returns nothing, expected a tf.keras.Model"),
    ("own_package.nets:number", "returns a int, expected"),
    ("own_package.nets:fails", r"cannot be built for 3 classes .* \(RuntimeError: no way\)"),
    ("own_package.nets:other_input", r"inputs of shape \(5, 5, 1\), but the data have \(6, 6, 1\)"),
    ("own_package.nets:other_output", r"outputs of shape \(4,\), expected one of logits, \(3,\)"),
    ("own_package.nets:two_inputs", "a model of 2 inputs, expected one"),
    ("own_package.nets:biuld", "own_package.nets has no biuld: did you mean build"),
    ("own_package.nets:constant", "is a int, expected a function"),
    ("own_package.absent:build", "cannot be imported .ModuleNotFoundError: No module named"),
    ("own_package.broken:build", "No module named 'no_such_module'"),
    ("own_package.leaves:build", "cannot be imported .SystemExit: 3"),
    ("own-package:build", "expected MODULE:FUNCTION with names of Python"),
    ("own_package.nets:", "expected MODULE:FUNCTION"), ("vgg", "unknown network 'vgg'")])
def test_refusals_are_one_line(module, path, words):
    with pytest.raises(ValueError, match=words) as error:
        built(path)
    assert "\n" not in str(error.value)


def test_a_rate_that_the_function_does_not_take_is_refused(module):
    with pytest.raises(ValueError, match="takes no dropout, but dropout=0.5 was asked for"):
        built(f"{module}:of_any_size", dropout=0.5)
    with pytest.raises(ValueError, match="takes no weights, but weights=imagenet"):
        built(f"{module}:of_any_size", weights="imagenet")


def test_flags_know_paths_and_import_them_before_anything_else(module):
    flags = ["--model_dir=m", f"--student_network={module}:build"]
    assert config.parse(flags).teacher_network == f"{module}:build"
    with pytest.raises(ValueError, match="--student_network=own_package.nets:biuld: .* has no biuld"):
        config.from_arguments([flags[0], f"--student_network={module}:biuld"])
    with pytest.raises(ValueError, match="--student_network=nets/own.py:build: .* not of a file: nets.own:build if"):
        config.parse([flags[0], "--student_network=nets/own.py:build"])
    with pytest.raises(ValueError, match="--teacher_network=own-package:x: expected MODULE:FUNCTION"):
        config.parse([*flags, "--teacher_network=own-package:x"])


def test_the_source_is_told_without_comments_and_layout(module, tmp_path):
    before = imported.source_of(module, "build")
    file = tmp_path / "own_package" / "nets.py"
    file.write_text(file.read_text().replace("Dense(4)(", "Dense(  4)(   # four\n            "))
    del sys.modules[module]
    assert imported.source_of(module, "build") == before and "Dense(4)" in before
    assert imported.source_of("math", "sqrt") == ""

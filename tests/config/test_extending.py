"""A network, an objective or a data set is one definition: build, flags, help and checks know it."""

import re

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config, datasets, networks
from mpl_tf.config import flag_files
from mpl_tf.method import objectives
from mpl_tf.run import training, wiring
from tests.conftest import ROOT
from tests.runs import settings
from tests.tiny import operation


def parse(*arguments):
    return config.parse(["--model_dir=runs/test", *arguments])


def help_of(flag):
    """What --help says of a flag, in one line."""
    return " ".join(flag_files.help_text("", [config.FIELDS[flag]]).split())


@pytest.fixture
def tiny():
    def check(size):
        if size > 100:
            raise ValueError(f"tiny network of size {size}: expected at most 100")

    @networks.network("tiny-SIZE", r"tiny-(\d+)", takes=("image",), check=check)
    def build(size, num_classes, input_shape, dropout=0.0, name=None, seed=None):
        image = tf.keras.Input(input_shape)
        x = tf.keras.layers.Dropout(dropout)(tf.keras.layers.Flatten()(image))
        x = tf.keras.layers.Dense(size)(x)
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(x), name=name)

    yield build
    del networks.NETWORKS["tiny-SIZE"]


def test_a_network_is_one_function(tiny, tmp_path):
    model = networks.build("tiny-7", 10, (8, 8, 1), dropout=0.5, batch_norm_decay=0.9)
    assert model.layers[-2].units == 7 and model.layers[2].rate == 0.5
    assert model.output_shape == (None, 10)
    assert parse("--student_network=tiny-7").teacher_network == "tiny-7"
    assert "tiny-SIZE" in help_of("student_network")
    for arguments, said in (
            (["--student_network=tiny-700"], "--student_network=tiny-700: tiny network of size 700: "
             "expected at most 100"),
            (["--student_network=tiny-x"], "available are .*tiny-SIZE"),
            (["--student_network=tiny-7", "--dataset=two_moons"], "expected a network of points"),
            (["--student_network=tiny-7", "--drop_connect=0.1"], "--drop_connect=0.1 has no effect"),
            (["--student_network=tiny-7", "--student_weights=imagenet"], "expected a network that has")):
        with pytest.raises(ValueError, match=said):
            parse(*arguments)
    with pytest.raises(ValueError, match="weights=x: expected a file NAME.keras or"):
        networks.build("tiny-7", 10, (8, 8, 1), weights="x")
    results = training.run(settings(tmp_path, student_network="tiny-7", train_steps=2))
    assert results["flags"]["student_network"] == "tiny-7"


def test_a_network_of_no_kind_of_input_is_refused():
    with pytest.raises(ValueError, match="takes 'sound': use some of image, point, probs"):
        networks.network("deaf", takes=("sound",))


@pytest.mark.parametrize("layer, strategy, said", [
    (lambda x: tf.nn.dropout(x, 0.5), "mirrored", r"student has (tf.nn.dropout|operation)\w* .(TFOp)?Lambda., which"),
    (lambda x: tf.image.resize(x, (4, 4), "nearest"), "default",
     r"student has (tf.image.resize|operation)\w* .(TFOp)?Lambda., and TensorFlow lacks its forward-mode")])
def test_a_network_that_a_run_cannot_do_with_is_told_of_in_one_line(tmp_path, layer, strategy, said):
    @networks.network("odd", takes=("image",))
    def build(num_classes, input_shape, dropout=0.0, name=None, seed=None):
        image = tf.keras.Input(input_shape)
        x = operation(layer, "operation")(tf.keras.layers.Conv2D(2, 1)(image))
        x = tf.keras.layers.Flatten()(x)
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(x), name=name)

    try:
        with pytest.raises(ValueError, match=said) as error:
            training.run(settings(tmp_path, student_network="odd", teacher_network="mlp-8", train_steps=2,
                                  meta_gradient="jvp", student_dropout=0.0, strategy=strategy))
        assert "\n" not in str(error.value)
    finally:
        del networks.NETWORKS["odd"]


@pytest.fixture
def squared():
    @objectives.objective("squared", weight="supervised_weight", temperature="uda_temperature")
    class Squared(objectives.Objective):
        """Brier's score of the softmax at a temperature, on strong views."""

        labeled_view = "augmented"
        terms = ("brier_loss",)

        def __init__(self, weight=1.0, temperature=1.0):
            super().__init__(weight=weight, temperature=temperature)

        def losses(self, labels, labeled_logits, weak_logits=None, strong_logits=None):
            probs = tf.nn.softmax(labeled_logits / self.temperature)
            error = tf.square(probs - tf.one_hot(labels, probs.shape[-1], dtype=probs.dtype))
            loss = tf.reduce_mean(tf.reduce_sum(error, axis=-1))
            return self.weight * loss, {"brier_loss": loss}

    yield Squared
    del objectives.OBJECTIVES["squared"]


def test_an_objective_is_one_class(squared, tmp_path):
    c = parse("--objective=squared", "--uda_temperature=0.5", "--supervised_weight=2", "--cutout=2")
    made = wiring.build_objective(c)
    assert type(made) is squared and made.get_config() == {"weight": 2.0, "temperature": 0.5}
    assert c.strong_views and "uda_weight" in c.unused() and "uda_temperature" not in c.unused()
    assert "squared" in help_of("objective")
    for arguments, said in (
            (["--objective=squared", "--uda_weight=2"], "no effect with --objective=squared"),
            (["--objective=squared", "--supervised_weight=0", "--method=baseline", "--cutout=2"],
             "leaves a baseline nothing to learn"),
            (["--objective=squarred"], "did you mean --objective=squared")):
        with pytest.raises(ValueError, match=said):
            parse(*arguments)
    results = training.run(settings(tmp_path, objective="squared", cutout=2, randaugment_layers=0,
                                    train_steps=2, eval_steps=1))
    assert results["evaluations"][-1]["teacher_brier_loss"] > 0


@pytest.fixture
def shapes():
    @datasets.source("shapes", "drawn squares", labeled_examples=4, labeled_selection="random",
                     objective="supervised", student_network="mlp-4", image_size=6,
                     class_names=("left", "right"), sizes={"train": 20, "test": 10})
    def read(split_seed, noise):
        def split(count):
            labels = np.arange(count) % 2
            images = np.zeros([count, 6, 6, 1], np.uint8)
            images[labels == 0, :, :3], images[labels == 1, :, 3:] = 255, 255
            return datasets.Split(images, labels.astype(np.int64))
        return {"train": split(20), "test": split(10)}

    yield read
    del datasets.SOURCES["shapes"]


def test_a_data_set_is_one_function(shapes, tmp_path):
    c = parse("--dataset=shapes", "--noise=0.1", "--unlabeled_batch_size=8")
    assert (c.labeled_examples, c.student_network, c.objective) == (4, "mlp-4", "supervised")
    assert "drawn squares" in help_of("dataset") and "shapes 4" in help_of("labeled_examples")
    assert "(two_moons, shapes)" in help_of("noise")
    for arguments, said in (
            (["--dataset=shapes", "--labeled_examples=21"], "at most its 20 training examples"),
            (["--dataset=shapes", "--unlabeled_batch_size=8", "--image_size=8"],
             "no effect with --dataset=shapes"),
            (["--dataset=shapes", "--unlabeled_dir=x"], "expected a data set of photographs"),
            (["--dataset=shapes", "--student_network=rbf"], "expected a network of images")):
        with pytest.raises(ValueError, match=said):
            parse(*arguments)
    data = datasets.load("shapes")
    assert len(data.labeled.labels) == 4 and data.num_classes == 2 and len(data.unlabeled) == 20
    results = training.run(settings(tmp_path, dataset="shapes", train_steps=30, batch_size=4,
                                    teacher_dropout=0.0, student_dropout=0.0,
                                    method="baseline"))
    assert results["student_test_accuracy"] == 1.0


def test_the_network_that_readme_adds_is_built():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [code] = [block for block in blocks if "tiny-SIZE" in block]
    try:
        exec(code, {})
        assert "tiny-SIZE (such as tiny-16)" in help_of("student_network")
        assert parse("--student_network=tiny-16").student_network == "tiny-16"
        assert networks.build("tiny-16", 10, (8, 8, 1)).output_shape == (None, 10)
    finally:
        del networks.NETWORKS["tiny-SIZE"]

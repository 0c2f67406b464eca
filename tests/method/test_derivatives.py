"""Layers that TensorFlow cannot differentiate as a step has to: named in one line, with what works."""

import pytest
import tensorflow as tf
from tensorflow.python.framework.config import enable_op_determinism

import mpl_tf
from mpl_tf.method import baselines, derivatives
from tests import tiny

LAYERS = tf.keras.layers
IMAGE = (4, 4, 3)


def _middle(odd, role="student"):
    """The layer "odd" behind weights. One of its kind stands before them, where it does no harm."""
    return tf.keras.Sequential([
        tf.keras.Input(IMAGE), LAYERS.UpSampling2D(name="before"), LAYERS.Conv2D(3, 1, 2), odd,
        LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(3)], name=role)


def _lambda(function):
    return lambda: LAYERS.Lambda(function, name="odd")


JVP = 'use meta_gradient="nested_tape"'
# (layer, what is said by the nested tape, what is said by jvp); None where the step works
CASES = {
    "nearest": (_lambda(lambda x: tf.image.resize(x, (4, 4), "nearest")), *[
        "(ResizeNearestNeighborGrad has no gradient): use tf.keras.layers.Conv2DTranspose"] * 2),
    "layer": (lambda: LAYERS.UpSampling2D(name="odd"), *[
        None if tiny.KERAS_3 else "(ResizeNearestNeighborGrad has no gradient)"] * 2),
    "area": (_lambda(lambda x: tf.image.resize(x, (3, 3), "area")), *[
        "lacks its derivative (ResizeArea has no gradient): use tf.keras.layers.Conv2DTr"] * 2),
    "softsign": (lambda: LAYERS.Activation("softsign", name="odd"), *["SoftsignGrad has no"] * 2),
    "lrn": (_lambda(tf.nn.lrn), *["LRNGrad has no gradient): use tf.keras.layers.BatchNorm"] * 2),
    "argmax": (_lambda(lambda x: tf.nn.max_pool_with_argmax(x, 2, 1, "SAME")[0]),
               *["use tf.keras.layers.MaxPooling2D"] * 2),
    "hue": (_lambda(lambda x: tf.image.adjust_hue(x, 0.1)), *["lacks its derivative (AdjustHue"] * 2),
    "recomputed": (_lambda(tf.recompute_grad(tf.tanh)), *["use another layer"] * 2),
    "map": (_lambda(lambda x: tf.map_fn(tf.tanh, x)), None, JVP),
    "conv": (lambda: LAYERS.Conv2DTranspose(3, 2, 2, name="odd"), None, None),
    "pool": (lambda: LAYERS.MaxPooling2D(name="odd"), None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_operations_by_both_ways(name):
    make, *said = CASES[name]
    networks = {"student": (_middle(make()), tf.TensorSpec((None, *IMAGE)))}
    for way, words in zip(("nested_tape", "jvp"), said):
        line = derivatives.explain(networks, way, tf.distribute.get_strategy())
        if words is None:
            assert line is None
        else:
            assert words in line and "\n" not in line
            assert line.startswith("student has odd (")


def _functional():
    """Two operations that became layers, of which only the second stands behind weights."""
    image = tf.keras.Input(IMAGE)
    first, second = (tiny.operation(lambda x, size=size: tf.image.resize(x, size, "nearest"), name)
                     for size, name in (((5, 5), "first"), ((3, 3), "odd")))
    hidden = second(LAYERS.Conv2D(3, 1)(first(image)))
    return tf.keras.Model(image, LAYERS.Dense(3)(LAYERS.Flatten()(hidden)), name="student")


class Subclassed(tf.keras.Model):
    """Differentiable but for what lies between its layers."""

    def __init__(self, function):
        super().__init__(name="teacher")
        self.first, self.last, self.function = LAYERS.Conv2D(3, 1), LAYERS.Dense(3), function

    def call(self, inputs):
        return self.last(tf.reduce_mean(self.function(self.first(inputs)), axis=[1, 2]))


def _fails(model):
    with pytest.raises(ValueError) as error:
        model.fit(tiny.dataset(tiny.batches(1, shape=IMAGE)), verbose=0)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("way, replicas, eager", [
    ("nested_tape", 1, False), pytest.param("jvp", 2, False, marks=pytest.mark.slow),
    pytest.param("nested_tape", 1, True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_fit_names_the_layer(way, replicas, eager):
    def model(student, teacher):
        options = dict(meta_gradient=way, objective=mpl_tf.objectives.Supervised())
        if replicas == 2:
            with tiny.two_replicas().scope():
                return tiny.model(student(), teacher(), **options)
        return tiny.model(student(), teacher(), run_eagerly=eager, **options)

    line = _fails(model(_functional, lambda: tiny.network("teacher", 2, IMAGE)))
    name = "odd (Lambda)" if tiny.KERAS_3 else "tf.image.resize_1 (TFOpLambda)"
    assert f"student has {name}, and TensorFlow lacks its" in line


def test_a_teacher_is_differentiated_once():
    """It may have what a student may not, and else is named."""
    def model(teacher):
        return tiny.model(tiny.network("student", 1, IMAGE), teacher,
                          objective=mpl_tf.objectives.Supervised())

    line = _fails(model(Subclassed(lambda x: tf.image.adjust_contrast(x, 0.5))))
    assert "teacher has operations between its layers (class Subclassed), and TensorFlow lacks its " \
           "derivative (AdjustContrastv2" in line
    logs = model(_middle(LAYERS.UpSampling2D(), "teacher")).fit(
        tiny.dataset(tiny.batches(1, shape=IMAGE)), verbose=0).history
    assert logs["meta_gradient_norm"][0] > 0


def test_baselines_need_one_derivative():
    def model(odd):
        made = baselines.Baseline(_middle(odd), mpl_tf.objectives.Supervised())
        made.compile("sgd")
        return made

    data = tiny.dataset(tiny.batches(1, shape=IMAGE))
    assert model(LAYERS.UpSampling2D()).fit(data, verbose=0).history["loss"][0] > 0
    assert "student has odd (Lambda), and TensorFlow lacks its derivative" in _fails(
        model(CASES["hue"][0]()))


@tiny.keras_2_only      # Keras 3's own layers draw from the seed of the pass
def test_random_layers_without_a_seed_under_determinism():
    tf.random.set_seed(None)
    enable_op_determinism()
    line = _fails(tiny.model(_middle(LAYERS.Dropout(0.5, name="odd")), tiny.network("teacher", 2, IMAGE)))
    assert "student's layer 'odd' (Dropout) draws random numbers" in line and "set_random_seed" in line


def test_errors_that_no_derivative_explains_stay():
    class Odd(mpl_tf.objectives.Supervised):
        def losses(self, *_):
            raise LookupError("of an objective")

    with pytest.raises(Exception, match="of an objective") as error:
        tiny.model(objective=Odd()).fit(tiny.dataset(tiny.batches(1)), verbose=0)
    assert tiny.KERAS_3 or "test_derivatives.py" in str(error.value)    # it has a traceback of its own

"""Layers that draw numbers of their own: refused where passes are replayed, else told of once."""

import contextlib
import random
import warnings

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import baselines, replay
from tests import tiny

LAYERS = tf.keras.layers
OPERATION = r"(tf.nn.dropout\w* \(TFOpLambda\)|odd \(Lambda\))"


class Layer(LAYERS.Layer):
    """Applies `function` (layer, inputs) -> outputs."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def build(self, shape):
        self.count = self.add_weight(name="count", shape=(), trainable=False)

    def call(self, inputs):
        return self.function(self, inputs)


class Generator(LAYERS.Layer):
    """Draws from a tf.random.Generator, whose state is a weight if `saved`."""

    def __init__(self, saved=False, **options):
        super().__init__(**options)
        self.saved = saved

    def build(self, shape):
        state = self.add_weight(name="state", shape=(3,), dtype="int64", trainable=False,
                                initializer="ones")
        self.generator = (tf.random.Generator.from_state(
            getattr(state, "value", state) if tiny.KERAS_3 else state, alg="philox") if self.saved
                          else tf.random.Generator.from_seed(1))

    def call(self, inputs):
        return inputs + self.generator.normal(tf.shape(inputs))


class Subclassed(tf.keras.Model):
    """Draws between its layers, or in the layer `inner`."""

    def __init__(self, inner=None):
        super().__init__(name="student")
        self.first, self.inner, self.last = LAYERS.Dense(4, name="first"), inner, LAYERS.Dense(3)

    def call(self, inputs):
        hidden = self.first(inputs)
        return self.last(self.inner(hidden) if self.inner else hidden + tf.random.normal([4]))


def counted(layer, x):
    layer.count.assign_add(1.0)
    return x * layer.count


def by_python(layer, x):
    noisy = tf.numpy_function(lambda v: (v + random.random()).astype(v.dtype), [x], x.dtype)
    return tf.ensure_shape(noisy, x.shape)


@tf.function
def in_a_function(layer, x):
    return x * 2.0


# name: (layer after the first Dense, whether a replay differs, whether a resumed run does)
CASES = {
    "lambda": (lambda: LAYERS.Lambda(lambda x: tf.nn.dropout(x, 0.5), name="odd"), True, True),
    "activation": (lambda: LAYERS.Dense(4, lambda x: tf.nn.dropout(x, 0.5), name="odd"), True, True),
    # seldom enough for a comparison of outputs to miss it
    "seldom": (lambda: Layer(lambda _, x: tf.cond(
        tf.random.uniform([]) < 1e-6, lambda: -x, lambda: x), name="odd"), True, True),
    "flip": (lambda: Layer(lambda _, x: tf.image.random_flip_left_right(
        x[:, None, :, None])[:, 0, :, 0], name="odd"), True, True),
    "generator": (lambda: Generator(name="odd"), True, True),
    "python": (lambda: Layer(by_python, name="odd"), True, True),
    "wrapped": (lambda: LAYERS.TimeDistributed(Layer(
        lambda _, x: x + tf.random.normal(tf.shape(x)), name="odd")), True, True),
    "seeded": (lambda: Layer(lambda _, x: x * tf.random.uniform([4], seed=3), name="odd"),
               False, True),
    "saved_generator": (lambda: Generator(saved=True, name="odd"), False, False),
    "counter": (lambda: Layer(counted, name="odd"), False, False),
    "stateless": (lambda: Layer(lambda layer, x: x + tf.random.stateless_normal(
        tf.shape(x), mpl_tf.layers.layer_seed(layer.name)), name="odd"), False, False),
    "function": (lambda: Layer(in_a_function, name="odd"), False, False),
}


def _student(odd):
    wrapped = isinstance(odd, LAYERS.TimeDistributed)
    return tf.keras.Sequential([
        tf.keras.Input((2,)), LAYERS.Dense(4, name="first"), LAYERS.BatchNormalization(),
        mpl_tf.layers.ReplayableDropout(0.3, name="kept"), *([LAYERS.Reshape((2, 2))] if wrapped else []), odd,
        LAYERS.Flatten(), LAYERS.Dense(3)], name="student")


@pytest.mark.parametrize("name", CASES)
def test_each_kind(name):
    make, changing, unsaved = CASES[name]
    tf.random.set_seed(3)
    random.seed(3)      # two numbers of its own may lie as near as rounding, one time in a thousand
    odd = make()
    kind = type(odd.layer if isinstance(odd, LAYERS.TimeDistributed) else odd).__name__
    found = replay.findings(_student(odd), tf.TensorSpec((None, 2)), 5, tf.distribute.get_strategy(),
                            eager=False, compiled=False, weights_kept=True)
    if tiny.KERAS_3 and name == "wrapped":      # it does not call the layer, but the layer's method
        found = replay.Findings(*([each.replace("time_distributed (TimeDistributed)", "odd (Layer)")
                                   for each in names] for names in found))
    assert found == ([f"odd ({kind})"] * changing, [f"odd ({kind})"] * unsaved)


def test_a_generator_of_pythons_in_bfloat16():
    """Its numbers lie near the rounding of its own outputs, and far from that of the logits."""
    random.seed(3)      # its next numbers are 0.24 and 0.54: further apart than bfloat16 rounds
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    student = tf.keras.Sequential([
        tf.keras.Input((2,)), LAYERS.Dense(4), Layer(lambda _, x: 1.0 + by_python(_, x * 0.001), name="odd"),
        LAYERS.BatchNormalization(), LAYERS.Dense(3, dtype="float32")])
    found = replay.findings(student, tf.TensorSpec((None, 2)), 5, tf.distribute.get_strategy(),
                            eager=False, compiled=False, weights_kept=True)
    assert found.changing == ["odd (Layer)"]


def test_replicas_that_meet_in_a_layer():
    """Operations of one replica then stand among those of another's layer."""
    with tiny.two_replicas().scope():
        student = tf.keras.Sequential([
            tf.keras.Input((2,)), LAYERS.Dense(4), LAYERS.BatchNormalization(synchronized=True),
            CASES["lambda"][0](), LAYERS.Dense(3)])
    found = replay.findings(student, tf.TensorSpec((None, 2)), 5, tiny.two_replicas(),
                            eager=False, compiled=False, weights_kept=True)
    assert found.changing == ["odd (Lambda)"]


def _functional():
    """One operation of several that draws; the others became layers too."""
    image = tf.keras.Input((2,))
    hidden = tiny.operation(lambda x: tf.nn.relu(x) * 2.0, "twice")(LAYERS.Dense(4, name="first")(image))
    hidden = mpl_tf.layers.ReplayableDropout(0.2)(hidden)
    hidden = tiny.operation(lambda x: tf.nn.dropout(x, 0.5, name="odd"), "odd")(hidden)
    hidden = tiny.operation(tf.nn.tanh, "tanh")(hidden)
    return tf.keras.Model(image, LAYERS.Dense(3)(hidden), name="student")


@pytest.mark.parametrize("replicas, eager", [
    (1, False), pytest.param(1, True, marks=pytest.mark.slow),
    pytest.param(2, False, marks=pytest.mark.slow)])
def test_fit_refuses_by_name_and_warns_once(replicas, eager):
    def made(student, teacher, **options):
        if replicas == 1:
            return tiny.model(student(), teacher(), run_eagerly=eager, **options)
        with tiny.two_replicas().scope():
            return tiny.model(student(), teacher(), **options)

    def plain(role):
        return lambda: tiny.network(role, 2)

    data = tiny.dataset(tiny.batches(1))
    drawn = rf"student has {OPERATION}, which gives other outputs"
    for networks, words in (
            ((_functional, plain("teacher")), drawn),
            ((plain("student"), Subclassed), r"teacher has operations between its layers \(class Sub"),
            ((lambda: Subclassed(CASES["lambda"][0]()), plain("teacher")), r"has odd \(Lambda\), which")
    )[:3 if (replicas, eager) == (1, False) else 1]:
        with pytest.raises(ValueError, match=words) as error:
            made(*networks, meta_gradient="jvp").fit(data, verbose=0)
        assert "\n" not in str(error.value) and "nested_tape" in str(error.value)
    if replicas == 2:
        return
    model = made(_functional, plain("teacher"))
    with pytest.warns(UserWarning, match="a run that is resumed") as caught:
        model.fit(data, verbose=0)
        model.fit(data, verbose=0)
    assert len([each for each in caught if "resumed" in str(each.message)]) == 1


def test_baselines_and_loops_of_ones_own():
    """A step that no fit began, and Keras's own random layers."""
    student = tf.keras.Sequential([tf.keras.Input((2,)), LAYERS.Dense(4), LAYERS.Dropout(0.5, name="odd"),
                                   LAYERS.Dense(3)])
    model = baselines.Baseline(student, mpl_tf.objectives.Supervised())
    model.compile("sgd")
    told = (pytest.warns(UserWarning, match=r"student has odd \(Dropout\), whose random numbers")
            if not tiny.KERAS_3 else contextlib.nullcontext())
    with told:
        tf.function(model.train_step)(tf.nest.map_structure(tf.constant, tiny.batches(1)[0]))
    model = tiny.model(_functional(), tiny.network("teacher", 2), meta_gradient="jvp")
    with pytest.raises(ValueError, match=OPERATION):
        tf.function(model.train_step)(tf.nest.map_structure(tf.constant, tiny.batches(1)[0]))


@pytest.mark.parametrize("way", [pytest.param("nested_tape", marks=pytest.mark.slow), "jvp"])
@pytest.mark.slow
def test_a_run_is_the_same_to_the_bit_with_and_without_the_check(way, monkeypatch):
    """Of a layer that is not known to draw nothing, so that the passes are made, and of one that draws
    from a seed: its operations' state is theirs."""
    def run():
        tf.keras.utils.set_random_seed(3)
        odd = (Layer(counted, name="odd") if way == "jvp" else
               LAYERS.Dropout(0.5, seed=4, name="odd"))
        student = _student(odd)
        student.add(Layer(lambda _, x: x * tf.random.uniform([3], seed=3)))
        model = tiny.model(student, tiny.network("teacher", 2, **tiny.RICH), meta_gradient=way)
        logs = model.fit(tiny.dataset(tiny.batches(3)), verbose=0).history
        return tiny.state(model), logs, (random.random(), np.random.rand(), float(tf.random.uniform([])))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checked = run()
    assert any("resumed" in str(each.message) for each in caught)
    monkeypatch.setattr(mpl_tf.MetaPseudoLabels, "check_layers", lambda *_: None)
    unchecked = run()
    tiny.assert_same_state(checked[0], unchecked[0])
    assert checked[1:] == unchecked[1:]


def test_networks_of_known_layers_are_not_passed_through(monkeypatch):
    model = tiny.model(networks_=tiny.RICH, meta_gradient="jvp")
    monkeypatch.setattr(tf.keras.Sequential, "__call__", None)
    model.check_layers(tf.TensorSpec((None, 2)))

"""The seam to Keras's private parts, against what Keras does in public."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import keras_seam
from tests import tiny

LAYERS = tf.keras.layers


class Holder(LAYERS.Layer):
    """Holds a layer in a list, and a metric."""

    def __init__(self):
        super().__init__(name="holder")
        self.held, self.mean = [LAYERS.Dense(2, name="held")], tf.keras.metrics.Mean("mean")

    def call(self, inputs):
        return self.held[0](inputs)


def nested():
    """A functional model in a Sequential in a functional model; the last layer is "deep"."""
    image = tf.keras.Input([2], name="innermost_image")
    innermost = tf.keras.Model(image, LAYERS.Dense(3, "relu", name="deep")(image), name="innermost")
    inner = tf.keras.Sequential([LAYERS.GaussianNoise(0.1, name="noise"), innermost], name="inner")
    points = tf.keras.Input([2], name="points")
    return tf.keras.Model(points, inner(Holder()(points)), name="outer")


def test_layers_at_any_depth_without_metrics():
    network = nested()
    layers = keras_seam.layers_of(network)
    assert layers[0] is network
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert {"holder", "held", "inner", "innermost", "noise", "deep"} < set(names)
    assert "mean" not in names
    assert [layer.name for layer in keras_seam.random_layers(network)] == ["noise"] * (not tiny.KERAS_3)


def test_layers_whose_computation_is_keras_own():
    """Not those that run a function of somebody else's."""
    image = tf.keras.Input([2])
    operation = tf.keras.Model(image, tiny.operation(
        lambda x: tf.nn.dropout(x, 0.5), "odd")(image)).layers[-1]
    changed = LAYERS.Dense(2)
    changed.call = lambda inputs: inputs
    for layer, known in (
            (LAYERS.Dense(2), True), (LAYERS.Dense(2, "relu"), True), (LAYERS.BatchNormalization(), True),
            (tiny.network("student", 1), True), (tf.keras.Model(image, image), True),
            (LAYERS.Dense(2, tf.nn.relu), False), (LAYERS.Dense(2, lambda x: x), False),
            (LAYERS.Lambda(lambda x: x), False), (operation, False), (Holder(), False), (changed, False),
            (LAYERS.SpectralNormalization(LAYERS.Dense(2)), False)):
        assert keras_seam.is_of_keras(layer) == known, layer


def test_every_call_of_a_layer_is_observed_until_it_is_undone():
    network, seen = nested(), []

    def observe(call, layer, *args, **kwargs):
        seen.append(layer.name)
        return call(layer, *args[0], **args[1])

    undo = keras_seam.observe_calls(observe)
    try:
        network(tf.ones([1, 2]))
    finally:
        undo()
    network(tf.ones([1, 2]))
    assert [name for name in seen if "_image" not in name and name != "points"] == [
        "outer", "holder", "held", "inner", "noise", "innermost", "deep"]


@tiny.keras_2_only      # Keras 3 keeps the count in a variable
def test_seeds_of_random_layers_are_put_back():
    layer = LAYERS.Dropout(0.5, seed=4)
    network = tf.keras.Sequential([tf.keras.Input([20]), layer])
    masks = []
    for _ in range(2):
        put_back = keras_seam.seeds_kept(network)
        masks.append(tf.function(lambda: network(tf.ones([1, 20]), training=True))())
        put_back()
    np.testing.assert_array_equal(*masks)


def test_the_last_layer_and_what_it_applies():
    last = keras_seam.last_layer(nested())
    assert last.name == "deep" and keras_seam.last_function(last) is tf.keras.activations.relu
    points = tf.keras.Input([2])
    first, second = LAYERS.Dense(3, name="first")(points), LAYERS.Dense(3, name="second")(points)
    both = tf.keras.Model(points, [first, second])
    for output, name in enumerate(("first", "second")):
        assert keras_seam.last_layer(both, output).name == name
        assert keras_seam.last_layer(tf.keras.Model(points, both(points)[output])).name == name
    softmax = tf.keras.activations.softmax if tiny.KERAS_3 else tf.nn.softmax
    operation = keras_seam.last_layer(tf.keras.Model(points, softmax(first)))
    assert keras_seam.last_function(operation) is softmax
    assert keras_seam.last_function(LAYERS.ReLU()) is None

    class Subclassed(tf.keras.Model):
        pass

    assert keras_seam.last_layer(Subclassed()) is None
    assert keras_seam.last_layer(tf.keras.Sequential([LAYERS.ReLU(name="only")])).name == "only"


def test_inputs_are_fixed_but_for_a_sequential_that_states_none():
    free = tf.keras.Sequential([LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(2)])
    free(tf.ones([1, 4, 4, 3]))
    assert free.input_shape == (1, 4, 4, 3) and not keras_seam.has_fixed_input(free)
    assert keras_seam.has_fixed_input(tiny.network("student", 1))
    assert keras_seam.has_fixed_input(nested())


def test_attributes_have_the_names_of_the_constructors_arguments():
    penalty = tf.keras.regularizers.L2(0.1)
    layer = LAYERS.Dense(2, kernel_regularizer=penalty, activity_regularizer=penalty)
    found = {name for name, value in keras_seam.attributes_of(layer) if value is penalty}
    assert found == {"kernel_regularizer", "activity_regularizer"}


OPTIMIZERS = {
    "plain": (lambda: tf.keras.optimizers.SGD(0.5), {"momentum": [-0.5, -1.0]}),
    "momentum": (lambda: tf.keras.optimizers.SGD(0.5, momentum=0.5), {"momentum": [-0.5, -1.0]}),
    "rmsprop": (lambda: tf.keras.optimizers.RMSprop(0.5, rho=0.75), {"velocity": [0.25, 1.0]}),
    "rmsprop_momentum": (    # which Keras subtracts: 0.5 g / sqrt(0.25 g^2)
        lambda: tf.keras.optimizers.RMSprop(0.5, rho=0.75, momentum=0.5, epsilon=0.0),
        {"velocity": [0.25, 1.0], "momentum": [1.0, 1.0]}),
    "adam": (lambda: tf.keras.optimizers.Adam(0.5, beta_1=0.5, beta_2=0.75),
             {"momentum": [0.5, 1.0], "velocity": [0.25, 1.0]})}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_after_one_step_by_hand(name):
    """Gradients 1 and 2 of two variables, slots zero before."""
    make, expected = OPTIMIZERS[name]
    if tiny.KERAS_3 and name == "plain":
        expected = {}       # Keras 2 keeps the last step there
    optimizer = make()
    variables = [keras_seam.variable([0.0, 0.0]), keras_seam.variable([[0.0]])]
    keras_seam.build_optimizer(optimizer, variables)
    optimizer.apply_gradients(zip([tf.ones([2]), tf.fill([1, 1], 2.0)], variables))
    for index, variable in enumerate(variables):
        slots = keras_seam.slots(optimizer, variable)
        assert set(slots) == set(expected)
        for slot, numbers in expected.items():
            assert slots[slot].shape == variable.shape
            np.testing.assert_allclose(slots[slot], np.full(variable.shape, numbers[index]))
            assert any(slots[slot] is each for each in optimizer.variables)


@tiny.keras_2_only
def test_rates_and_legacy_optimizers():
    schedule = tf.keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    for module in (tf.keras.optimizers, tf.keras.optimizers.legacy):
        assert keras_seam.rate_or_schedule(module.SGD(schedule)) is schedule
        assert float(keras_seam.rate_or_schedule(module.SGD(0.25))) == 0.25
    legacy = tf.keras.optimizers.legacy.SGD(0.25, momentum=0.5)
    keras_seam.build_optimizer(legacy, [tf.Variable(0.0)])      # leaves it to the first step


def test_compiled_models():
    class Compiled(keras_seam.Model):
        def __init__(self):
            super().__init__()
            self.network = tiny.network("student", 1)

        def call(self, inputs):
            return self.network(inputs)

    network = Compiled()
    network.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                    metrics=["accuracy"])
    assert keras_seam.metrics_of_compile(network) == []
    keras_seam.build_metrics(network, tiny.CLASSES, tf.float32)
    metrics = keras_seam.metrics_of_compile(network)
    assert [metric.name for metric in metrics] == ["accuracy"]
    assert float(metrics[0].result()) == 0.0 and len(metrics[0].variables) == 2
    keras_seam.build_metrics(network, tiny.CLASSES, tf.float32)     # nothing, now
    assert keras_seam.metrics_of_compile(network) == metrics
    images, labels = tiny.evaluation_data()
    logits, weights = network(images), tf.linspace(0.0, 1.0, len(labels))
    (loss,) = keras_seam.update_loss(network, tf.constant(labels), logits, weights)
    keras_seam.update_metrics(network, tf.constant(labels), logits)
    right = np.mean(np.argmax(logits, axis=-1) == labels)
    assert float(metrics[0].result()) == pytest.approx(right, rel=1e-6)
    expected = network.evaluate(images, labels, sample_weight=weights.numpy(), verbose=0,
                                batch_size=len(labels), return_dict=True)["loss"]
    assert loss.name == "loss" and float(expected) == pytest.approx(float(loss.result()), rel=1e-6)


def test_what_an_untracked_method_sets_is_not_saved():
    class Model(tf.keras.Model):
        def tracked(self):
            self.one = LAYERS.Dense(2)

        @keras_seam.untracked
        def remember(self):
            """Its text."""
            self.other = LAYERS.Dense(2)
            return self.other

    model = Model()
    assert model.remember() is model.other and model.layers == []
    model.tracked()
    assert model.layers == [model.one] and Model.remember.__doc__ == "Its text."


def test_assignment_meets_in_all_replicas():
    strategy = tiny.two_replicas()
    with strategy.scope():
        variables = [tf.Variable(1.0), tf.Variable([1.0, 2.0])]

    @tf.function
    def step():
        strategy.run(lambda: keras_seam.assign_on_all_replicas(
            variables, [tf.constant(3.0), tf.convert_to_tensor(variables[1]) * 2.0]))

    step()
    for variable, expected in zip(variables, (3.0, [2.0, 4.0])):
        for component in strategy.experimental_local_results(variable):
            np.testing.assert_array_equal(component, expected)

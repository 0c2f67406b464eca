"""Micro-batches: the step of the whole batch, in slices."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import meta_gradient, slices
from tests import finite_differences as fd, tiny
from tests.method.test_reduced_model import calibration, with_probs

OBJECTIVES = {"supervised": mpl_tf.objectives.Supervised, "uda": mpl_tf.objectives.UDA,
              "randaugment": mpl_tf.objectives.RandAugment}
slow = lambda *values: pytest.param(*values, marks=pytest.mark.slow)


class Uneven(mpl_tf.objectives.Objective):
    """A loss that is no mean over examples, and ties the labeled ones to the unlabeled."""

    unlabeled = True

    def losses(self, labels, labeled_logits, weak_logits, strong_logits, sample_weight=None):
        loss = tf.reduce_logsumexp(labeled_logits) * tf.reduce_mean(
            tf.square(tf.reduce_mean(tf.nn.softmax(strong_logits), 0))) + tf.reduce_max(weak_logits ** 2)
        return loss, {"supervised_loss": loss}


def masked_network(seed):
    """Images [B, 6, 6, 2] -> 3 logits; dropout of single numbers and of whole examples."""
    init = tf.keras.initializers.GlorotNormal(seed)
    dropout = mpl_tf.layers.ReplayableDropout
    return tf.keras.Sequential([
        tf.keras.Input((6, 6, 2)),
        tf.keras.layers.Conv2D(3, 3, activation="tanh", kernel_initializer=init, name="conv"),
        dropout(0.4, name="numbers"), tf.keras.layers.Flatten(), dropout(0.3, (None, 1), name="examples"),
        tf.keras.layers.Dense(3, kernel_initializer=init, name="logits")])


def frozen_network(seed):
    """A network whose batch norm is frozen as Keras's users freeze it, at averages of its own."""
    network = fd.conv_network(seed)
    norm = network.get_layer("bn")
    norm.trainable = False
    numbers = np.random.default_rng(seed)
    norm.set_weights([numbers.uniform(0.5, 2, each.shape) for each in norm.get_weights()])
    return network


fd.NETWORKS["masked"] = masked_network, (6, 6, 2)
fd.NETWORKS["frozen"] = frozen_network, (6, 6, 2)


def stepped(size, network, optimizer="nesterov", objective="supervised", steps=2, weights=False,
            way="jvp", **options):
    """(what the steps changed, the logs of the last), in float64."""
    chosen = OBJECTIVES[objective]() if objective in OBJECTIVES else objective
    model = fd.make_model(network, optimizer, way, chosen, teacher_rate=0.1, microbatch_size=size,
                          **options)
    model.teacher_weight_decay = 2e-3
    batch = fd.make_batch(fd.NETWORKS[network][1])
    if weights:
        batch["labeled"]["sample_weight"] = tf.constant([0.3, 2.0, 0.0, 1.1, 4.0, 0.5])
    for _ in range(steps):
        logs = model.traced_step(batch)
    return fd.snapshot(model)[1], {name: float(value) for name, value in logs.items()}


def assert_same(one, other):
    for value, reference in zip(one[0], other[0]):
        np.testing.assert_allclose(value, reference, rtol=1e-9, atol=1e-12)
    assert one[1] == pytest.approx(other[1], rel=1e-9)


@pytest.mark.parametrize("network, optimizer, objective, weights, options", [
    ("dense", "rmsprop_momentum", "uda", True, dict(meta_signal="shuffled")),
    ("frozen", "nesterov", "uda", False, {}), slow("masked", "nesterov", "uda", True, {}),
    slow("masked", "nesterov", mpl_tf.objectives.UDA(joint_views=False), True, {}),
    slow("masked", "adam", "supervised", True, dict(meta_scale="relative")),
    slow("masked", "adam", "randaugment", False, {}),
    slow("masked", "sgd", "uda", False, dict(meta_scale="relative", meta_signal="shuffled")),
    slow("dense", "sgd", "supervised", True, dict(meta_weight=0.0)),
    slow("dense", "adam", "uda", False, {}),
    slow("dense", "nesterov", Uneven(), False, {}),
    slow("masked", "rmsprop", Uneven(), False, {})])
def test_slices_make_the_step_of_the_whole_batch(network, optimizer, objective, weights, options):
    """6 labeled and 8 unlabeled examples by two: all weights, slots and logs, beside the nested tape.

    Weights of examples, weight decay of both, two steps.
    """
    steps = [stepped(size, network, optimizer, objective, weights=weights, way=way, **options)
             for size, way in ((2, "jvp"), (None, "nested_tape"))]
    assert_same(*steps)


@pytest.mark.parametrize("network, optimizer", [
    ("dense", "nesterov"), slow("masked", "adam"), slow("masked", "rmsprop_momentum"),
    slow("masked", "sgd")])
def test_finite_differences(network, optimizer):
    model = fd.make_model(network, optimizer, "jvp", microbatch_size=2)
    errors = fd.relative_errors(model, fd.make_batch(fd.NETWORKS[network][1]), warm_steps=1, directions=2)
    assert max(errors) < (1e-4 if optimizer == "adam" else 1e-6), errors


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.01])
@pytest.mark.slow
def test_a_wrong_signal_is_caught(factor, monkeypatch):
    right = meta_gradient.by_jvp
    monkeypatch.setattr(meta_gradient, "by_jvp", lambda *args: factor * right(*args))
    model = fd.make_model("dense", "nesterov", "jvp", microbatch_size=2)
    assert max(fd.relative_errors(model, fd.make_batch((2,)), warm_steps=0)) > 5e-3


@pytest.mark.parametrize("objective", ["supervised", slow("uda")])
def test_masks_of_every_pass_are_those_of_the_whole_batch(objective):
    assert_same(*[stepped(size, "masked", "sgd", objective, steps=1) for size in (2, None)])


def test_the_graph_does_not_grow_with_the_number_of_slices():
    def size(labeled, unlabeled):
        model = tiny.model(objective=mpl_tf.objectives.Supervised(), meta_gradient="jvp", microbatch_size=2)
        [batch] = tiny.batches(1, labeled, unlabeled)
        graph = tf.function(model.train_step, autograph=False).get_concrete_function(
            tf.nest.map_structure(tf.constant, batch)).graph.as_graph_def()
        return len(graph.node), sum(len(function.node_def) for function in graph.library.function)

    assert size(4, 6) == size(16, 24)


@pytest.mark.parametrize("network", [slow("dense"), slow("masked")])
def test_diagnostics_are_those_of_the_whole_batch(network):
    chosen = mpl_tf.objectives.UDA() if network == "masked" else mpl_tf.objectives.Supervised()
    models = [fd.make_model(network, "sgd", "jvp", chosen, microbatch_size=size)
              for size in (2, None)]
    before = fd.snapshot(models[0])[1]
    found = [model.diagnostics(fd.make_batch(fd.NETWORKS[network][1])) for model in models]
    for value, reference in zip(fd.snapshot(models[0])[1], before):
        np.testing.assert_array_equal(value, reference)
    for name in found[0]:
        if (network, name) != ("masked", "meta_gradient_agreement"):    # halves have masks of their own
            np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-8, err_msg=name)


# -------------------------------------------------------------------------------- batch norm, others

@pytest.mark.parametrize("objective, way", [("uda", "absolute"), slow("supervised", "relative")])
def test_batch_norms_statistics_are_those_of_a_slice(objective, way):
    """Averages move once a slice, in the passes that move them, in their order."""
    tiny.use_float64()
    norm = lambda role: tf.keras.Sequential([
        tf.keras.Input((2,)), tf.keras.layers.BatchNormalization(momentum=0.9, name="bn"),
        tf.keras.layers.Dense(3)], name=role)
    model = tiny.model(norm("student"), norm("teacher"), OBJECTIVES[objective](), meta_gradient="jvp",
                       meta_scale=way, microbatch_size=2)
    [batch] = tiny.batches(1, dtype="float64")
    model.fit(tiny.dataset([batch]), verbose=0)
    labeled, view = batch["labeled"]["image"], batch["unlabeled"]["augmented"]
    passes = {"student": [view[first:first + 2] for first in range(0, 8, 2)],
              "teacher": [labeled[first:first + 2] for first in range(0, 6, 2)]}
    if objective == "uda":
        passes["teacher"] += [np.concatenate([batch["unlabeled"]["image"][first:first + 2],
                                              view[first:first + 2]]) for first in range(0, 8, 2)]
    for role, seen in passes.items():
        mean, variance = 0.0, 1.0
        for images in seen:
            mean = 0.9 * mean + 0.1 * images.mean(0)
            variance = 0.9 * variance + 0.1 * images.var(0)
        layer = model.networks[role].get_layer("bn")
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-6)
        np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-6)


@pytest.mark.slow
def test_one_slice_is_the_whole_batch_with_batch_norm_too():
    model = lambda size: tiny.model(networks_=tiny.RICH, meta_gradient="jvp", microbatch_size=size)
    both = [model(size) for size in (None, 6)]
    for each in both:
        each.fit(tiny.dataset(tiny.batches(3, 6, 6)), verbose=0)
    tiny.assert_same_state(*both, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", [slow("supervised"), slow("uda")])
def test_two_replicas_equal_one_device(objective):
    tiny.use_float64()
    data = tiny.dataset(tiny.batches(3, labeled=4, unlabeled=8, dtype="float64"))
    made = lambda size: tiny.model(meta_gradient="jvp", objective=OBJECTIVES[objective](),
                                   teacher_weight_decay=0.01, microbatch_size=size)
    one = made(None)
    logs = one.fit(data, verbose=0).history
    with tiny.two_replicas().scope():
        two = made(2)
    logs_of_two = two.fit(data, verbose=0).history
    tiny.assert_same_state(two, one, rtol=1e-8, atol=1e-12)
    for name in logs:
        assert logs_of_two[name] == pytest.approx(logs[name], rel=1e-6), name


@pytest.mark.slow
def test_batch_norm_and_dropout_on_two_replicas():
    with tiny.two_replicas().scope():
        model = tiny.model(networks_=tiny.RICH, meta_gradient="jvp", microbatch_size=2)
    logs = model.fit(tiny.dataset(tiny.batches(2, 4, 8)), verbose=0).history
    assert all(np.isfinite(values[0]) for values in logs.values())


@pytest.mark.slow
@pytest.mark.parametrize("options", [dict(run_eagerly=True), dict(jit_compile=True)])
def test_eager_and_compiled_steps(options):
    """Batch norm and dropout on; XLA sums in another order."""
    model = lambda **more: tiny.model(networks_=tiny.RICH, meta_gradient="jvp", microbatch_size=2, **more)
    both = [model(), model(**options)]
    for each in both:
        each.fit(tiny.dataset(tiny.batches(2)), verbose=0)
    tiny.assert_same_state(*both, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_mixed_precision():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = tiny.model(networks_=tiny.RICH, meta_gradient="jvp", microbatch_size=2)
    logs = model.fit(tiny.dataset(tiny.batches()), verbose=0).history
    assert np.isfinite([value[-1] for value in logs.values()]).all()


@pytest.mark.slow
def test_reduced_mpl():
    data = with_probs(tiny.batches(2))
    both = []
    for size in (None, 2):
        model = mpl_tf.MetaPseudoLabels(
            tiny.network("student", 1), calibration(), mpl_tf.objectives.Supervised(),
            meta_gradient="jvp", seed=5, teacher_input="teacher_probs", microbatch_size=size)
        model.compile(tiny.nesterov(), "adam")
        model.fit(tiny.dataset(data), verbose=0)
        both.append(model)
    tiny.assert_same_state(*both, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------ refusals and saving

@pytest.mark.parametrize("options, words", [
    (dict(microbatch_size=8), 'microbatch_size=8 with meta_gradient="nested_tape"'),
    (dict(microbatch_size=-1, meta_gradient="jvp"), "microbatch_size=-1: expected a whole number"),
    (dict(microbatch_size=2.0, meta_gradient="jvp"), "microbatch_size=2.0: expected a whole number"),
    (dict(microbatch_size=True, meta_gradient="jvp"), "microbatch_size=True: expected a whole number")])
def test_what_is_no_size_is_one_line(options, words):
    with pytest.raises(ValueError) as error:
        tiny.model(**options)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("labeled, unlabeled, words", [
    (6, 8, "slices of microbatch_size=4, but a replica has 6 labeled examples"),
    (4, 6, "slices of microbatch_size=4, but a replica has 6 unlabeled examples")])
def test_sizes_that_do_not_fit(labeled, unlabeled, words):
    model = tiny.model(meta_gradient="jvp", microbatch_size=4)
    with pytest.raises(ValueError) as error:
        model.fit(tiny.dataset(tiny.batches(1, labeled, unlabeled)), verbose=0)
    assert words in str(error.value) and "such as 3 " in str(error.value)


def test_sizes_that_are_known_only_in_the_step():
    """The third batch is shorter, by one that fits and then by one that does not."""
    def data(last):
        whole = tiny.batches(1, 8 + last, 8 + last)[0]
        return tf.data.Dataset.from_tensor_slices(whole).batch(4)

    model = tiny.model(meta_gradient="jvp", microbatch_size=2)
    model.fit(data(2), verbose=0)
    with pytest.raises(ValueError, match="^slices of microbatch_size=2, but it does not divide the"):
        model.fit(data(3), verbose=0)
    compiled = tiny.model(meta_gradient="jvp", microbatch_size=2, jit_compile=True)
    with pytest.raises(ValueError, match="batches of unknown size: batch with drop_remainder=True"):
        compiled.fit(data(2), verbose=0)


class Noisy(tf.keras.layers.Layer):
    """Draws from the seed that this package gives it."""

    def call(self, inputs):
        return inputs + tf.random.stateless_normal(tf.shape(inputs), mpl_tf.layers.layer_seed(self.name))


def _with(layer):
    return tf.keras.Sequential([tf.keras.Input((2,)), layer, tf.keras.layers.Dense(3)], name="student")


def test_layers_whose_numbers_would_be_those_of_every_slice():
    made = lambda layer: tiny.model(_with(layer), tiny.network("teacher", 2), meta_gradient="jvp",
                                    microbatch_size=2).fit(tiny.dataset(tiny.batches(1)), verbose=0)
    whole = mpl_tf.layers.ReplayableDropout(0.5, (8, 1), name="odd")
    for layer, words in ((Noisy(name="odd"), "layer 'odd' draws random numbers, and with microbatch_size"),
                         (whole, "student's layer 'odd' has the noise_shape (8, 1)"),
                         *[(tf.keras.layers.Dropout(0.5, name="odd"), "student has odd (Dropout), whose")]
                         * tiny.KERAS_3):
        with pytest.raises(ValueError) as error:
            made(layer)
        assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_synchronized_batch_norm_on_replicas():
    with tiny.two_replicas().scope(), pytest.raises(ValueError, match="synchronized over 2 replicas"):
        tiny.model(_with(tf.keras.layers.BatchNormalization(synchronized=True)), tiny.network("teacher", 2),
                   meta_gradient="jvp", microbatch_size=2)


def test_it_is_kept_with_the_model_and_absent_means_off(tmp_path):
    model = tiny.model(meta_gradient="jvp", microbatch_size=2)
    model.fit(tiny.dataset(tiny.batches(1)), verbose=0)
    model.save(tmp_path / "model.keras")
    assert tf.keras.models.load_model(tmp_path / "model.keras").microbatch_size == 2
    config = model.get_config()
    assert config.pop("microbatch_size") == 2
    assert type(model).from_config(config).microbatch_size is None
    assert tiny.model(microbatch_size=0).microbatch_size is None

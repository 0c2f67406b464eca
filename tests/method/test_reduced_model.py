"""ReducedMPL's model (teacher_input="teacher_probs") and NoisyStudent's (StoredTargets)."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from tests import finite_differences as fd
from tests import tiny


def with_probs(batches, seed=4, dtype="float32"):
    """The batches, with stored distributions beside their images."""
    rng = np.random.default_rng(seed)
    for batch in batches:
        for part in batch.values():
            part["teacher_probs"] = rng.dirichlet(
                0.7 * np.ones(tiny.CLASSES), len(part["image"])).astype(dtype)
    return batches


def calibration(seed=2, randomised=True):
    """The small teacher; its last layer, which starts at zero, filled."""
    network = mpl_tf.networks.calibration(tiny.CLASSES, hidden=(8, 8, 8, 8), seed=seed)
    if randomised:
        kernel = network.get_layer("change").kernel
        kernel.assign(0.3 * np.random.default_rng(1).normal(size=kernel.shape))
    return network


def test_the_teacher_begins_as_the_identity():
    probs = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]], "float32")
    network = calibration(randomised=False)
    np.testing.assert_allclose(tf.nn.softmax(network(probs)), probs, atol=1e-6)
    hidden = [layer.units for layer in network.layers if layer.name.startswith("hidden")]
    assert hidden == [8, 8, 8, 8]
    built = mpl_tf.networks.build("calibration-128", 10, (8, 8, 1), role="teacher", seed=1)
    assert built.input_shape == built.output_shape == (None, 10)
    assert built.count_params() == 10 * 128 + 3 * 128 * 128 + 4 * 128 + 128 * 10 + 10


def _model(way, meta_weight=1.0):
    """A compiled model on points, plain SGD for the teacher."""
    model = mpl_tf.MetaPseudoLabels(
        tiny.network("student", 1, **tiny.RICH), calibration(),
        mpl_tf.objectives.Supervised(), meta_weight=meta_weight, meta_gradient=way, seed=5,
        teacher_input="teacher_probs")
    model.compile(tf.keras.optimizers.RMSprop(0.02, momentum=0.9, epsilon=1e-3),
                  tf.keras.optimizers.Adam(0.01), student_weight_decay=5e-3, metrics=["accuracy"])
    return model


def _train(model, batches):
    """The steps that fit would take, traced faster."""
    if not hasattr(model, "traced_step"):
        model.traced_step = tf.function(model.train_step, autograph=False)
    for batch in batches:
        model.traced_step(tf.nest.map_structure(tf.constant, batch))


@pytest.mark.parametrize("way", ["nested_tape", "jvp"])
def test_the_meta_gradient_against_finite_differences(way):
    """The teacher's gradient from the step; R by plain passes written here, in float64."""
    tiny.use_float64()
    batch = tf.nest.map_structure(
        tf.constant, with_probs(tiny.batches(1, dtype="float64"), dtype="float64")[0])
    model = mpl_tf.MetaPseudoLabels(
        tiny.network("student", 1), calibration(), mpl_tf.objectives.Supervised(0.0),
        meta_gradient=way, teacher_input="teacher_probs")
    model.compile(fd.OPTIMIZERS["rmsprop_momentum"](), tf.keras.optimizers.SGD(1.0))
    step = tf.function(model.train_step, autograph=False)
    step(batch)
    saved = fd.snapshot(model)
    before = [weight.numpy() for weight in model.teacher.trainable_variables]
    step(batch)
    gradient = [old - weight.numpy()
                for old, weight in zip(before, model.teacher.trainable_variables)]

    def validation_loss():
        probs = tf.nn.softmax(model.teacher(batch["unlabeled"]["teacher_probs"]))
        with tf.GradientTape() as tape:
            log_probs = tf.nn.log_softmax(model.student(batch["unlabeled"]["augmented"]))
            loss = -tf.reduce_mean(tf.reduce_sum(probs * log_probs, axis=1))
        weights = model.student.trainable_variables
        model.student_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        log_probs = tiny.log_softmax(model.student(batch["labeled"]["image"]))
        return -np.mean(log_probs[np.arange(6), batch["labeled"]["label"].numpy()])

    norm = np.sqrt(sum(np.sum(g ** 2) for g in gradient))
    rng = np.random.default_rng(3)
    for along in (gradient, [rng.normal(size=g.shape) for g in gradient]):
        length = np.sqrt(sum(np.sum(d ** 2) for d in along))
        values = []
        for sign in (1, -1):
            fd.restore(saved)
            for weight, d in zip(model.teacher.trainable_variables, along):
                weight.assign_add(sign * 1e-6 / length * d)
            values.append(validation_loss())
        ours = sum(np.sum(g * d) for g, d in zip(gradient, along)) / length
        assert norm > 0 and abs((values[0] - values[1]) / 2e-6 - ours) < 1e-6 * norm


@pytest.mark.parametrize("way", ["nested_tape", pytest.param("jvp", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_control_is_the_teacher_trained_on_labels_alone(way):
    """meta_weight=0: the weights of a plain network of the same settings, and other than with 1."""
    batches = with_probs(tiny.batches(4))
    control, full = (_model(way, meta_weight) for meta_weight in (0.0, 1.0))
    alone = mpl_tf.Baseline(calibration(), mpl_tf.objectives.Supervised(), seed=5)
    alone.compile(tf.keras.optimizers.Adam(0.01))
    for model in (control, full):
        _train(model, batches)
    _train(alone, [{"labeled": {"image": batch["labeled"]["teacher_probs"],
                                "label": batch["labeled"]["label"]}} for batch in batches])
    for ours, reference in zip(control.teacher.weights, alone.student.weights):
        np.testing.assert_array_equal(ours.numpy(), reference.numpy())
    assert any(np.any(one.numpy() != other.numpy())
               for one, other in zip(control.teacher.weights, full.teacher.weights))


@pytest.mark.slow
def test_both_ways_agree_and_a_loaded_model_continues(tmp_path):
    batches = with_probs(tiny.batches(4))
    models = [_model(way) for way in ("nested_tape", "jvp")]
    for model in models:
        _train(model, batches[:2])
    tiny.assert_same_state(*models, rtol=2e-3, atol=1e-5)
    models[1].save(str(tmp_path / "model.keras"))
    loaded = tf.keras.models.load_model(str(tmp_path / "model.keras"))
    assert loaded.teacher_input == "teacher_probs" and list(loaded.classifiers) == ["student"]
    for model in (models[1], loaded):
        _train(model, batches[2:])
    tiny.assert_same_state(loaded, models[1])
    values = models[1].diagnostics(tf.nest.map_structure(tf.constant, batches[0]))
    assert np.isfinite(float(values["gradient_cosine"]))


def test_networks_that_are_not_built_yet():
    """Each is built on its own input: the student on points [2], the teacher on distributions [3]."""
    dense = lambda size: tf.keras.layers.Dense(size)
    model = mpl_tf.MetaPseudoLabels(
        tf.keras.Sequential([dense(4), dense(3)]), tf.keras.Sequential([dense(5), dense(3)]),
        mpl_tf.objectives.Supervised(), teacher_input="teacher_probs")
    model.compile(tiny.nesterov(), tiny.nesterov())
    model.fit(tiny.dataset(with_probs(tiny.batches(1))), verbose=0)
    assert [n.weights[0].shape[0] for n in (model.student, model.teacher)] == [2, 3]


@pytest.mark.slow
def test_replicas_take_the_step_of_one_device():
    batches = with_probs(tiny.batches(2))
    states = []
    for strategy in (tf.distribute.get_strategy(), tiny.two_replicas()):
        with strategy.scope():
            model = mpl_tf.MetaPseudoLabels(
                tiny.network("student", 1), calibration(), mpl_tf.objectives.Supervised(),
                teacher_input="teacher_probs")
            model.compile(tiny.nesterov(), tf.keras.optimizers.SGD(0.1))
        model.fit(tiny.dataset(batches), verbose=0)
        states.append(tiny.state(model))
    tiny.assert_same_state(*states, rtol=1e-4, atol=1e-6)


def test_a_noisy_students_step_by_hand():
    """One weight: logits [w x, 0] on the noised x = 2 (not on the clean 9), w = 0, target (.9, .1).

    p = (.5, .5); loss = ln 2; dloss/dw = (p_0 - .9) 2 = -.8; w' = .8 at rate 1.
    Second step: p_0 = s(1.6) = .832018, dloss/dw = -.135964, w' = .935964.
    """
    x = tf.keras.Input((1,))
    w_x = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(x)
    model = mpl_tf.StoredTargets(tf.keras.Model(x, tf.keras.layers.Concatenate()([w_x, 0 * w_x])))
    model.compile(tf.keras.optimizers.SGD(1.0))
    batch = {"labeled": {"image": np.ones([1, 1], "float32"), "label": np.array([1])},
             "unlabeled": {"image": np.full([1, 1], 9.0, "float32"),
                           "augmented": np.full([1, 1], 2.0, "float32"),
                           "teacher_probs": np.array([[0.9, 0.1]], "float32")}}
    logs = model.fit(tiny.dataset([batch]), verbose=0).history
    assert model.student.weights[0].numpy().item() == pytest.approx(0.8, abs=1e-6)
    assert logs["loss"][0] == pytest.approx(np.log(2), abs=1e-6)
    assert logs["pseudo_label_confidence"][0] == pytest.approx(0.9, abs=1e-6)
    model.fit(tiny.dataset([batch]), verbose=0)
    assert model.student.weights[0].numpy().item() == pytest.approx(0.935964, abs=2e-6)


def test_a_noisy_student_is_reduced_mpls_student_with_a_teacher_that_stays():
    """The identity teacher at rate 0, so nothing but its adapting is between them; dropout on."""
    batches = with_probs(tiny.batches(3))
    noisy = mpl_tf.StoredTargets(tiny.network("student", 1, **tiny.RICH), seed=5)
    noisy.compile(tiny.nesterov(), weight_decay=5e-4)
    full = mpl_tf.MetaPseudoLabels(
        tiny.network("student", 1, **tiny.RICH), calibration(randomised=False),
        mpl_tf.objectives.Supervised(), seed=5, teacher_input="teacher_probs")
    full.compile(tiny.nesterov(), tf.keras.optimizers.SGD(0.0), student_weight_decay=5e-4)
    for model in (noisy, full):
        _train(model, batches)
    for one, other in zip(noisy.student.weights, full.student.weights):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make, words", [
    (dict(teacher_input="probs"), 'give "image" or "teacher_probs"'),
    (dict(teacher_input="teacher_probs", objective=mpl_tf.objectives.UDA()),
     "UDA, which needs strong views"),
    (dict(teacher_input="teacher_probs", teacher=tiny.network("teacher", 2)),
     "from (2,) to (3,): expected distributions over the same classes")])
def test_what_does_not_fit_is_refused_in_one_line(make, words):
    arguments = {"teacher": calibration(), "objective": mpl_tf.objectives.Supervised()}
    with pytest.raises(ValueError) as error:
        mpl_tf.MetaPseudoLabels(tiny.network("student", 1), **{**arguments, **make})
    assert words in str(error.value) and "\n" not in str(error.value)


def _spoilt(change):
    batch = with_probs(tiny.batches(1))[0]
    change(batch)
    return tiny.dataset([batch])


@pytest.mark.parametrize("change, words", [
    (lambda b: b["labeled"].pop("teacher_probs"), 'no ["labeled"]["teacher_probs"]'),
    (lambda b: b["unlabeled"].update(teacher_probs=np.ones([8, 4], "float32")),
     '["unlabeled"]["teacher_probs"] is float32 (8, 4)'),
    (lambda b: b["unlabeled"].update(teacher_probs=np.ones([8, 3], int)),
     '["unlabeled"]["teacher_probs"] is int64 (8, 3)'),
    (lambda b: b["unlabeled"].update(teacher_probs=np.ones([5, 3], "float32")),
     "(5, 3) beside 8 images")])
def test_data_without_fitting_distributions_are_refused_before_the_first_step(change, words):
    with pytest.raises(ValueError) as error:
        _model("nested_tape").fit(_spoilt(change), verbose=0)
    assert words in str(error.value) and "\n" not in str(error.value)

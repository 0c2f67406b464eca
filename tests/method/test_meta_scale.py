"""How long the meta gradient is made: against steps of the paper's kind, NumPy and the baseline."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.method import meta_scale
from tests import finite_differences as fd, tiny

WAYS = ["nested_tape", "jvp"]
OBJECTIVES = {"supervised": mpl_tf.objectives.Supervised, "uda": mpl_tf.objectives.UDA,
              "randaugment": mpl_tf.objectives.RandAugment}
NOTHING = {"supervised": dict(weight=0.0), "randaugment": dict(weight=0.0),
           "uda": dict(weight=0.0, supervised_weight=0.0)}


def flat(gradients):
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def both_by_steps(objective, way="nested_tape", network="dense", batch=None):
    """(m, g) in float64, each read off a step of meta_scale="absolute" in which the other is 0."""
    batch = batch or fd.make_batch(fd.NETWORKS[network][1])
    model = lambda meta_weight, **options: fd.make_model(
        network, "nesterov", way, OBJECTIVES[objective](**options), meta_weight=meta_weight)
    meta = flat(fd.teacher_step(model(1.0, **NOTHING[objective]), batch))
    return meta, flat(fd.teacher_step(model(0.0), batch)), batch


def as_after_many_steps(model):
    """The model, whose measured factor would be 0 in its first steps."""
    if model.meta_scale == "measured":
        model.signal_statistics.assign([3.0, 0.1, 1.0, 3.0])
        model.teacher_optimizer.iterations.assign(50)
    return model


@pytest.mark.parametrize("objective, way, network", [
    ("supervised", "nested_tape", "dense"), pytest.param("supervised", "jvp", "conv", marks=pytest.mark.slow),
    pytest.param("uda", "nested_tape", "dense", marks=pytest.mark.slow),
    pytest.param("randaugment", "nested_tape", "dense", marks=pytest.mark.slow),
    pytest.param("uda", "nested_tape", "conv", marks=pytest.mark.slow), pytest.param("uda", "jvp", "dense", marks=pytest.mark.slow)])
def test_the_norm_is_the_weight_times_the_objectives_and_the_direction_exact(objective, way, network):
    meta, own, batch = both_by_steps(objective, way, network)
    model = fd.make_model(network, "nesterov", way, OBJECTIVES[objective](), meta_weight=0.75,
                          meta_scale="relative")
    step = flat(fd.teacher_step(model, batch))
    added = step - own
    assert np.linalg.norm(added) == pytest.approx(0.75 * np.linalg.norm(own), rel=1e-9)
    np.testing.assert_allclose(added, 0.75 * np.linalg.norm(own) / np.linalg.norm(meta) * meta,
                               rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("way", ["jvp", pytest.param("nested_tape", marks=pytest.mark.slow)])
def test_measured_adds_its_factor_times_the_exact_gradient(way):
    meta, own, batch = both_by_steps("supervised", way)
    model = fd.make_model("dense", "nesterov", way, mpl_tf.objectives.Supervised(), meta_weight=0.75,
                          meta_scale="measured")
    norms = [np.linalg.norm(own), np.linalg.norm(meta)]
    model.signal_statistics.assign([3 * norms[0], norms[1], norms[0], 2 * norms[0]])
    model.teacher_optimizer.iterations.assign(99)
    added = flat(fd.teacher_step(model, batch)) - own
    factor = 0.75 * (1 - 1 / 2) * (3 - 2 / 100) * norms[0] / norms[1]
    np.testing.assert_allclose(added, factor * meta, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_it_logs_the_ratio_and_the_cosine_of_the_step():
    meta, own, batch = both_by_steps("supervised")
    model = fd.make_model("dense", "nesterov", objective=mpl_tf.objectives.Supervised(),
                          meta_scale="relative", meta_weight=0.5)
    found = model.diagnostics(batch)
    logs = model.traced_step(batch)
    ratio = np.linalg.norm(meta) / np.linalg.norm(own)
    cosine = meta @ own / np.linalg.norm(meta) / np.linalg.norm(own)
    logged = meta_scale.MEASURED[:2]
    for scalars, names in ((logs, logged), (
            {**found, "meta_gradient_ratio": found["meta_gradient_norm_weights"]
             / found["objective_gradient_norm_weights"]}, logged)):
        assert [float(scalars[name]) for name in names] == pytest.approx([ratio, cosine], rel=1e-9)
    assert "meta_gradient_ratio" not in fd.make_model("dense", "sgd").traced_step(batch)


@pytest.mark.parametrize("objective, way, scale", [
    ("supervised", "jvp", "relative"), ("uda", "nested_tape", "measured")])
def test_weight_0_is_the_baseline_bit_for_bit(objective, way, scale):
    """float32, dropout, batch norm, momentum, and a weight decay that counts once."""
    batches = tiny.batches(4, shape=(6, 6, 2))
    data = tiny.dataset(batches)
    made = OBJECTIVES[objective]()
    control = mpl_tf.MetaPseudoLabels(fd.conv_network(1), fd.conv_network(2), made, 0.0, way, seed=5,
                                      meta_scale=scale)
    control.compile(tiny.nesterov(), tiny.nesterov(), teacher_weight_decay=1e-3)
    baseline = mpl_tf.Baseline(fd.conv_network(2), made, seed=5)
    baseline.compile(tiny.nesterov(), weight_decay=1e-3)
    as_after_many_steps(control)
    for model in (control, baseline):
        history = model.fit(data, verbose=0).history
        if model is control:
            assert history["meta_gradient_ratio"][-1] > 0    # it was computed, and multiplied by 0
            assert scale == "relative" or float(
                1 - control.signal_statistics[2] / control.signal_statistics[3]) > 0      # the room
    for ours, theirs in zip(control.teacher.weights, baseline.student.weights):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_rounding_noise_is_left_out(dtype):
    eps, generator = np.finfo(dtype).eps, np.random.default_rng(0)
    own = [generator.normal(size=shape).astype(dtype) for shape in ((3, 4), (5,))]
    other = [generator.normal(size=value.shape).astype(dtype) for value in own]
    relative = tf.function(lambda m, g, w: meta_scale.relative(m, g, w)[0])
    norm = lambda values: np.linalg.norm(flat(values))
    for length, heard in ((0.0, False), (4 * eps, False), (64 * eps, True), (1e3, True)):
        meta = [(length * norm(own) / norm(other) * value).astype(dtype) for value in other]
        result = [value.numpy() for value in relative(meta, own, tf.constant(0.5, dtype))]
        added = norm([a - b for a, b in zip(result, own)])
        assert added == pytest.approx(0.5 * norm(own) if heard else 0.0, rel=1e-5)
    nothing = [np.zeros_like(value) for value in own]
    assert not norm(relative(nothing, nothing, tf.constant(0.5, dtype)))


def test_a_teacher_that_gets_no_signal_learns_as_the_control():
    """A saturated softmax passes nothing on: no division of nothing by nothing."""
    states = []
    for weight in (0.0, 0.5):
        student, teacher = tiny.networks()
        teacher.layers[-1].bias.assign([0.0, 400.0, 0.0])
        model = mpl_tf.MetaPseudoLabels(student, teacher, mpl_tf.objectives.Supervised(), weight,
                                        meta_scale="relative")
        model.compile(tiny.nesterov(), tiny.nesterov())
        logs = model.fit(tiny.dataset(tiny.batches()), verbose=0).history
        assert np.isfinite(logs["loss"]).all() and logs["meta_gradient_ratio"] == [0.0]
        states.append(teacher.get_weights())
    for one, other in zip(*states):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("way, scale", [
    ("jvp", "measured"), pytest.param("jvp", "relative", marks=pytest.mark.slow),
    pytest.param("nested_tape", "relative", marks=pytest.mark.slow)])
def test_two_replicas_equal_one_device(way, scale):
    """The norms are those of the averaged gradients."""
    tiny.use_float64()
    data = tiny.dataset(tiny.batches(3, labeled=4, unlabeled=6, dtype="float64"))
    made = lambda **options: tiny.model(meta_gradient=way, meta_scale=scale, meta_weight=0.5,
                                        student_weight_decay=0.01, teacher_weight_decay=0.01, **options)
    one = as_after_many_steps(made(run_eagerly=True))
    logs = one.fit(data, verbose=0).history
    with tiny.two_replicas().scope():
        two = as_after_many_steps(made())
    assert scale == "relative" or logs["meta_factor"][0] > 0
    logs_of_two = two.fit(data, verbose=0).history
    tiny.assert_same_state(two, one, rtol=1e-8, atol=1e-12)
    for name in logs:
        assert logs_of_two[name] == pytest.approx(logs[name], rel=1e-6), name


def test_reduced_mpl_and_mixed_precision():
    probs = np.float32(np.random.default_rng(0).dirichlet(np.ones(tiny.CLASSES), 8))
    [batch] = tiny.batches(1, augmented=False)
    for part in batch.values():
        part["teacher_probs"] = probs[:len(part["image"])]
    model = mpl_tf.MetaPseudoLabels(tiny.network("student", 1), mpl_tf.networks.calibration(tiny.CLASSES),
                                    mpl_tf.objectives.Supervised(), 0.5, teacher_input="teacher_probs",
                                    meta_scale="relative")
    model.compile(tiny.nesterov(), "adam")
    assert model.fit(tiny.dataset([batch]), verbose=0).history["meta_gradient_ratio"][0] > 0
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = mpl_tf.MetaPseudoLabels(*tiny.networks(), mpl_tf.objectives.UDA(), 0.5, meta_scale="relative")
    model.compile(tiny.nesterov(), tiny.nesterov())
    logs = model.fit(tiny.dataset(tiny.batches()), verbose=0).history
    assert np.isfinite([value[-1] for value in logs.values()]).all()


@pytest.mark.parametrize("way", WAYS)
def test_shuffled_gives_each_image_the_signal_of_the_one_before(way, monkeypatch):
    """(dq/dPsi)^T of dR/dq rolled by hand, with the teacher's Jacobian taken apart from the step."""
    batch, seen = fd.make_batch((2,)), []
    model = fd.make_model("dense", "nesterov", way, meta_signal="shuffled")
    roll = meta_scale.shuffled
    monkeypatch.setattr(meta_scale, "shuffled", lambda signal: seen.append(signal) or roll(signal))
    model.traced_step = model.train_step    # eagerly, so that `seen` has values
    weights = model.teacher.trainable_variables
    with tf.GradientTape() as tape:
        q = tf.nn.softmax(model.teacher(batch["unlabeled"]["augmented"]))
    jacobian = [np.asarray(part).reshape(q.shape[0] * q.shape[1], -1)
                for part in tape.jacobian(q, weights)]
    step = flat(fd.teacher_step(model, batch))
    [signal] = seen
    rolled = np.concatenate([signal[-1:], signal[:-1]]).ravel()
    np.testing.assert_allclose(step, np.concatenate([part.T @ rolled for part in jacobian]), rtol=1e-8,
                               atol=1e-14)
    assert np.abs(rolled).max() > 0 and not np.allclose(rolled, np.ravel(signal))


@pytest.mark.parametrize("options, words", [
    (dict(meta_scale="big"), 'meta_scale=\'big\': give "absolute", "relative" or "measured"'),
    (dict(meta_signal="noise"), 'meta_signal=\'noise\': give "exact" or "shuffled"'),
    (dict(meta_scale="relative", objective=mpl_tf.objectives.Supervised(weight=0.0)), "Supervised(weight=0.0)"),
    (dict(meta_scale="relative", objective=mpl_tf.objectives.UDA(0.0, supervised_weight=0.0)), "above 0")])
def test_what_does_not_fit_is_one_line(options, words):
    with pytest.raises(ValueError) as error:
        mpl_tf.MetaPseudoLabels(*tiny.networks(), **{"objective": mpl_tf.objectives.UDA(), **options})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_batch_of_one_has_no_wrong_image():
    model = mpl_tf.MetaPseudoLabels(*tiny.networks(), mpl_tf.objectives.Supervised(),
                                    meta_signal="shuffled")
    model.compile("sgd", "sgd")
    with pytest.raises(ValueError, match="batch of 1 example on a replica: give it at least 2"):
        model.fit(tiny.dataset(tiny.batches(1, unlabeled=1)), verbose=0)
    unknown = [tiny.dataset(tiny.batches(1, unlabeled=2)), tiny.dataset(tiny.batches(1, unlabeled=1))]
    model.fit(unknown[0].concatenate(unknown[1]).take(1), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch of 1 example on a replica: give it"):
        model.fit(unknown[0].concatenate(unknown[1]), verbose=0)


@pytest.mark.parametrize("scale", ["measured", pytest.param("relative", marks=pytest.mark.slow)])
def test_it_is_kept_with_the_model_and_absent_means_absolute(tmp_path, scale):
    model = mpl_tf.MetaPseudoLabels(*tiny.networks(), mpl_tf.objectives.UDA(), 0.5,
                                    meta_scale=scale, meta_signal="shuffled")
    model.compile(tiny.nesterov(), tiny.nesterov())
    data = tiny.dataset(tiny.batches())
    model.fit(data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.meta_scale, loaded.meta_signal) == (scale, "shuffled")
    for each in (model, loaded):
        each.fit(data, verbose=0)
    tiny.assert_same_state(model, loaded)
    if scale == "measured":
        assert model.signal_statistics.numpy().all()
        np.testing.assert_array_equal(model.signal_statistics.numpy(), loaded.signal_statistics.numpy())
    config = model.get_config()
    old = {name: value for name, value in config.items() if name not in ("meta_scale", "meta_signal")}
    again = type(model).from_config(old)
    assert (again.meta_scale, again.meta_signal) == ("absolute", "exact")


def test_the_agreement_of_two_halves_is_that_of_two_steps():
    """Each half by itself, in a model without batch norm, at the student that both halves made."""
    batch = fd.make_batch((2,), augmented=False)
    made = lambda: fd.make_model("dense", "sgd", objective=mpl_tf.objectives.Supervised())
    agreement = float(made().diagnostics(batch)["meta_gradient_agreement"])
    metas = []
    for half in (0, 1):
        model = made()
        weights = model.student.trainable_variables
        with tf.GradientTape(persistent=True) as teacher_tape:
            q = tf.nn.softmax(model.teacher(batch["unlabeled"]["image"]))
            with tf.GradientTape() as tape:
                logits = model.student(batch["unlabeled"]["image"])
                loss = -tf.reduce_mean(tf.reduce_sum(q * tf.nn.log_softmax(logits), -1))
            updated = [w - 0.3 * (g + (5e-3 * w if "kernel" in w.name else 0.0))
                       for w, g in zip(weights, tape.gradient(loss, weights))]
            rows = slice(3 * half, 3 * half + 3)
            hidden = tf.tanh(batch["labeled"]["image"][rows] @ updated[0] + updated[1])
            r = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch["labeled"]["label"][rows], hidden @ updated[2] + updated[3]))
        signal = teacher_tape.gradient(r, q).numpy()
        signal[4 * (1 - half):4 * (1 - half) + 4] = 0.0       # of the other half's images
        metas.append(flat(teacher_tape.gradient(q, model.teacher.trainable_variables,
                                                output_gradients=tf.constant(signal))))
    one, other = metas
    assert agreement == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), rel=1e-7)
    assert -1 < agreement < 1


def test_diagnostics_are_of_the_signal_that_the_teacher_gets():
    batch = fd.make_batch((2,))
    made = lambda signal: fd.make_model("dense", "nesterov", objective=mpl_tf.objectives.Supervised(0.0),
                                        meta_signal=signal)
    norms = [float(made(signal).diagnostics(batch)["meta_gradient_norm_weights"])
             for signal in ("exact", "shuffled")]
    step = np.linalg.norm(flat(fd.teacher_step(made("shuffled"), batch)))
    assert norms[1] == pytest.approx(step, rel=1e-9) and norms[0] != pytest.approx(step, rel=0.01)


@pytest.mark.parametrize("dtypes", [("bfloat16", "bfloat16"), ("float32", "float64"), ("bfloat16", "float32")])
def test_norms_of_any_dtypes(dtypes):
    """In bfloat16 a sum of 100,000 squares would stop growing at 256 times the next one."""
    meta = [tf.cast(tf.fill([100_000], 0.5), dtype) for dtype in dtypes]
    own = [tf.cast(tf.fill([100_000], 2.0), dtype) for dtype in dtypes]
    one, other, cosine = meta_scale.compared(meta, own)
    assert [float(one), float(other), float(cosine)] == pytest.approx(
        [0.5 * 200_000 ** 0.5, 2.0 * 200_000 ** 0.5, 1.0], rel=1e-5)
    gradients, measured = meta_scale.relative(meta, own, tf.constant(0.5))
    assert [g.dtype.name for g in gradients] == list(dtypes)
    np.testing.assert_allclose([float(g[0]) for g in gradients], 3.0, rtol=1e-5)

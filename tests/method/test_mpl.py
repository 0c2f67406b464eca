"""One training step of MetaPseudoLabels: numbers worked by hand, averages, the control."""

import math

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf import networks
from tests import finite_differences as fd, tiny

WAYS = ("nested_tape", "jvp")


def _scalar_model(way, objective, student_optimizer, meta_weight=1.0):
    """Student and teacher with one weight each: logits [w x, 0] of a number x; both start at 0."""
    tiny.use_float64()

    def network():
        x = tf.keras.Input((1,))
        w_x = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(x)
        return tf.keras.Model(x, tf.keras.layers.Concatenate()([w_x, 0 * w_x]))

    model = mpl_tf.MetaPseudoLabels(network(), network(), objective, meta_weight, way)
    model.compile(student_optimizer, tf.keras.optimizers.SGD(1.0))
    batch = {"labeled": {"image": tf.ones([1, 1], tf.float64), "label": tf.constant([0])},
             "unlabeled": {"image": tf.fill([1, 1], tf.constant(2.0, tf.float64))}}
    return model, tf.function(model.train_step), batch


@pytest.mark.parametrize("way", WAYS)
def test_three_steps_worked_by_hand(way):
    """x_u = 2, x_l = 1, y = 0, rates 1, meta signal alone. s(z) = 1 / (1 + e^-z).

    q = s(2 psi), p = s(2 theta), g = 2 (p - q), theta' = theta - g, v = -(1 - s(theta')),
    dR/dpsi = v dtheta'/dpsi = v (-dg/dpsi) = v 2 dq/dpsi = v 4 q (1 - q), psi' = psi - dR/dpsi.
    step 1: q = p = .5,  theta' = 0,  v = -.5,  dR/dpsi = -.5 * 4 * .25 = -.5,  psi' = .5.
    step 2: q = s(1) = .731059, p = .5, g = -.462117, theta' = .462117, v = -.386484,
            dR/dpsi = -.386484 * 4 * .196612 = -.303949, psi' = .803949.
    step 3: q = s(1.607898) = .833119, p = s(.924234) = .715904, g = -.234431,
            theta' = .696548, v = -.332578, dR/dpsi = -.332578 * 4 * .139031 = -.184955.
    """
    model, step, batch = _scalar_model(
        way, mpl_tf.objectives.Supervised(weight=0.0), tf.keras.optimizers.SGD(1.0))
    expected = [(0.0, 0.5), (0.462117, 0.803949), (0.696548, 0.988904)]
    for theta, psi in expected:
        step(batch)
        assert model.student.weights[0].numpy().item() == pytest.approx(theta, abs=2e-6)
        assert model.teacher.weights[0].numpy().item() == pytest.approx(psi, abs=2e-6)


def test_logged_scalars_are_those_of_the_step():
    """Step 2 of the numbers above, plus the supervised term: -log s(psi) at psi = .5."""
    model, step, batch = _scalar_model(
        "nested_tape", mpl_tf.objectives.Supervised(weight=0.0), tf.keras.optimizers.SGD(1.0), 3.0)
    step(batch)
    for weight, value in ((model.teacher.weights[0], 0.5), (model.student.weights[0], 0.0)):
        weight.assign([[value]])
    model.reset_metrics()
    logs = {name: float(value) for name, value in step(batch).items()}
    q, theta = 0.731059, 0.462117
    assert logs["student_loss"] == pytest.approx(math.log(2))
    assert logs["R"] == pytest.approx(-math.log(1 / (1 + math.exp(-theta))), abs=1e-5)
    assert logs["teacher_meta_loss"] == pytest.approx(3 * logs["R"])
    assert logs["teacher_supervised_loss"] == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert logs["pseudo_label_confidence"] == pytest.approx(q, abs=1e-5)
    assert logs["pseudo_label_entropy"] == pytest.approx(
        -q * math.log(q) - (1 - q) * math.log(1 - q), abs=1e-5)
    # dR/dq_c = -(1/B) d log p_c along w: w = -v = .386484; d log p = (2 (1 - p), -2 p) w; and
    # dR/dlogits = q (1 - q) (1, -1) (dR/dq_0 - dR/dq_1).
    assert logs["meta_gradient_norm"] == pytest.approx(
        math.sqrt(2) * q * (1 - q) * 2 * 0.386484, abs=1e-5)
    assert logs["student_learning_rate"] == logs["teacher_learning_rate"] == 1.0


def _norm_network(momentum):
    """Points -> batch norm (its averages are those of the data) -> 3 logits."""
    return tf.keras.Sequential([
        tf.keras.Input((2,)), tf.keras.layers.BatchNormalization(momentum=momentum, name="bn"),
        tf.keras.layers.Dense(3, name="logits")])


@pytest.mark.parametrize("objective, way", [
    ("uda", "jvp"), ("supervised", "nested_tape"),
    pytest.param("uda", "nested_tape", marks=pytest.mark.slow),
    pytest.param("supervised", "jvp", marks=pytest.mark.slow)])
def test_batch_norm_averages_move_when_they_should(objective, way):
    """Student: once, on x_u. Teacher: in its objective's own passes, not in one for targets."""
    tiny.use_float64()
    chosen = {"supervised": mpl_tf.objectives.Supervised, "uda": mpl_tf.objectives.UDA}[objective]()
    model = mpl_tf.MetaPseudoLabels(_norm_network(0.9), _norm_network(0.8), chosen,
                                    meta_gradient=way)
    model.compile(tf.keras.optimizers.SGD(0.1), tf.keras.optimizers.SGD(0.1))
    batch = fd.make_batch((2,))
    tf.function(model.train_step)(batch)
    weak, strong = (batch["unlabeled"][view].numpy() for view in ("image", "augmented"))
    labeled = batch["labeled"]["image"].numpy()
    student_mean, student_variance = model.student.get_layer("bn").non_trainable_variables
    np.testing.assert_allclose(student_mean, 0.1 * strong.mean(0), rtol=1e-6)
    np.testing.assert_allclose(student_variance, 0.9 + 0.1 * strong.var(0), rtol=1e-6)
    expected_mean = 0.2 * labeled.mean(0)
    if objective == "uda":
        expected_mean = 0.8 * expected_mean + 0.2 * np.concatenate([weak, strong]).mean(0)
    np.testing.assert_allclose(
        model.teacher.get_layer("bn").moving_mean, expected_mean, rtol=1e-6)


OBJECTIVES = {"supervised": mpl_tf.objectives.Supervised(label_smoothing=0.1),
              "randaugment": mpl_tf.objectives.RandAugment(), "uda": mpl_tf.objectives.UDA(),
              "uda_apart": mpl_tf.objectives.UDA(joint_views=False)}


@pytest.mark.parametrize("objective, way", [
    ("supervised", "jvp"), ("uda", "nested_tape"), ("uda_apart", "jvp"),
    *(pytest.param(objective, way, marks=pytest.mark.slow) for objective, way in [
        ("supervised", "nested_tape"), ("uda", "jvp"), ("randaugment", "nested_tape"),
        ("randaugment", "jvp")])])
def test_the_control_follows_the_baseline_bit_for_bit(objective, way):
    """float32, dropout and batch norm on: the teacher at meta_weight=0 is the baseline's network."""
    batch = tf.nest.map_structure(
        lambda x: tf.cast(x, tf.float32) if x.dtype == tf.float64 else x, fd.make_batch((6, 6, 2)))
    optimizer = lambda: tf.keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    control = mpl_tf.MetaPseudoLabels(fd.conv_network(1), fd.conv_network(2),
                                      OBJECTIVES[objective], 0.0, way, seed=5)
    control.compile(optimizer(), optimizer(), teacher_weight_decay=1e-3)
    baseline = mpl_tf.Baseline(fd.conv_network(2), OBJECTIVES[objective], seed=5)
    baseline.compile(optimizer(), weight_decay=1e-3)
    steps = [tf.function(model.train_step) for model in (control, baseline)]
    for _ in range(5):
        logs, _ = (step(batch) for step in steps)
    for ours, theirs in zip(control.teacher.weights, baseline.student.weights):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert float(logs["meta_gradient_norm"]) > 0    # it was computed, and multiplied by zero


def test_the_control_computes_what_the_method_computes():
    """Equal compute: the traced graphs of meta_weight 1 and 0 hold the same operations."""
    counts = []
    for meta_weight in (1.0, 0.0):
        model = fd.make_model("dense", "nesterov", meta_weight=meta_weight)
        graph = tf.function(model.train_step).get_concrete_function(fd.make_batch((2,))).graph
        kinds = [operation.type for operation in graph.get_operations()]
        counts.append({kind: kinds.count(kind) for kind in set(kinds)})
        variables = [id(capture) for capture, _ in graph.captures]
        assert id(model.meta_weight.handle) in variables    # by a number, not by another program
    assert counts[0] == counts[1]


def test_the_student_sees_labels_only_through_the_teacher():
    """Other labels, same student after one step: they enter R, and R the teacher alone."""
    students = []
    for shift in (0, 1):
        batch = fd.make_batch((6, 6, 2))
        batch["labeled"]["label"] = (batch["labeled"]["label"] + shift) % 3
        model = fd.make_model("conv", "nesterov")
        model.traced_step(batch)
        students.append(model.student.get_weights())
    for one, other in zip(*students):
        np.testing.assert_array_equal(one, other)


def test_r_sees_the_weak_view_and_the_objective_the_strong_one():
    """RandAugment: x_l is strong in the teacher's loss and weak in R."""
    base = fd.make_batch((2,))
    logs = {}
    for view in (None, "image", "augmented"):
        batch = {part: dict(views) for part, views in base.items()}
        if view:
            batch["labeled"][view] = batch["labeled"][view] + 1.0
        model = fd.make_model("dense", "nesterov", objective=mpl_tf.objectives.RandAugment())
        logs[view] = {name: float(value) for name, value in model.traced_step(batch).items()}
    assert logs["image"]["R"] != logs[None]["R"]
    assert logs["image"]["teacher_supervised_loss"] == logs[None]["teacher_supervised_loss"]
    assert logs["augmented"]["R"] == logs[None]["R"]
    assert logs["augmented"]["teacher_supervised_loss"] != logs[None]["teacher_supervised_loss"]


@pytest.mark.slow
def test_diagnostics_change_nothing_and_agree_with_the_step():
    batch = fd.make_batch((6, 6, 2))
    model = fd.make_model("conv", "rmsprop_momentum")
    model.traced_step(batch)
    saved = fd.snapshot(model)
    found = tf.function(model.diagnostics)(batch)
    for value, variable in zip(saved[1], saved[0]):
        np.testing.assert_array_equal(value, variable.numpy())
    step = fd.teacher_step(model, batch)    # the meta gradient alone, at teacher's rate 1
    assert float(found["meta_gradient_norm_weights"]) == pytest.approx(
        math.sqrt(sum(np.sum(g ** 2) for g in step)), rel=1e-9)
    assert float(found["gradient_cosine"]) == 0.0   # this objective's weight is 0
    np.testing.assert_allclose(tf.reduce_sum(found["pseudo_labels"], 1), 1.0)


@pytest.mark.slow
def test_gradient_cosine_against_numpy():
    batch = fd.make_batch((2,))
    gradients = []
    for meta_weight, weight in ((1.0, 0.0), (0.0, 1.0)):
        model = fd.make_model("dense", "nesterov", meta_weight=meta_weight,
                              objective=mpl_tf.objectives.Supervised(weight))
        gradients.append(np.concatenate([g.ravel() for g in fd.teacher_step(model, batch)]))
    model = fd.make_model("dense", "nesterov", objective=mpl_tf.objectives.Supervised())
    meta, objective = gradients
    cosine = meta @ objective / np.linalg.norm(meta) / np.linalg.norm(objective)
    assert float(model.diagnostics(batch)["gradient_cosine"]) == pytest.approx(cosine, rel=1e-9)


@pytest.mark.slow
def test_masks_of_the_step_do_not_depend_on_how_it_runs():
    """Two models of one seed agree; another seed draws other masks."""
    batch = fd.make_batch((6, 6, 2))
    students = []
    for seed in (7, 7, 8):
        model = fd.make_model("conv", "nesterov")
        model.seed = seed
        model.traced_step(batch)
        students.append(model.student.get_weights()[0])
    np.testing.assert_array_equal(students[0], students[1])
    assert np.any(students[0] != students[2])


def test_edges_of_a_graph_grow_as_its_nodes_do():
    """Not as weights times nodes: a pass waits for the one before it in one place (passes.after)."""
    def edges_per_node(depth):
        student, teacher = (networks.build("mlp-" + "-".join(["4"] * depth), tiny.CLASSES, (2, 2, 1)) for _ in range(2))
        model = tiny.model(student, teacher, meta_gradient="jvp", meta_scale="measured")
        [batch] = tiny.batches(1, shape=(2, 2, 1))
        graph = tf.function(model.train_step, autograph=False).get_concrete_function(
            tf.nest.map_structure(tf.constant, batch)).graph.as_graph_def()
        return sum(len(node.input) for node in graph.node) / len(graph.node)

    assert edges_per_node(8) < 1.2 * edges_per_node(2)

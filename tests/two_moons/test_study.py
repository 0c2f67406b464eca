"""Two moons: the claim of flags/two_moons.cfg, against NumPy, and what the entry point prints."""

import json
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mpl_tf.common import keras_seam
from mpl_tf import config as config_module
from mpl_tf.run import devices, wiring
from mpl_tf.two_moons import (figures as figures_module, learners as two_moons_learners,
                               study)
from mpl_tf.two_moons.learners import train_learners

CONFIG = config_module.parse([f"--flagfile={study.FLAGFILE}"])
DRAW = 112     # one of the study's twenty


@pytest.fixture(scope="module")
def measured():
    """All learners, trained to the end: (dataset, learners)."""
    return train_learners(CONFIG.replace(split_seed=DRAW, seed=DRAW), measure=True)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def by_numpy(dataset, features, meta_weight, steps):
    """The two cosines after each step, from the equations alone: float64, linear models, SGD."""
    def with_bias(points):
        return np.concatenate([features(points).numpy().astype(float),
                               np.ones((len(points), 1))], axis=1)

    one_hot = np.eye(2)
    f, f_l = with_bias(dataset.unlabeled), with_bias(dataset.labeled.images)
    y, y_l = one_hot[dataset.test.labels], one_hot[dataset.labeled.labels]
    teacher, student = np.zeros((f.shape[1], 2)), np.zeros((f.shape[1], 2))
    rows = []
    for _ in range(steps):
        q, p = softmax(f @ teacher), softmax(f @ student)
        student_next = student - 0.3 * f.T @ (p - q) / len(f)
        v = f_l.T @ (softmax(f_l @ student_next) - y_l) / len(f_l)
        along_w = f @ (-0.3 * v)            # dR/dq_c = -(1/N) of log p_c's derivative along w
        target_gradient = -(along_w - (p * along_w).sum(axis=1, keepdims=True)) / len(f)
        to_logits = q * (target_gradient - (q * target_gradient).sum(axis=1, keepdims=True))
        teacher = teacher - 10.0 * (
            meta_weight * f.T @ to_logits
            + 3.0 * f_l.T @ (softmax(f_l @ teacher) - y_l) / len(f_l))
        student = student_next
        training = f.T @ (softmax(f @ student) - softmax(f @ teacher))
        rows.append([np.sum(training * other)
                     / (np.linalg.norm(training) * np.linalg.norm(other)) for other in (
                         f.T @ (softmax(f @ student) - y), f_l.T @ (softmax(f_l @ student) - y_l))])
    return np.array(rows)


@pytest.mark.parametrize("name, meta_weight", [
    ("MPL", 300.0), pytest.param("control", 0.0, marks=pytest.mark.slow)])
def test_learners_follow_the_equations(name, meta_weight):
    dataset, learners = train_learners(CONFIG.replace(train_steps=12), names=(name,), measure=True)
    network = learners[name].network
    features = tf.keras.Model(network.input, network.get_layer("features").output)
    rows = learners[name].cosines
    np.testing.assert_array_equal(rows[:, 0], np.arange(1, 13))
    np.testing.assert_allclose(rows[:, 1:], by_numpy(dataset, features, meta_weight, 12),
                               rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_mpl_is_the_student_of_a_run():
    config = CONFIG.replace(train_steps=6, split_seed=3)
    _, learners = train_learners(config, names=("MPL",))
    dataset = wiring.load_dataset(config)
    model = wiring.build_model(config, dataset)
    train_function = keras_seam.step_function(model)
    batches = wiring.train_batches(config, dataset, devices.get_strategy("default"))
    for _ in range(6):
        train_function(batches)
    for ours, its in zip(learners["MPL"].network.get_weights(), model.student.get_weights()):
        np.testing.assert_allclose(ours, its, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_mpl_gains_over_the_control(measured):
    accuracy = {name: learner.accuracy for name, learner in measured[1].items()}
    assert accuracy["MPL"] > 0.90
    assert accuracy["MPL"] - accuracy["control"] > 0.08


@pytest.mark.slow
def test_cosines_are_those_of_figure_8(measured):
    _, learners = measured
    at_60 = {name: learner.cosines[learner.cosines[:, 0] == 60][0] for name, learner
             in learners.items() if learner.cosines is not None}
    assert set(at_60) == {"supervised", "MPL", "control"}
    true_labels = {name: row[1] for name, row in at_60.items()}
    assert true_labels["MPL"] > true_labels["control"] + 0.1
    assert true_labels["control"] > true_labels["supervised"] + 0.1
    np.testing.assert_allclose(learners["supervised"].cosines[:, 2], 1.0, atol=1e-4)
    assert at_60["MPL"][2] < at_60["control"][2] < 1.0


@pytest.mark.slow
def test_supervised_learns_its_points_and_pseudo_labels_follow_it(measured):
    dataset, learners = measured
    points = dataset.test.images
    chosen = {name: learner.network(points).numpy().argmax(axis=1)
              for name, learner in learners.items()}
    labeled = learners["supervised"].network(dataset.labeled.images).numpy().argmax(axis=1)
    np.testing.assert_array_equal(labeled, dataset.labeled.labels)
    for name, learner in learners.items():
        assert learner.accuracy == np.mean(chosen[name] == dataset.test.labels)
    assert np.mean(chosen["pseudo labels"] == chosen["supervised"]) > 0.95


@pytest.mark.slow
def test_figures(tmp_path, monkeypatch, measured):
    figures = []
    for name in ("draw_regions", "draw_cosines"):
        draw = getattr(figures_module, name)
        monkeypatch.setattr(figures_module, name, lambda *args, draw=draw: (
            figures.append(draw(*args)) or figures[-1]))
    monkeypatch.setattr(two_moons_learners, "train_learners", lambda config, measure: measured)
    figures_module.write_figures(CONFIG, str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decision_regions.png",
                                                                "gradient_cosine.png"]
    for path in tmp_path.iterdir():
        contents = path.read_bytes()
        width, height = struct.unpack(">II", contents[16:24])
        assert contents.startswith(b"\x89PNG\r\n\x1a\n") and len(contents) > 20_000
        assert width == 1200 and height >= 480

    regions, cosines = figures
    _, learners = measured
    assert [axes.get_title() for axes in regions.axes] == [
        f"{study.TITLES[name]}: {100 * learner.accuracy:.1f} %"
        for name, learner in learners.items()]
    for axes in regions.axes:
        points, stars = axes.collections[-2:]
        assert len(points.get_offsets()) == 2000 and len(stars.get_offsets()) == 6
    for column, axes in enumerate(cosines.axes, start=1):
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        for name in ("MPL", "control", "supervised"):
            np.testing.assert_array_equal(lines[study.TITLES[name]],
                                          learners[name].cosines[:, column])


def test_the_legend_of_figure_8_lies_off_its_curves():
    labels = lambda count: types.SimpleNamespace(labels=range(count))
    curve = types.SimpleNamespace(cosines=np.array([[0, 1.0, -1.0], [50, 0.5, 0.1], [100, -1.0, 1.0]]))
    figure = figures_module.draw_cosines(types.SimpleNamespace(labeled=labels(6), test=labels(2000)),
                                         dict.fromkeys(("MPL", "control", "supervised"), curve))
    FigureCanvasAgg(figure).draw()
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        study.TITLES[name] for name in ("MPL", "control", "supervised")]
    for axes in figure.axes:
        assert axes.get_legend() is None and not legend.get_window_extent().overlaps(axes.get_tightbbox())


def test_summary_by_hand():
    result = study.summary({"MPL": [0.9, 1.0, 0.8], "control": [0.8, 0.8, 0.9]})
    np.testing.assert_allclose(result["accuracy"]["MPL"], (0.9, 0.1))
    mean, error, above = result["gain"]["control"]     # of 0.1, 0.2, -0.1
    np.testing.assert_allclose((mean, error), (0.2 / 3, np.sqrt(0.07 / 3 / 3)))
    assert above == 2 and list(result["gain"]) == ["control"]
    text = study.table({"MPL": [0.9, 1.0, 0.8], "control": [0.8, 0.8, 0.9]}, 0.05)
    assert "0.900 +- 0.100   (reference 0.956 +- 0.058)" in text
    assert "+0.067 +- 0.088   above on 2 of 3" in text
    assert "reference" not in study.table({"MPL": [0.9], "control": [0.8]}, 0.07)


@pytest.mark.slow
def test_study(tmp_path, capsys):
    path = tmp_path / "study.json"
    assert study.main(["--seeds=1", "--first_seed=7", "--train_steps=2",
                           "--noise=0.1", f"--json={path}"]) == 0
    written = json.loads(path.read_text())
    assert written["seeds"] == [7] and written["flags"]["noise"] == 0.1
    assert {name: len(values) for name, values in written["accuracies"].items()} == {
        "supervised": 1, "pseudo labels": 1, "MPL": 1, "control": 1}
    assert "draws: 1, noise 0.1" in capsys.readouterr().out


@pytest.mark.parametrize("argument, line", [
    ("--sedes=3", "unknown flag --sedes"),
    ("--noise=-1", "--noise=-1"),
    ("--split_seed=3", "seeds from --first_seed on"),
    ("--json=no/such/folder/x.json", "no/such/folder"),
    ("--first_seed=2147483640", "the last seed would be 2147483659, expected at most 2147483647"),
])
def test_bad_arguments(argument, line, capsys):
    assert study.main([argument]) == 2
    error = capsys.readouterr().err
    assert line in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize("argument", ["--seeds=0", "--seeds=many", "--first_seed=-1"])
def test_impossible_seeds(argument, capsys):
    with pytest.raises(SystemExit) as stopped:
        study.main([argument])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert error.startswith(f"error: argument {argument.partition('=')[0]}: ") and "whole" in error


def test_arguments_are_checked_before_tensorflow():
    code = ("import sys; from mpl_tf.two_moons import study; "
            "print(study.main(['--noise=-1']), 'tensorflow' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]

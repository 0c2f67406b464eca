"""TensorBoard's files hold what they should, and writing them changes no run."""

import glob
import os
import time

import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.run import tensorboard, training
from tests.runs import assert_same_state, settings


def events(folder):
    """[(step, tag, value as a NumPy array)] of all summaries, and [steps of restarts]."""
    values, restarts = [], []
    for path in sorted(glob.glob(os.path.join(folder, tensorboard.EVENTS))):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            if event.HasField("session_log"):
                restarts.append(event.step)
            values += [(event.step, value.tag, tf.make_ndarray(value.tensor))
                       for value in event.summary.value]
    return values, restarts


def trained(folder, steps):
    """The folder of a run with summaries every `steps` steps."""
    training.run(settings(folder, train_steps=6, summary_steps=steps, eval_steps=4,
                          steps_per_execution=2))
    return folder


@pytest.fixture(scope="module")
def summed_up(tmp_path_factory):
    """The folder of a run with costly summaries before every execution."""
    return trained(tmp_path_factory.mktemp("with"), 2)


@pytest.mark.slow
def test_summaries_change_nothing(summed_up, tmp_path):
    without = trained(tmp_path, 1000)
    assert_same_state(summed_up, without)
    assert not [tag for _, tag, _ in events(without)[0] if tag.startswith(("diagnostics", "views"))]


@pytest.mark.slow
def test_every_execution_logs_scalars_and_evaluations_log_accuracies(summed_up):
    values, restarts = events(summed_up)
    assert restarts == [0]
    for name in ("student_loss", "R", "teacher_supervised_loss", "teacher_meta_loss", "accuracy",
                 "meta_gradient_norm", "pseudo_label_entropy", "pseudo_label_confidence",
                 "agreement", "student_learning_rate", "teacher_learning_rate"):
        logged = [(step, float(value)) for step, tag, value in values if tag == f"training/{name}"]
        assert [step for step, _ in logged] == [2, 4, 6], name
        assert np.isfinite([value for _, value in logged]).all()
    for role in ("student", "teacher"):
        for part in ("test", "labeled"):
            for kind in ("", "_balanced"):
                assert [step for step, tag, _ in values
                        if tag == f"accuracy/{role}_{part}{kind}"] == [4, 6]
        of_classes = [float(value) for step, tag, value in values
                      if tag.startswith(f"class_accuracy/{role}_test/") and step == 6]
        balanced = [float(value) for step, tag, value in values
                    if tag == f"accuracy/{role}_test_balanced"][-1]
        assert len(of_classes) == 10 and np.mean(of_classes) == pytest.approx(balanced, abs=1e-6)


@pytest.mark.slow
def test_the_flags_are_a_table_and_hyperparameters(summed_up):
    values, _ = events(summed_up)
    [table] = [value.item().decode() for _, tag, value in values if tag == "flags"]
    rows = dict(line.strip("|").split("|", 1) for line in table.splitlines()[2:])
    assert rows[" `train_steps` "] == " `6` " and " `decay_steps` " not in rows
    assert any(tag == "_hparams_/session_start_info" for _, tag, _ in values)


def test_flags_that_are_no_markdown(tmp_path):
    board = tensorboard.Summaries(str(tmp_path), None, ["a"])
    board.flags({"model_dir": "a|b`c\n\udcff", "seed": 3, "plots": True, "gone": 1}, {"gone": "reason"})
    board.close()
    [table] = [value.item().decode() for _, tag, value in events(tmp_path)[0] if tag.startswith("flags")]
    assert len(table.splitlines()) == 5 and "a\\|b'c" in table and "gone" not in table


def test_classes_with_odd_names_and_many_of_them(tmp_path):
    board = tensorboard.Summaries(str(tmp_path), None, ["a/b", "x\udcff", "gone"])
    board.classes(3, {"student_test": [0.5, 1.0, None], "student_labeled": [1.0, 1.0, 1.0],
                      "teacher_test": [0.25] * 101})
    board.close()
    values, _ = events(tmp_path)
    assert [(step, tag) for step, tag, _ in values] == [
        (3, "class_accuracy/student_test/a/b"), (3, "class_accuracy/student_test/x\\udcff"),
        (3, "class_accuracy/teacher_test")]
    assert values[2][2][:, 2].sum() == 101


@pytest.mark.parametrize("names, expected", [
    (["student_test", "student_holdout", "teacher_test"], "confusion_matrix/student_test"),
    (["student_holdout", "student_labeled"], "confusion_matrix/student_holdout"), (["student_labeled"], None)])
def test_the_confusion_matrix_is_of_test_data_or_else_of_held_out_ones(tmp_path, names, expected):
    board = tensorboard.Summaries(str(tmp_path), None, ["$a_b", "x\udcff"])
    board.confusion(3, dict.fromkeys(names, np.array([[3, 1], [0, 4]])))
    board.close()
    values, _ = events(tmp_path)
    assert [(step, tag) for step, tag, _ in values] == [(3, expected)] * (expected is not None)
    assert all(tf.io.decode_png(value[2]).shape[0] > 300 for _, _, value in values)


def test_a_run_is_called_by_its_folder_and_accuracies_come_first(tmp_path):
    """As TensorBoard itself finds runs; a run that an earlier version began goes on where it is."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_multiplexer")
    folders = [str(tmp_path / name) for name in ("new", "begun")]
    (tmp_path / "new" / "tensorboard").mkdir(parents=True)
    (tmp_path / "begun" / "tensorboard").mkdir(parents=True)
    (tmp_path / "begun" / "tensorboard" / "events.out.tfevents.1.host").touch()
    (tmp_path / "begun" / "config.json").touch()
    for folder in folders:
        board = tensorboard.Summaries(tensorboard.folder_of(folder), None, ["a", "b"])
        board.scalars(1, {"loss": 1.0})
        board.accuracies(1, {"student_test_accuracy": 0.5, "student_test_balanced_accuracy": 0.25})
        board.classes(1, {"student_test": [0.5, 1.0]})
        board.close()
    read = loader.EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    read.Reload()
    tags = {run: sorted(found["tensors"]) for run, found in read.Runs().items()}
    assert tags["new"] == ["accuracy/student_test", "accuracy/student_test_balanced", "class_accuracy/student_test/a",
                           "class_accuracy/student_test/b", "training/loss"]
    assert "evaluation/student_test_accuracy" in tags["begun/tensorboard"] and set(tags) == {"new", "begun/tensorboard"}


@pytest.mark.slow
def test_costly_summaries_are_of_the_batch_that_comes_next(summed_up):
    values, _ = events(summed_up)
    for tag in ("diagnostics/R_before", "diagnostics/gradient_cosine", "diagnostics/meta_gradient_ratio",
                "pseudo_labels/class"):
        assert [step for step, name, _ in values if name == tag] == [2, 4]
    cosines = [float(value) for _, tag, value in values if tag == "diagnostics/gradient_cosine"]
    assert all(-1.0 <= cosine <= 1.0 and cosine != 0 for cosine in cosines)
    histogram = next(value for _, tag, value in values if tag == "pseudo_labels/class")
    assert histogram[:, 2].sum() == 16      # of the unlabeled batch
    montage = next(value for _, tag, value in values if tag == "views/weak_and_strong")
    assert tf.io.decode_png(montage[2]).shape[-1] == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_montage_shows_the_views(channels):
    count = 5
    black, white = np.full((2, count, 8, 8, channels), -1.0, "float32")
    white += 2.0
    names = ("cat", "dog")
    image = tf.io.decode_png(tensorboard.montage([black, white], None, names), channels=3).numpy()
    assert image.min() == 0 and image.max() == 255
    share = np.mean(image.astype(int).sum(axis=-1) == 0)
    columns, rows = 4, 2        # 10 views: 4 columns of pairs, as wide as two images and a gap
    head = 2        # rows of pixels for the words above
    expected = count * 64 / (columns * 10 * (head + rows * (4 + 2 * 9)))
    assert share == pytest.approx(expected, rel=0.1)
    titled = tf.io.decode_png(tensorboard.montage(
        [black, white], np.eye(2)[[0, 1, 0, 1, 0]], names), channels=3).numpy()
    assert titled.shape[1] == image.shape[1] and titled.shape[0] > image.shape[0]      # one more line of words
    assert "strong" in tensorboard.heading(2, False) and "teacher" not in tensorboard.heading(2, False)
    assert "how surely" in tensorboard.heading(1, True) and "strong" not in tensorboard.heading(1, True)


@pytest.mark.parametrize("name", ["$5_to_$20", "a$b^{", "bad\udcff", "50 % {x} \\frac"])
def test_a_class_may_have_any_name(name):
    views, labels = np.zeros([1, 1, 8, 8, 3], "float32"), np.eye(2)[:1]
    draw = lambda text: tensorboard.montage(views, labels, (text, ""))
    assert draw("a" * 300) == draw("aaaaa…aaaaa")       # and covers no neighbour's
    with matplotlib.rc_context({"text.usetex": True}):      # of a user's own settings
        drawn = draw(name)
    assert drawn == draw(name) != draw("other")
    if "$" in name:
        assert drawn != draw(name.replace("$", ""))


def test_a_montage_that_cannot_be_drawn_ends_no_run(tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no font")
    monkeypatch.setattr(tensorboard, "montage", fails)
    model = tf.keras.Sequential([tf.keras.Input([8, 8, 1]), tf.keras.layers.Flatten()])
    folder = tmp_path / os.fsdecode(b"run[1]*\xff")
    folder.mkdir()
    board = tensorboard.Summaries(str(folder), model, ("a", "b"))
    for step in (1, 2):
        board.costly(step, {"unlabeled": {"image": tf.zeros([2, 8, 8, 1])}}, 5.0)
    board.close()
    assert caplog.text.count("montage of views could not be drawn (RuntimeError: no font)") == 1
    [file] = os.listdir(folder)         # in the folder itself, whatever its name
    (folder / file).rename(tmp_path / file)
    assert [(step, tag) for step, tag, _ in events(tmp_path)[0]] == [
        (1, "diagnostics/examples_per_second"), (2, "diagnostics/examples_per_second")]


def test_a_resumed_run_keeps_its_checkpoints_own_step(tmp_path):
    """As TensorBoard itself reads event files: later steps of a killed process are forgotten."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_accumulator")
    for start, steps in ((0, range(1, 6)), (3, range(4, 7))):
        board = tensorboard.Summaries(str(tmp_path), object(), ["a", "b"], start)
        for step in steps:
            board.scalars(step, {"loss": 10.0 * start + step})
        board.close()
        time.sleep(1.1)     # files are read in the order of their names, which tell seconds
    read = reader.EventAccumulator(str(tmp_path))
    read.Reload()
    (tag,) = read.Tags()["tensors"]
    assert [event.step for event in read.Tensors(tag)] == [1, 2, 3, 4, 5, 6]
    assert [float(tf.make_ndarray(event.tensor_proto)) for event in read.Tensors(tag)] == [
        1, 2, 3, 34, 35, 36]

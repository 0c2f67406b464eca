"""Runs in this process: what they print and leave, how they stop, go on, and refuse."""

import contextlib
import glob
import io
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import data, evaluate, train
from mpl_tf.common import command, keras_seam, storage
from mpl_tf.run import devices, training, watch, wiring
from tests import tiny
from tests.runs import assert_same_state, settings, state


def run(config):
    """(results, what was printed) of a run."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        results = training.run(config)
    return results, out.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder, results and output of a finished run with a teacher and held-out labels."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    results, out = run(settings(folder, labeled_examples=60, holdout=20, eval_steps=2, plots=True,
                                median_evaluations=2))
    return str(folder), results, out


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a baseline's run without a break."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    run(baseline(folder))
    return folder


def baseline(folder, **changes):
    return settings(folder, method="baseline", student_network="small_conv",
                    student_optimizer="adam", **changes)


def test_it_says_first_what_it_will_do(finished):
    folder, _, out = finished
    plan = out[:out.index("step 2:")]
    for text in ("mpl, supervised", "on CPU", "40 labeled (4 of each class)", "1277 unlabeled",
                 "500 test", "20 held out", "student mlp-16 (1,210 weights)",
                 "teacher mlp-16 (1,210 weights)", "steps      6", "seed 0", folder):
        assert text in plan, text


SLICED = dict(meta_gradient="jvp", microbatch_size=8, train_steps=2, eval_steps=2, report=False)


def test_micro_batches_are_in_the_plan(tmp_path):
    config = settings(tmp_path, **SLICED)
    dataset = wiring.load_dataset(config)
    for networks, said in ((tiny.networks(), ""), (tiny.networks(batch_norm=True),
                           "; batch norm's statistics are those of 8, its averages move once a slice")):
        model = tiny.model(*networks, meta_gradient="jvp", microbatch_size=8)
        plan = training.plan(config, tf.distribute.get_strategy(), dataset, model, 0)
        assert f"\nslices     8 labeled and 8 unlabeled examples in memory at a time{said}\n" in plan
    whole = training.plan(config, tf.distribute.get_strategy(), dataset, tiny.model(), 0)
    assert "slices" not in whole


@pytest.mark.slow
def test_a_run_in_micro_batches_is_the_run(tmp_path):
    """Its costly summaries too, which would take a whole batch's memory otherwise."""
    for size in (8, 0):
        run(settings(tmp_path / str(size), **{**SLICED, "microbatch_size": size}, summary_steps=1))
    one, other = (state(tmp_path / str(size)) for size in (8, 0))
    for name, value in one.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_results_hold_the_figures_and_every_flag(finished):
    folder, results, out = finished
    assert storage.read_json(os.path.join(folder, "results.json")) == results
    assert [e["step"] for e in results["evaluations"]] == [2, 4, 6]
    last = results["evaluations"][-1]
    for name in ("student_test", "teacher_test", "student_holdout", "teacher_labeled"):
        assert results[f"{name}_accuracy"] == last[f"{name}_accuracy"]
    assert results["median_last_evaluations"] == np.median(
        [e["student_test_accuracy"] for e in results["evaluations"][-2:]])
    assert results["train_steps"] == 6 and results["seed"] == 0 and results["wall_seconds"] > 0
    assert results["examples_per_second"] > 0 and results["tensorflow"] == tf.__version__
    assert results["flags"]["holdout"] == 20 and len(results["flags"]) > 40
    assert f"student{100 * last['student_test_accuracy']:15.2f}" in out.splitlines()[-4]
    assert glob.glob(os.path.join(folder, "events.out.tfevents.*"))
    for name in ("checkpoints", "saved_model", "student.keras", "classifier.keras",
                 "curves.png"):
        assert os.path.exists(os.path.join(folder, name))
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_finished_run_does_nothing(finished):
    folder, results, _ = finished
    times = {name: os.stat(os.path.join(folder, name)).st_mtime_ns
             for name in os.listdir(folder) if name != "config.json"}
    again, out = run(settings(folder, labeled_examples=60, holdout=20, eval_steps=2,
                              plots=True, median_evaluations=2))
    assert again == results and "nothing to do" in out and "accuracy [%]" in out
    assert times == {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in times}


def test_the_exported_student_is_the_trained_one(finished):
    folder, results, _ = finished
    test = wiring.load_dataset(settings(folder)).test
    images = np.asarray(data.augment.normalize(test.images))
    loaded = tf.keras.models.load_model(os.path.join(folder, "student.keras"), compile=False)
    logits = loaded(images).numpy()
    right = logits.argmax(-1) == test.labels
    assert np.mean(right) == results["student_test_accuracy"]
    by_class = {str(k): float(np.mean(right[test.labels == k])) for k in range(10)}
    assert results["class_accuracy"]["student_test"] == by_class
    assert set(results["class_accuracy"]) == {f"{role}_{part}" for role in ("student", "teacher")
                                              for part in ("test", "labeled", "holdout")}
    assert results["student_test_balanced_accuracy"] == pytest.approx(np.mean(list(by_class.values())))
    served = tf.saved_model.load(os.path.join(folder, "saved_model")).signatures
    for name, batch in (("serving_float", images), ("serving_uint8", test.images),
                        ("serving_default", test.images)):
        outputs = served[name](image=tf.constant(batch))
        np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)
        np.testing.assert_allclose(outputs["probabilities"], tf.nn.softmax(logits), atol=1e-5)
    assert outputs["class_names"][0].numpy().tolist() == [b"%d" % k for k in range(10)]
    classifier = tf.keras.models.load_model(os.path.join(folder, "classifier.keras"))
    np.testing.assert_allclose(classifier(test.images), tf.nn.softmax(logits), atol=1e-5)


def test_evaluate_reproduces_the_figures(finished, capsys):
    folder, results, _ = finished
    assert evaluate.main([f"--model_dir={folder}"]) == 0
    out = capsys.readouterr().out
    assert "test: 500 images\nthe same as results.json's" in out and "step 6" in out
    assert f"{100 * results['student_test_accuracy']:.2f}" in out


def test_evaluate_says_that_the_data_are_others(finished, tmp_path, capsys):
    shutil.copytree(finished[0], tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test": "499 examples (0123)"}))
    assert evaluate.main([f"--model_dir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "\ntest: 500 images; the run had 499\nthese data are not the run's: nothing is compared" in out
    assert "labeled:" not in out and "the same as" not in out


def test_a_killed_process_before_the_results_loses_nothing(finished, tmp_path):
    folder, results, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    os.remove(copy / "results.json")
    shutil.rmtree(copy / "saved_model")
    again, _ = run(settings(copy, labeled_examples=60, holdout=20, eval_steps=2, plots=True,
                            median_evaluations=2))
    assert (copy / "saved_model").is_dir()
    assert again["evaluations"] == results["evaluations"]


def test_exports_can_be_left_out_and_made_later(tmp_path):
    config = baseline(tmp_path / "run", train_steps=4, export=False, plots=False, report=False)
    results, _ = run(config)
    files = set(os.listdir(config.model_dir))
    assert "student.keras" in files and not files & {"classifier.keras", "saved_model"}
    assert "nothing to do" in run(config)[1]
    again, _ = run(config.replace(export=True))
    assert {"classifier.keras", "saved_model"} <= set(os.listdir(config.model_dir))
    assert again["student_test_accuracy"] == results["student_test_accuracy"]
    longer = config.replace(train_steps=6)
    run(longer)     # with the shorter run's exports in its folder
    assert not {"classifier.keras", "saved_model"} & set(os.listdir(config.model_dir))
    again, _ = run(longer.replace(export=True))
    config = longer
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "saved_model")
    assert run(config.replace(export=True))[0] == again     # nothing to make it of: not trained anew


@pytest.mark.slow
def test_more_steps_continue_a_finished_run(straight, tmp_path):
    run(baseline(tmp_path / "run", train_steps=3))
    results, out = run(baseline(tmp_path / "run"))
    assert "steps      3 to 6" in out and results["train_steps"] == 6
    assert_same_state(tmp_path / "run", straight)
    assert results["teacher_test_accuracy"] is None


def test_a_measured_scale_goes_on_as_it_was(tmp_path):
    made = lambda name, steps: settings(tmp_path / name, meta_scale="measured", train_steps=steps,
                                        student_dropout=0.0, report=False, export=False, eval_steps=100)
    run(made("straight", 16))
    run(made("in_two", 12))
    run(made("in_two", 16))
    one, other = state(tmp_path / "straight"), state(tmp_path / "in_two")
    assert any("signal_statistics" in name and value.all() for name, value in one.items())
    assert_same_state(tmp_path / "straight", tmp_path / "in_two")


def test_sigterm_saves_and_the_same_command_continues(straight, tmp_path, monkeypatch, capsys):
    update = training.Progress.update

    def interrupted(self, step, *args):
        update(self, step, *args)
        if step == 3:       # of 6, and no multiple of checkpoint_steps
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.Progress, "update", interrupted)
    assert command.run(lambda _: run(baseline(tmp_path)) and None, []) == 128 + signal.SIGTERM
    assert "stopped after step 3 of 6 and saved: the same command continues" in (
        capsys.readouterr().out)
    assert not (tmp_path / "results.json").exists()
    monkeypatch.undo()
    _, out = run(baseline(tmp_path))
    assert "steps      3 to 6" in out
    assert_same_state(tmp_path, straight)


@pytest.mark.slow
def test_several_steps_per_execution_are_the_same_steps(straight, tmp_path):
    run(baseline(tmp_path, steps_per_execution=2, eval_steps=4))
    assert_same_state(tmp_path, straight)


@pytest.mark.slow
def test_two_replicas_train_as_one_device(tmp_path):
    """Costly summaries included; to rounding, and without random layers."""
    for name in ("default", "mirrored"):
        run(settings(tmp_path / name, strategy=name, summary_steps=2, student_dropout=0.0,
                     teacher_dropout=0.0))
    one, two = state(tmp_path / "default"), state(tmp_path / "mirrored")
    assert set(one) == set(two)
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], atol=1e-6, err_msg=name)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capsys, monkeypatch):
    config = settings(tmp_path, method="baseline", student_optimizer="sgd", eval_steps=6,
                      student_learning_rate=1e12, checkpoint_steps=1)
    monkeypatch.setattr(train.config_module, "from_arguments", lambda arguments: config)
    assert train.main([]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and " step" in error and "stopped" in error
    assert not (tmp_path / "results.json").exists()
    for name, value in state(tmp_path).items():
        assert np.isfinite(value).all(), name


def test_a_meta_gradient_of_zero_is_warned_of_once(said, tmp_path):
    seen = watch.SignalWatch(settings(tmp_path))
    seen.check(4, {"R": 1.0, "meta_gradient_norm": 0.5}, None)
    assert not said()
    seen.check(5, {"R": 1.0, "meta_gradient_norm": 0.0}, None)
    seen.check(6, {"R": 1.0, "meta_gradient_norm": float("nan")}, None)
    watch.SignalWatch(settings(tmp_path, meta_weight=0.0)).check(
        7, {"R": 1.0, "meta_gradient_norm": 0.0}, None)
    [line] = said()
    assert "step 5" in line and "0.0" in line


@pytest.mark.parametrize("method", [
    "distillation", *(pytest.param(method, marks=pytest.mark.slow)
                      for method in ("hard_pseudo_labels", "soft_pseudo_labels"))])
def test_a_finished_run_teaches_a_student(finished, tmp_path, method):
    config = settings(tmp_path, method=method, fixed_teacher=finished[0], train_steps=2)
    results, out = run(config) if method == "hard_pseudo_labels" else (None, None)
    model = wiring.build_model(config, wiring.load_dataset(config))
    assert model.hard == (method == "hard_pseudo_labels")
    if results:
        assert "fixed teacher" in out and results["train_steps"] == 2
        taught = tf.keras.models.load_model(os.path.join(finished[0], "student.keras"))
        for left, right in zip(taught.weights, model.teacher.weights):
            np.testing.assert_array_equal(left.numpy(), right.numpy())


@pytest.mark.slow
def test_another_teacher_in_the_same_place_is_refused(tmp_path):
    config = settings(tmp_path / "run", method="distillation", train_steps=2,
                      fixed_teacher=str(tmp_path / "teacher.keras"))
    for seed in (1, 2):
        teacher = tf.keras.Sequential([
            tf.keras.Input((8, 8, 1)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(
                10, kernel_initializer=tf.keras.initializers.GlorotNormal(seed))])
        teacher.save(config.fixed_teacher)
        if seed == 1:
            run(config)
    with pytest.raises(ValueError, match="was trained on other data: fixed_teacher [0-9a-f]+ then"):
        run(config.replace(train_steps=4))


def test_a_teacher_that_does_not_fit_is_one_line(tmp_path, capsys):
    two_classes = tf.keras.Sequential([tf.keras.Input((8, 8, 1)), tf.keras.layers.Flatten(),
                                       tf.keras.layers.Dense(2)])
    two_classes.save(tmp_path / "two.keras")
    (tmp_path / "damaged.keras").write_bytes(b"no zip file")
    (tmp_path / "empty").mkdir()
    for name, reason in (("two.keras", "has 2"), ("damaged.keras", "cannot be read"),
                         ("empty", "no student.keras")):
        assert train.main(["--dataset=digits", "--method=distillation",
                           f"--fixed_teacher={tmp_path / name}",
                           f"--model_dir={tmp_path / 'run'}"]) == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert reason in line, line


def test_the_control_teacher_is_the_baseline(tmp_path):
    """The flags wire both so that --meta_weight=0 is the baseline, bit for bit."""
    common = dict(student_network="small_conv", train_steps=3)
    networks = []
    for method, role in (("mpl", "teacher"), ("baseline", "student")):
        only = {"meta_weight": 0.0} if method == "mpl" else {}
        config = settings(tmp_path, method=method, **common, **only)
        dataset = wiring.load_dataset(config)
        model = wiring.build_model(config, dataset)
        batches = wiring.train_batches(config, dataset, tf.distribute.get_strategy())
        step = keras_seam.step_function(model)
        for _ in range(2):
            step(batches)
        networks.append(model.networks[role])
    for left, right in zip(*(network.weights for network in networks)):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_workers_but_the_first_write_nothing(tmp_path, monkeypatch):
    config = settings(tmp_path, strategy="multi_worker")
    for task, chief in ((("worker", 0), True), (("worker", 1), False)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({
            "cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": task[0], "index": task[1]}}))
        assert devices.is_chief(config) is chief
    assert devices.is_chief(settings(tmp_path))

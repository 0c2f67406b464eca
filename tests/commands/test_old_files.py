"""Files that earlier versions wrote are read: models, exports, checkpoints, folders of runs."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mpl_tf import config
from mpl_tf.common import keras_seam
from mpl_tf.run import run_folder, training
from tests import runs
from tests.conftest import ROOT

OLD = ROOT / "tests" / "fixtures" / "before_packages"
of_keras_2 = pytest.mark.skipif(keras_seam.IS_KERAS_3, reason="Keras 2 wrote them for itself")
CLOSE = dict(rtol=1e-5, atol=1e-5)      # bits depend on the number of threads


@pytest.fixture(scope="module")
def expected():
    with np.load(OLD / "expected.npz") as stored:
        return dict(stored)


@of_keras_2
@pytest.mark.slow
def test_saved_models_load_in_a_fresh_process_that_imports_the_package_alone(expected, tmp_path):
    """With their layers' types, their numbers, and what they learn next."""
    code = f"""
import sys
import mpl_tf, numpy as np, tensorflow as tf
load = lambda name: tf.keras.models.load_model({str(OLD)!r} + "/" + name + ".keras")
made = dict(np.load({str(OLD / "expected.npz")!r}))
batches = [{{part: {{key.split("/")[2]: made[key] for key in made if key.startswith(f"batch{{i}}/{{part}}/")}}
            for part in ("labeled", "unlabeled")}} for i in range(4)]
found = {{}}
for name, inputs in (("student", "points"), ("rbf", "points"), ("calibration", "probs")):
    network = load(name)
    found[name] = network(made[inputs]).numpy()
    print(name, *(f"{{layer.name}}:{{type(layer).__module__}}.{{type(layer).__name__}}"
                  for layer in network.layers if layer.name in ("dropout", "features", "log_probs")))
    if name != "calibration":
        assert type(network.get_layer("dropout")) is mpl_tf.layers.Dropout
for name, kind in (("meta_pseudo_labels", mpl_tf.MetaPseudoLabels), ("baseline", mpl_tf.Baseline),
                   ("fixed_teacher", mpl_tf.FixedTeacher)):
    model = load(name)
    assert type(model) is kind, name
    if name != "fixed_teacher":
        assert type(model.student.get_layer("dropout")) is mpl_tf.layers.Dropout
        assert type(model.objective).__module__ == mpl_tf.objectives.__name__
    data = batches[2:] if name != "baseline" else [
        {{"labeled": {{**batch["labeled"], "augmented": batch["labeled"]["image"]}}}}
        for batch in batches[2:]]
    stacked = tf.nest.map_structure(lambda *arrays: np.stack(arrays), *data)
    model.run_eagerly = True        # quicker than tracing, for two steps
    model.fit(tf.data.Dataset.from_tensor_slices(stacked), verbose=0)
    variables = [variable for network in model.networks.values() for variable in network.weights]
    for optimizer in model.optimizers.values():
        variables += list(optimizer.variables)
    found.update({{f"{{name}}/{{i:03}}": variable.numpy() for i, variable in enumerate(variables)}})
np.savez({str(tmp_path / "found.npz")!r}, **found)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "features:mpl_tf." in result.stdout and "log_probs:mpl_tf." in result.stdout
    with np.load(tmp_path / "found.npz") as found:
        names = {name for name in expected
                 if not name.startswith(("batch", "run", "points", "probs"))}
        assert set(found) == names and len(names) > 40
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], **CLOSE, err_msg=name)


@of_keras_2
def test_a_run_that_was_stopped_half_way_continues(expected, tmp_path):
    folder = str(tmp_path / "halfway")
    shutil.copytree(OLD / "halfway", folder)
    settings = config.of(**{**run_folder.read_flags(folder), "model_dir": folder})
    results = training.run(settings)
    state = runs.state(folder)
    names = {name[len("run/"):] for name in expected if name.startswith("run/")}
    assert set(state) == names and len(names) > 20
    for name in names:
        np.testing.assert_allclose(state[name], expected[f"run/{name}"], **CLOSE, err_msg=name)
    assert [each["step"] for each in results["evaluations"]] == [3, 6, 9, 12]
    before = json.loads(str(expected["run_results"]))["evaluations"]
    for now, then in zip(results["evaluations"], before):
        assert {name for name in now if "balanced" not in name} == set(then)
        for name, value in then.items():    # an image may fall to the other side of a border
            assert now[name] == pytest.approx(value, abs=5e-3, rel=1e-4), name


@of_keras_2
def test_a_finished_run_is_finished_and_evaluated_as_ever(tmp_path, capsys):
    from mpl_tf import evaluate, train
    folder = str(tmp_path / "finished")
    shutil.copytree(OLD / "finished", folder)
    flags = {**run_folder.read_flags(folder), "model_dir": folder}
    file = tmp_path / "flags.cfg"
    file.write_text("".join(f"--{name}={value}\n" for name, value in flags.items()))
    assert train.main([f"--flagfile={file}"]) == 0
    assert "is finished, 12 steps: nothing to do" in capsys.readouterr().out
    assert evaluate.main([f"--model_dir={folder}"]) == 0
    figures = json.loads((OLD / "finished" / "results.json").read_text())
    assert f"{100 * figures['student_test_accuracy']:10.2f}" in capsys.readouterr().out


@pytest.mark.skipif(not keras_seam.IS_KERAS_3, reason="is read here")
def test_keras_3_says_in_one_line_where_a_checkpoint_of_keras_2_is_continued(tmp_path, capsys):
    from mpl_tf import evaluate
    line = (r"was made with Keras 2; continue or evaluate it there \(Python 3.11, or mpl_tf\[legacy\] with "
            r"TF_USE_LEGACY_KERAS=1\)")
    for name in ("halfway", "finished"):
        shutil.copytree(OLD / name, tmp_path / name)
    folder = str(tmp_path / "halfway")
    with pytest.raises(ValueError, match=line):
        training.run(config.of(**{**run_folder.read_flags(folder), "model_dir": folder}))
    assert evaluate.main([f"--model_dir={tmp_path / 'finished'}"]) == 2
    assert "was made with Keras 2; continue or evaluate it there" in capsys.readouterr().err

"""Files of either Keras in the other: fixtures that each has written load here, by weights and outputs.

tests/fixtures/README.md says how they were made. The suite of each Keras loads both folders.
"""

import copy
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.networks import layers
from mpl_tf.run import export, interchange
from tests.conftest import ROOT

MADE_BY = [2, 3]
PLAIN = ["functional", "sequential", "nested", "others", "half"]      # of Keras's own layers
HERE = 3 if keras_seam.IS_KERAS_3 else 2

WITHOUT = """
import sys
sys.modules["mpl_tf"] = None        # cannot be imported
import numpy as np, tensorflow as tf
expected, found = np.load(sys.argv[1] + "/expected.npz"), {}
for name in sys.argv[3:]:
    model = tf.keras.models.load_model(f"{sys.argv[1]}/{name}.keras")
    found[name] = tf.cast(model(expected["images"], training=False), tf.float32).numpy()
    found.update({f"{name}/{n:02}": np.asarray(weight, "float32")
                  for n, weight in enumerate(model.get_weights())})
try:
    tf.keras.models.load_model(sys.argv[1] + "/ours.keras")
except Exception as error:
    print(error)
np.savez(sys.argv[2], **found)
"""


@pytest.mark.parametrize("made_by", MADE_BY)
def test_plain_keras_loads_what_either_keras_wrote(made_by, tmp_path):
    folder = ROOT / "tests" / "fixtures" / f"of_keras_{made_by}"
    names = PLAIN
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(folder), str(tmp_path / "found.npz"), *names], text=True,
        capture_output=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "of mpl_tf, which has to be imported before this file is loaded" in done.stdout
    with np.load(folder / "expected.npz") as expected, np.load(tmp_path / "found.npz") as found:
        for name in names:
            given = {key for key in expected if key.startswith(f"{name}/")}
            assert given == {key for key in found if key.startswith(f"{name}/")} and given
            for key in given:
                np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
            np.testing.assert_allclose(found[name], expected[name], err_msg=name,
                                       rtol=1e-4, atol=0.01 if name == "half" else 1e-4)
            assert np.ptp(expected[name]) > (1 if name == "half" else 0.01)


@pytest.mark.parametrize("made_by", [MADE_BY[0], *(
    pytest.param(each, marks=pytest.mark.slow) for each in MADE_BY[1:])])
def test_layers_of_ours_stay_by_name(made_by):
    folder = ROOT / "tests" / "fixtures" / f"of_keras_{made_by}"
    model = tf.keras.models.load_model(folder / "ours.keras")
    kinds = {type(layer) for layer in model.layers}
    assert {layers.ReplayableDropout, layers.FusedBatchNormalization} <= kinds
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(model(expected["images"]), expected["ours"], rtol=1e-4, atol=1e-5)


def _config(path):
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("config.json"))


@pytest.mark.parametrize("name", PLAIN + ["ours"])
def test_the_form_stays_and_can_be_saved_again(name, tmp_path):
    """The double calls of nested models are gone after loading, and come once at each saving."""
    path = str(ROOT / "tests" / "fixtures" / f"of_keras_{5 - HERE}" / f"{name}.keras")
    config = _config(path)
    before = copy.deepcopy(config)
    assert interchange.common_form(config) == before == config
    again = str(tmp_path / "again.keras")
    model = tf.keras.models.load_model(path)
    export.save(model, again)
    loaded = tf.keras.models.load_model(again)
    images = tf.random.normal([2, 6, 6, 3])
    found, expected = (tf.cast(each(images), tf.float32) for each in (loaded, model))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert _calls(_config(again)) == _calls(config)
    assert os.path.getsize(again) < 2 * os.path.getsize(path)


def _calls(config):
    """How often each layer of a config is called, sorted."""
    return sorted(len(layer.get("inbound_nodes", [])) for layer in config["config"]["layers"])


def test_a_call_without_a_common_form_leaves_its_model_to_its_keras(tmp_path):
    points = tf.keras.Input((4, 3))
    outputs = tf.keras.layers.MultiHeadAttention(1, 2)(points, points)
    model = tf.keras.Model(points, outputs)
    config = json.loads(json.dumps(tf.keras.utils.serialize_keras_object(model)))
    assert interchange.common_form(config)["class_name"] == "Functional"
    export.save(model, str(tmp_path / "model.keras"))
    loaded = tf.keras.models.load_model(str(tmp_path / "model.keras"))
    given = tf.random.normal([2, 4, 3])
    np.testing.assert_allclose(loaded(given), model(given), atol=1e-6)

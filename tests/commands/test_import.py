"""`import mpl_tf` in processes of its own: it works with the Keras there is, or says what to do."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from tests.conftest import ROOT

BRINGS_KERAS_3 = metadata.version("keras").split(".")[0] != "2"
HAS_LEGACY = importlib.util.find_spec("tf_keras") is not None
HIDE_LEGACY = "import sys; sys.modules['tf_keras'] = None\n" if HAS_LEGACY else ""
brings_keras_3 = pytest.mark.skipif(not BRINGS_KERAS_3, reason="this TensorFlow has no Keras 3")


def python(code, **variables):
    """Runs `code` in a new interpreter with nothing decided about Keras but `variables`."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    environment.update(PYTHONPATH=str(ROOT), **variables)
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True,
                          capture_output=True, timeout=300)


def last_error_line(code, **variables):
    result = python(code, **variables)
    assert result.returncode != 0, result.stdout
    return result.stderr.strip().splitlines()[-1]


WORKS = """
import mpl_tf.layers
model = tf.keras.Sequential([mpl_tf.layers.Dropout(0.5, name="dropout"), tf.keras.layers.Dense(1)])
assert model(tf.ones([2, 3]), training=True).shape == (2, 1)
from mpl_tf.common import keras_seam
assert isinstance(model, keras_seam.Model.__base__)
import os
print(keras_seam.IS_KERAS_3, os.environ.get("TF_USE_LEGACY_KERAS"))
"""


@pytest.mark.parametrize("imports", [
    "import tensorflow as tf; tf.keras.Model; import mpl_tf",
    pytest.param("import mpl_tf, tensorflow as tf", marks=pytest.mark.slow)])
def test_it_works_with_the_keras_of_tensorflow_in_either_order(imports):
    """No variable is set for the whole process, legacy Keras installed or not."""
    result = python(imports + WORKS)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(BRINGS_KERAS_3), "None"]


@brings_keras_3
@pytest.mark.skipif(not HAS_LEGACY, reason="legacy Keras is not installed")
def test_legacy_keras_where_it_is_asked_for():
    result = python("import mpl_tf, tensorflow as tf" + WORKS, TF_USE_LEGACY_KERAS="1")
    assert result.stdout.split() == ["False", "1"], result.stderr


@brings_keras_3
def test_other_backends_are_refused(tmp_path):
    line = last_error_line("import mpl_tf", KERAS_BACKEND="jax")
    assert line.startswith("ImportError: mpl_tf computes with TensorFlow, but Keras's backend here is jax")
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert "backend here is torch: set KERAS_BACKEND=tensorflow" in last_error_line(
        "import mpl_tf", KERAS_HOME=str(tmp_path))
    assert python("import mpl_tf", KERAS_BACKEND="tensorflow", KERAS_HOME=str(tmp_path)).returncode == 0


def test_importing_the_package_does_not_import_tensorflow():
    result = python("import sys, mpl_tf\nprint(dir(mpl_tf))\n"
                    "assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)")
    assert result.returncode == 0, result.stderr
    assert "MetaPseudoLabels" in result.stdout and "networks" in result.stdout


def test_data_sets_shards_and_the_chain_do_not_import_tensorflow():
    result = python(
        "import sys\nimport mpl_tf.datasets.images, mpl_tf.reduced.chain, mpl_tf.predict\n"
        "from mpl_tf.shards import crops, image_files, images, montage, record_index, schema\n"
        "assert not {'tensorflow', 'keras', 'tf_keras', 'data_prep'} & set(sys.modules)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("package, forbidden", [
    ("mpl_tf", "data_prep"), ("mpl_tf/shards", "mpl_tf.data"), ("mpl_tf/shards", "mpl_tf.run"),
    ("mpl_tf/datasets", "mpl_tf.data"), ("mpl_tf/data", "mpl_tf.run")])
def test_no_import_runs_back(package, forbidden):
    """Imports inside of functions too."""
    wrong = re.compile(rf"^ *(from|import) +{re.escape(forbidden)}(\.| |$)", re.MULTILINE)
    files = sorted((ROOT / package).rglob("*.py"))
    assert files and not [str(path) for path in files if wrong.search(path.read_text())]


def test_unknown_names_are_attribute_errors():
    line = last_error_line("import mpl_tf; mpl_tf.MetaPseudoLabel")
    assert line.startswith("AttributeError: module 'mpl_tf' has no attribute 'MetaPseudoLabel'")


def test_legacy_asked_for_but_not_installed():
    line = last_error_line(HIDE_LEGACY + "import mpl_tf", TF_USE_LEGACY_KERAS="1")
    assert line.startswith("ImportError: TF_USE_LEGACY_KERAS=1 asks for legacy Keras")
    assert "mpl_tf[legacy]" in line


FIRST_USES = [
    "import mpl_tf; mpl_tf.WarmupCosine", "import mpl_tf; mpl_tf.data.eval_dataset",
    "import mpl_tf.data.augment", "import mpl_tf.run.devices", "import mpl_tf.method.update_rules",
    "import mpl_tf, importlib.util; importlib.util.find_spec('tensorflow')",
    "import tensorflow, mpl_tf.networks.layers", "from mpl_tf.layers import Dropout",
    "import threading, mpl_tf\n"
    "threads = [threading.Thread(target=lambda name=name: __import__(name))\n"
    "           for name in ('tensorflow', 'mpl_tf.networks.layers', 'mpl_tf.method.mpl')]\n"
    "[thread.start() for thread in threads], [thread.join() for thread in threads]"]


@pytest.mark.parametrize("first", FIRST_USES)
@pytest.mark.slow
def test_our_classes_are_registered_whatever_is_used_first(first):
    result = python(first + "\nimport tensorflow as tf\n"
                    "known = tf.keras.utils.get_custom_objects()\n"
                    "missing = {'Dropout', 'ReplayableDropout', 'MetaPseudoLabels', 'Baseline',\n"
                    "           'UDA', 'WarmupCosine', 'GaussianFeatures'}\n"
                    "missing -= {name.partition('>')[2] for name in known}\n"
                    "assert not missing, missing\n", TF_CPP_MIN_LOG_LEVEL="3")
    assert result.returncode == 0, result.stderr[-600:]

"""What the sources themselves have to keep."""

import ast
import importlib
import re

import tensorflow as tf

from mpl_tf import moved
from tests.conftest import ROOT

SEAM = ROOT / "mpl_tf" / "common" / "keras_seam.py"
PRIVATE = re.compile(
    r"tf\.(keras\.)?__internal__|_flatten_layers|_index_dict|_var_key|\bcompiled_(metrics|loss)\b"
    r"|_keras_history|_has_explicit_input_shape|_assert_compile_was_called|BaseRandomLayer"
    r"|\blearning_phase\b|[.\"']_(learning_rate|velocities|momentums)\b")


def _sources():
    return [path for package in ("mpl_tf", "data_prep") for path in (ROOT / package).rglob("*.py")]


def test_private_parts_of_keras_are_named_in_the_seam_alone():
    found = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
             for path in _sources() if path != SEAM
             for number, line in enumerate(path.read_text().splitlines(), 1)
             if PRIVATE.search(line)]
    assert found == []
    assert len(PRIVATE.findall(SEAM.read_text())) > 10      # they are what the seam is made of


def test_the_seam_stands_on_tensorflow_alone():
    imports = [ast.unparse(node) for node in ast.walk(ast.parse(SEAM.read_text()))
               if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports == ["import tensorflow as tf"]


def test_modules_with_classes_that_are_saved_are_imported_before_a_model_is_loaded():
    found = {".".join(path.relative_to(ROOT / "mpl_tf").with_suffix("").parts)
             for path in _sources()
             if re.search(r"^\s*(@|\w+ = )tf\.keras\.\w+\.register_keras_serializable",
                          path.read_text(), re.MULTILINE)}
    assert found == set(moved.REGISTERED)


def test_no_class_that_is_saved_has_the_name_of_one_of_keras():
    """Keras would load its own in silence where ours is not registered."""
    modules = [tf.keras] + [getattr(tf.keras, name) for name in (
        "constraints", "initializers", "layers", "losses", "metrics", "models", "optimizers",
        "regularizers")] + [tf.keras.optimizers.schedules]
    names = {name for module in modules for name in dir(module)}
    assert {"Dropout", "Model", "CosineDecay"} <= names
    for module in moved.REGISTERED:
        importlib.import_module(f"mpl_tf.{module}")
    ours = {kind.__name__ for key, kind in tf.keras.utils.get_custom_objects().items()
            if key.startswith("mpl_tf>")}
    assert {"ReplayableDropout", "GaussianFeatures", "LogProbabilities", "UDA", "WarmupCosine",
            "MetaPseudoLabels"} <= ours
    assert not ours & names

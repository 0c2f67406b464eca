"""What the sources themselves have to keep."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys

import tensorflow as tf

from mpl_tf import moved
from tests.conftest import ROOT

SEAM = [ROOT / "mpl_tf" / "common" / f"{name}.py" for name in ("keras_seam", "keras_2", "keras_3")]
FILES = ROOT / "mpl_tf" / "run" / "interchange.py"     # names modules as they stand in files
PRIVATE = re.compile(
    r"tf\.(keras\.)?__internal__|_flatten_layers|_index_dict|_var_key|\bcompiled_(metrics|loss)\b"
    r"|_keras_history|_has_explicit_input_shape|_assert_compile_was_called|BaseRandomLayer"
    r"|\blearning_phase\b|[.\"']_(learning_rate|velocities|momentums)\b"
    r"|keras\.src|_seed_generators|_compile_(metrics|loss)\b|_loss_tracker|_get_variable_index"
    r"|_maybe_symbolic_build|_metrics_result|make_train_function")


def _sources():
    return [path for package in ("mpl_tf", "data_prep") for path in (ROOT / package).rglob("*.py")]


def test_private_parts_of_keras_are_named_in_the_seam_alone():
    found = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
             for path in _sources() if path not in (*SEAM, FILES)
             for number, line in enumerate(path.read_text().splitlines(), 1)
             if PRIVATE.search(line)]
    assert found == []
    for path in SEAM:       # they are what the seam is made of
        assert len(PRIVATE.findall(path.read_text())) > (10 if path in SEAM[1:] else 1)


def test_the_seam_stands_on_tensorflow_alone():
    imports = {ast.unparse(node) for path in SEAM for node in ast.walk(ast.parse(path.read_text()))
               if isinstance(node, (ast.Import, ast.ImportFrom))}
    assert imports == {
        "import contextlib", "import tensorflow as tf", "from mpl_tf.common.keras_2 import *",
        "from mpl_tf.common.keras_3 import *",
        "from keras.src.utils.tracking import no_automatic_dependency_tracking"}


def test_both_halves_of_the_seam_have_the_same_functions():
    def functions(path):
        return {node.name: ast.unparse(node.args) for node in ast.parse(path.read_text()).body
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and hasattr(node, "args")}

    assert functions(SEAM[1]) == functions(SEAM[2])


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
    # The objective "RandAugment" is older than Keras 3's layer, and always saved with its module.
    assert ours & names <= {"RandAugment"}


# ----------------------------------------------------------------------------- which way imports go

# What each package and program may import of the others; data_prep may import all of them.
MAY = {
    "common": set(),
    "shards": {"common"},
    "datasets": {"common", "shards"},
    "networks": {"common"},
    "method": {"common", "networks"},
    "data": {"common", "shards", "datasets"},
    "config": {"common", "datasets", "networks", "method"},
    "run": {"common", "shards", "datasets", "networks", "method", "data", "config"},
    "two_moons": {"common", "method", "data", "config", "run"},
    "benchmark": {"common", "shards", "datasets", "networks", "method", "data", "config",
                  "run"},
    "evaluate": {"common", "config", "run"},
    "predict": {"common", "shards", "config", "run"},
    "report": {"common", "datasets", "data", "config", "run"},
    "train": {"common", "config", "run", "two_moons", "report"},
    "compare": {"common", "config", "run", "train", "report"},
    "tune": {"common", "config", "run", "train"},
    "reduced": {"common", "shards", "datasets", "config", "run", "train"},
    "features": {"common", "shards", "datasets", "networks", "data", "run"},
    "moved": set(),
    "__main__": {"common"},
}


def _modules():
    """{module: modules of ours that it imports, anywhere in it}."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", ""): path
             for path in _sources()}
    found = {}
    for name, path in names.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                wanted = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            else:
                continue
            found[name] |= {each for each in wanted if each in names} - {name}
    return found


def _package(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "mpl_tf" and len(parts) > 1 else parts[0]


def test_imports_go_one_way():
    wrong = [f"{module} imports {other}" for module, others in _modules().items()
             for other in others if _package(module) in MAY
             and _package(other) not in {*MAY[_package(module)], _package(module), "mpl_tf"}]
    wrong += [f"{module} imports {other}" for module, others in _modules().items()
              for other in others if module.startswith("mpl_tf") and other.startswith("data_prep")]
    assert wrong == []


def test_imports_make_no_circle():
    """A package's own __init__, which hands names on, is no module here."""
    modules = _modules()
    faces = {module for module in modules if any(other.startswith(module + ".") for other in modules)}
    graph = {module: others - faces for module, others in modules.items() if module not in faces}
    order = list(graphlib.TopologicalSorter(graph).static_order())      # CycleError names a circle
    floors = {}
    for module in order:
        floors[module] = 1 + max((floors[other] for other in graph[module]), default=0)
    assert max(floors.values()) <= 15, floors      # with programs' __main__ and data_prep


WITHOUT_TENSORFLOW = [
    "mpl_tf", "mpl_tf.config", "mpl_tf.datasets", "mpl_tf.networks", "mpl_tf.shards",
    "mpl_tf.shards.images", "mpl_tf.shards.record_index", "mpl_tf.shards.schema",
    "mpl_tf.method.objectives", "mpl_tf.run.run_folder", "mpl_tf.train", "mpl_tf.evaluate",
    "mpl_tf.predict", "mpl_tf.compare", "mpl_tf.report.__main__", "mpl_tf.report.of_run",
    "mpl_tf.tune.__main__", "mpl_tf.reduced.chain", "mpl_tf.two_moons.study",
    "mpl_tf.benchmark.__main__", "data_prep.image_folder", "data_prep.imagenet",
    "data_prep.cifar10", "data_prep.svhn", "data_prep.unlabeled", "data_prep.inspect",
    "data_prep.predict", "data_prep.select", "data_prep.features"]


def test_programs_and_facts_are_read_without_tensorflow():
    code = "\n".join([
        "import importlib, sys", f"for name in {WITHOUT_TENSORFLOW}:",
        "    importlib.import_module(name)",
        "    assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules), name"])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_what_need_not_be_installed_is_imported_by_one_module_alone():
    """References that benchmarks and tests compare with."""
    for package, only in (("tensorflow_addons", "addons"), ("torch", "torch_step")):
        found = {path.stem for path in _sources() for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, (ast.Import, ast.ImportFrom))
                 for name in [getattr(node, "module", None), *(each.name for each in node.names)]
                 if not getattr(node, "level", 0) and name and name.partition(".")[0] == package}
        assert found == {only}


def test_the_wheel_holds_every_package():
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"packages = \[(.*?)\]", text, re.DOTALL).group(1)
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in _sources()}
    assert set(re.findall(r'"([\w.]+)"', listed)) == packages | {"mpl_tf.flagfiles"}


def test_every_flag_file_is_in_the_index():
    index = (ROOT / "flags" / "README.md").read_text()
    missing = [path.name for path in (ROOT / "flags").glob("*.cfg")
               if not re.search(rf"^\| \[{re.escape(path.name)}\]\({re.escape(path.name)}\) \|",
                                index, re.MULTILINE)]
    assert missing == []

"""Loads a Keras model from a .keras file of unknown origin without running code of the file's.

Keras reads whatever it is given, also HDF5 files and SavedModels, whose Lambda layers are programs.
Its safe mode refuses Python lambdas alone. A .keras archive can still name any module of Python's,
which Keras 2 imports; any symbol of TensorFlow's as an operation, such as tf.io.write_file; and
weights in NumPy's format, which Keras 2 unpickles. So `load` looks at the archive first, and gives
Keras only what needs none of that.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from typing import Any, Iterator, Optional

import tensorflow as tf

from mpl_tf.common import plain_path

MEMBERS = re.compile(r"metadata\.json|config\.json|model\.weights\.h5|assets/.*")
HDF5 = b"\x89HDF\r\n\x1a\n"
OF_KERAS = re.compile(r"(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)")
FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "regularizers")
# Keras's layers that call a symbol of TensorFlow's API, and where their configs name it.
OPERATIONS = {"TFOpLambda": "function", "SlicingOpLambda": "function", "ClassMethod": "cls_symbol",
              "InstanceMethod": "attr_name", "InstanceProperty": "attr_name"}
# Symbols that compute from their arguments begin so; one without a dot is a function tf.NAME.
COMPUTING = re.compile(
    r"\w+$|(__operators__|audio|bitwise|dtypes|image|linalg|math|nn|quantization|ragged|random|sets"
    r"|signal|sparse|strings|experimental\.numpy|keras\.(backend|activations|losses|metrics))\.")
# And those among them that do more: files, libraries, Python, other machines, global settings.
ACTING = re.compile(
    r"file|librar|load|save|restore|py_func|numpy_func|(^|_)function$|(^|\.)print|graph_def|rpc_"
    r"|trt_|register|xla_(call|custom|launch)|experimental_"
    r"|(^|\.)(enable|disable|configure|shutdown)_|(^|\.)set_(seed|global)"
    r"|backend\.(set|reset|clear)_|^_(?!_operators__\.)",
    re.IGNORECASE)


def load(path: str) -> tf.keras.Model:
    """Loads the model in a .keras file, uncompiled, in Keras's safe mode.

    A class that is neither Keras's nor ours has to be registered with Keras, or its module to be
    imported, before: the file's own word is not enough to import a module.

    Args:
      path: of the file. Its name ends in .keras, because Keras tells the format by that.

    Raises:
      ValueError: in one line that begins with the path: the file is of another format, would run
        code, or is damaged.
    """
    why = refusal(path)
    if why:
        raise ValueError(f"{path} cannot be read: {why}")
    try:
        return tf.keras.models.load_model(plain_path.plain(path), compile=False, safe_mode=True)
    except Exception as error:  # a damaged file raises whatever zipfile, h5py and Keras raise
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {reason}): expected a "
                         "model that this version of Keras reads; train or save it again") from error


def refusal(path: str) -> Optional[str]:
    """Why a file is not given to Keras, and what to do; None if it may be."""
    again = ("expected a .keras archive; if you trust the file, load it in a program of your own "
             "and save it as NAME.keras")
    with open(path, "rb") as file:
        start = file.read(len(HDF5))
    if start == HDF5:
        return f"it is an HDF5 file, which can hold code that Keras would run; {again}"
    if not start.startswith(b"PK") or not zipfile.is_zipfile(path):
        return f"it is no zip archive, or only the beginning of one; {again}"
    if not path.endswith(".keras"):
        return "it is an archive whose name does not end in .keras; rename it to NAME.keras"
    try:
        with zipfile.ZipFile(path) as archive:
            others = [name for name in archive.namelist() if not MEMBERS.fullmatch(name)]
            config = json.loads(archive.read("config.json"))
    except Exception as error:  # a damaged archive raises whatever zipfile and zlib raise
        reason = " ".join(str(error).split())[:120]
        return f"its config.json cannot be read ({type(error).__name__}: {reason}); {again}"
    if others:
        return f"it holds {min(others)}, which can be code and is no part of such a model; {again}"
    if isinstance(config, dict):
        config["compile_config"] = None     # is not read
    found = next(problems(config), None)
    return found and (f"{found}; if you trust the file, load its weights into a network of your "
                      "own without that, and save it")


def problems(config: Any, owner: str = "it") -> Iterator[str]:
    """What in a model's `config`, as JSON holds it, may run code: a clause for each thing.

    Args:
      config: the config, or a part of it.
      owner: what the part belongs to, in words.
    """
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(config.get("class_name"), str):
            if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                owner = f"its layer {inner['name']!r}"
            problem = _problem(config["class_name"], config.get("module"), config, inner)
            if problem:
                yield f"{owner} {problem}"
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from problems(part, owner)


def _problem(name, module, config, inner):
    """What is wrong with one object of a config, or None."""
    if name == "function":      # Keras imports its module first
        of_keras = module in (None, "builtins") or _of_keras(module)
        return None if _registered(inner) or of_keras and _is_keras_function(inner) else (
            f"names the function {inner} of {module}, which is not registered with Keras")
    if _registered(config.get("registered_name", name)):
        return None
    name = name.rpartition(".")[2]      # Keras looks "layers.Lambda" of the module keras up
    if name in ("Lambda", "__lambda__"):
        return "is a Lambda layer, whose Python code would run" if name == "Lambda" else (
            "has a Python lambda, which would run")
    if name == "TFSMLayer":
        return "is a TFSMLayer, whose SavedModel would run"
    if name in OPERATIONS:
        symbol = inner.get(OPERATIONS[name]) if isinstance(inner, dict) else None
        return None if computes(symbol) else f"calls tf.{symbol}, which may do more than compute"
    known = (module is None     # Keras then takes a layer of its own, or none
             or _of_keras(module) and re.match("_*[A-Z]", name)
             or name == "__typespec__" and re.match(r"tensorflow\..*Spec$",
                                                    f"{module}.{config.get('spec_name')}")
             or _is_imported(module, name))
    return None if known else (
        f"asks for {name} of the module {module}, which is not registered with Keras")


def _of_keras(module):
    """Whether a module is of the Keras that is imported: a folder may have the name of another."""
    root = str(module).partition(".")[0]
    return bool(OF_KERAS.match(str(module))) and (
        root in sys.modules or root == "keras" and "tf_keras" in sys.modules)   # reads it as its own


def _registered(name):
    return isinstance(name, str) and tf.keras.utils.get_registered_object(name) is not None


def _is_keras_function(name):
    return any(hasattr(getattr(tf.keras, part), str(name)) for part in FUNCTIONS)


def _is_imported(module, name):
    """Whether a module that was imported before has a class `name` of a kind that models hold."""
    keras = tf.keras
    found = getattr(sys.modules.get(str(module)), name, None)
    return isinstance(found, type) and issubclass(found, (
        keras.constraints.Constraint, keras.initializers.Initializer, keras.layers.Layer,
        keras.losses.Loss, keras.optimizers.Optimizer, keras.regularizers.Regularizer,
        keras.optimizers.schedules.LearningRateSchedule))


def computes(symbol: Any) -> bool:
    """Whether a symbol of TensorFlow's API, such as "math.add", only computes."""
    symbol = re.sub(r"^compat\.v[12]\.", "", str(symbol))
    return bool(COMPUTING.match(symbol)) and not ACTING.search(symbol)

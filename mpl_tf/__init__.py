"""Meta Pseudo Labels in TensorFlow 2 / Keras (Pham, Xie, Dai and Le, arXiv 2003.10580v1).

    import mpl_tf
    model = mpl_tf.MetaPseudoLabels(student, teacher, objective=mpl_tf.objectives.UDA())

Importing this package does not import TensorFlow. It works with what `tf.keras` is: Keras 2 with
TensorFlow 2.15, Keras 3 with later ones, or there, where the environment variable
TF_USE_LEGACY_KERAS=1 asks for it, legacy Keras (`tf-keras`).
"""

import importlib
import importlib.util
import json
import os
import sys
from typing import TYPE_CHECKING

from mpl_tf import moved

if TYPE_CHECKING:       # what `__getattr__` below imports when it is asked for
    from mpl_tf import data as data, datasets as datasets, networks as networks
    from mpl_tf.data import augment as augment
    from mpl_tf.method import (meta_gradient as meta_gradient, objectives as objectives,
                               schedules as schedules, targets as targets,
                               update_rules as update_rules)
    from mpl_tf.method.baselines import (Baseline as Baseline, FixedTeacher as FixedTeacher,
                                         StoredTargets as StoredTargets)
    from mpl_tf.method.mpl import MetaPseudoLabels as MetaPseudoLabels
    from mpl_tf.method.schedules import (WarmupCosine as WarmupCosine,
                                         WarmupExponential as WarmupExponential)
    from mpl_tf.networks import layers as layers
    from mpl_tf.run import devices
    strategy = devices

__version__ = "0.1.0"

_EXPORTS = {
    "MetaPseudoLabels": "mpl_tf.method.mpl",
    "Baseline": "mpl_tf.method.baselines",
    "FixedTeacher": "mpl_tf.method.baselines",
    "StoredTargets": "mpl_tf.method.baselines",
    "WarmupCosine": "mpl_tf.method.schedules",
    "WarmupExponential": "mpl_tf.method.schedules",
}
_MODULES = (*moved.SHORT, "networks", "datasets", "data")
__all__ = [*_EXPORTS, *_MODULES]


def _check_keras():
    """Raises an ImportError, in one line, where `tf.keras` is, or will be, none that this works with."""
    from importlib import metadata
    try:
        major = int(metadata.version("keras").split(".")[0])
    except metadata.PackageNotFoundError:
        major = 0
    asked = os.environ.get("TF_USE_LEGACY_KERAS")
    if asked in ("1", "true", "True"):
        if importlib.util.find_spec("tf_keras") is None:
            raise ImportError(
                f"TF_USE_LEGACY_KERAS={asked} asks for legacy Keras, which is not installed: run `pip "
                "install 'mpl_tf[legacy]'` (tf-keras of TensorFlow's version), or unset the variable")
        return
    if major >= 3:
        backend = _backend()
        if backend != "tensorflow":
            raise ImportError(
                f"mpl_tf computes with TensorFlow, but Keras's backend here is {backend}: set "
                "KERAS_BACKEND=tensorflow, or change \"backend\" in ~/.keras/keras.json")


def _backend():
    """The name of the backend that Keras 3 has, or will have when it is imported."""
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "backend"):
        return sys.modules["keras"].backend.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            return json.load(file).get("backend", "tensorflow")
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


_check_keras()
moved.install()


if not TYPE_CHECKING:   # a type checker would take every name for one that this function knows
    def __getattr__(name):
        if name in _EXPORTS:
            return getattr(importlib.import_module(_EXPORTS[name]), name)
        if name in _MODULES:
            return importlib.import_module(f"mpl_tf.{name}")
        raise AttributeError(
            f"module 'mpl_tf' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)

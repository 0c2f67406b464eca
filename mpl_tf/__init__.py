"""Meta Pseudo Labels in TensorFlow 2 / Keras (Pham, Xie, Dai and Le, arXiv 2003.10580v1).

    import mpl_tf
    model = mpl_tf.MetaPseudoLabels(student, teacher, objective=mpl_tf.objectives.UDA())

Importing this package does not import TensorFlow. It only makes sure that `tf.keras` is, or will
be, Keras 2. With TensorFlow 2.15 it is. With 2.16 and later the environment variable
TF_USE_LEGACY_KERAS chooses legacy Keras (`tf-keras`), and it has to be set before `tf.keras` is
first used. That is why it is set here, before anything else.
"""

import importlib
import importlib.util
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


def _choose_legacy_keras():
    """Makes `tf.keras` be Keras 2, or raises an ImportError that says what to do."""
    from importlib import metadata
    try:
        tensorflow_keras_major = int(metadata.version("keras").split(".")[0])
    except metadata.PackageNotFoundError:
        tensorflow_keras_major = 0
    asked = os.environ.get("TF_USE_LEGACY_KERAS")
    has_legacy = importlib.util.find_spec("tf_keras") is not None
    if asked in ("1", "true", "True") and not has_legacy:
        raise ImportError(
            f"TF_USE_LEGACY_KERAS={asked} asks for legacy Keras, which is not installed: "
            "run `pip install tf-keras` (or unset the variable where TensorFlow is 2.15)")
    if tensorflow_keras_major != 2 and asked is None:
        if not has_legacy:
            raise ImportError(
                "mpl_tf needs Keras 2, but TensorFlow here brings Keras 3 and legacy Keras is not "
                "installed: run `pip install tf-keras` (its version must match TensorFlow's)")
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    legacy_chosen = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")
    if tensorflow_keras_major != 2 and not legacy_chosen:
        raise ImportError(
            f"mpl_tf needs Keras 2, but TF_USE_LEGACY_KERAS={asked} makes tf.keras Keras 3: "
            "unset it or set TF_USE_LEGACY_KERAS=1")
    if "tensorflow" in sys.modules:
        keras = sys.modules["tensorflow"].keras
        if ".engine." not in keras.Model.__module__:    # keras.src.engine.training in Keras 2
            raise ImportError(
                f"mpl_tf needs Keras 2, but tf.keras is already Keras {keras.__version__}: import "
                "mpl_tf before tf.keras is first used, or set TF_USE_LEGACY_KERAS=1")


_choose_legacy_keras()
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

"""Weights that a network starts from: those of a file, or Keras's own, which it downloads.

A file is one that Keras wrote: NAME.keras or NAME.weights.h5. Of a .keras file the weights alone are
read, which are numbers, so that nothing in it can run.
"""

from __future__ import annotations

import io
import logging
import os
import re
import urllib.error
import urllib.request
import warnings
import zipfile
from typing import Any, Optional

import numpy as np

from mpl_tf.common import formats, plain_path
from mpl_tf.common.lazy import tf

IMAGENET = "imagenet"
ENDS = (".keras", ".weights.h5", ".h5")
_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
_OTHERS = ("optimizer", "metrics", "compile_metrics", "loss_tracker")   # parts of a file, no weights

log = logging.getLogger("mpl_tf")


def check_path(path: str) -> None:
    """Raises ValueError, in one line, unless `path` is a file with a name as Keras's files have."""
    if not path.endswith(ENDS):
        raise ValueError(f"weights={path}: expected a file NAME.keras or NAME.weights.h5, as Keras "
                         "writes them; load other weights in a program of your own and save them so")
    if not os.path.isfile(path):
        raise ValueError(f"weights={path}: no such file; correct the path")


def load(model: tf.keras.Model, path: str) -> None:
    """Gives `model` the weights of the file at `path`.

    The file may be of the model itself, of the model with a head for other classes, or of the
    network within the model that it has as a layer: then the last layer keeps its initial weights.

    Raises:
      ValueError: in one line: there is no such file, or its weights do not fit. The model's weights
        are then what they were.
    """
    check_path(path)
    within = [layer for layer in model.layers if isinstance(layer, tf.keras.Model)]
    reasons = []
    for target in (model, *within):
        before = target.get_weights()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")     # Keras's, a line for each layer that is skipped
                reason = _tried(target, path, head=target is model)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file raises whatever zipfile, h5py and Keras raise
            reason = f"{type(error).__name__}: {error}"
        if reason is None:
            return
        target.set_weights(before)
        reasons.append(reason)
    what = formats.of_file(path) or ""
    if "zip" in what or "HDF5" in what:     # as it should be
        what = ""
    reason = " ".join(reasons[0].split())[:200]
    raise ValueError(f"weights={path}{f' ({what})' * bool(what)} does not fit {model.name} ({reason}): "
                     "expected the weights of the same network, or of one that differs in its last "
                     "layer alone; use another file, or leave it out")


def _tried(model, path, head):
    """Loads what fits of a file; returns why that is not all, or None. The head may keep its own."""
    own, last = model.weights, _of_last_layer(model) if head else []
    count = _count(path)
    if count not in (None, len(own), len(own) - len(last)):
        return f"{count} weights in the file, {len(own)} in the network"
    if count is None:       # a file as Keras 2 wrote them before: by the order of layers
        model.load_weights(plain_path.plain(path))
        return None
    kept = {id(weight): weight.numpy() for weight in last}
    checked = [weight for weight in own if np.issubdtype(weight.numpy().dtype, np.floating)]
    for weight in checked:
        weight.assign(np.full(weight.shape, np.nan, weight.numpy().dtype))
    model.load_weights(plain_path.plain(path), skip_mismatch=True)
    missed = [weight for weight in checked if np.isnan(weight.numpy()).any()]
    for weight in missed:
        if id(weight) not in kept:
            from mpl_tf.common import keras_seam    # it imports TensorFlow
            name = keras_seam.name_of(weight).partition(":")[0]
            return f"its {name} of shape {list(weight.shape)} has none in the file of that shape"
    for weight in last if missed else ():
        weight.assign(kept[id(weight)])
    return None


def _of_last_layer(model):
    """The weights of the last layer that has some, if it is a linear one for the classes."""
    layers = [layer for layer in model.layers if layer.weights]
    return layers[-1].weights if layers and isinstance(layers[-1], tf.keras.layers.Dense) else []


def _count(path: str) -> Optional[int]:
    """How many weights a file has; None for one of Keras's older format."""
    import h5py
    source: Any = path
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    names = []
    with h5py.File(source, "r") as file:
        if "layer_names" in file.attrs or "model_weights" in file:
            return None
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset)
                        else None)
    parts = [re.split(r"[/\\]", name) for name in names]
    return sum("vars" in each and each[0] not in _OTHERS and "seed_generator" not in each
               for each in parts)


def require_download(name: str) -> None:
    """Says that Keras's weights of `name`, a class of keras.applications, will be downloaded.

    Raises:
      ValueError: in one line and within 20 seconds, if they are not there and cannot be fetched.
    """
    folder = os.path.join(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras"), "models")
    found = os.listdir(folder) if os.path.isdir(folder) else []
    if any(_bare(file).startswith(_bare(name)) for file in found):
        return
    try:
        urllib.request.urlopen(urllib.request.Request(_HOST, method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        pass    # an error page is an answer too
    except (OSError, ValueError) as error:
        raise ValueError(f"weights=imagenet of {name} have to be downloaded, and {_HOST} cannot be "
                         f"reached ({error}): connect to the internet, or give a file of weights"
                         ) from error
    log.warning("downloading the ImageNet weights of %s into %s", name, folder)


def _bare(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())

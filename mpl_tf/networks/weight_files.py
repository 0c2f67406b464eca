"""Weights that a network starts from: of a file, or of Keras's own downloads."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

from mpl_tf.common import plain_path
from mpl_tf.common.lazy import tf

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"


def load(model: tf.keras.Model, path: str) -> None:
    """Loads weights of the file at `path` into `model`.

    Raises:
      ValueError: in one line: there is no such file, or it does not fit.
    """
    if not os.path.isfile(path):
        raise ValueError(f"weights={path}: no such file")
    try:
        model.load_weights(plain_path.plain(path))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"weights={path} does not fit {model.name} ({reason})") from error


def require_download(name: str) -> None:
    """Raises ValueError, in one line and within 20 seconds, if Keras's weights cannot be fetched."""
    try:
        urllib.request.urlopen(urllib.request.Request(_HOST, method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        pass    # an error page is an answer too
    except (OSError, ValueError) as error:
        raise ValueError(f"weights=imagenet of {name} cannot be downloaded ({error}): connect to the "
                         "internet, or give a file of weights") from error

"""Whether an optimizer continues, after it was saved to a .keras file and loaded, as it would have.

Comparing variables would not do: Keras's Nadam keeps a number that is none of its variables. So it is
tried, on a small copy.
"""

from __future__ import annotations

from concurrent import futures
from typing import Dict, List, Mapping

import numpy as np
import tensorflow as tf

from mpl_tf.common import keras_seam


def lost(optimizers: Mapping[str, tf.keras.optimizers.Optimizer]) -> List[str]:
    """Names those of `optimizers`, {role: optimizer}, whose next update a .keras file changes.

    The optimizers themselves are left as they are.
    """
    # In a thread of its own, because a strategy's scope, in which the caller may be, ends there.
    with futures.ThreadPoolExecutor(1) as thread:
        return [f"{role}_optimizer ({type(optimizer).__name__})"
                for role, optimizer in optimizers.items()
                if not thread.submit(_continues, optimizer).result()]


def _continues(optimizer):
    try:
        with tf.device("CPU"):
            first, loaded = (_copy(optimizer) for _ in range(2))
            variable = keras_seam.variable([[0.3, -1.2], [0.7, 0.1]])
            for number in range(3):
                _step(first, variable, number)
            other = keras_seam.variable(variable.numpy())
            if hasattr(loaded, "build"):
                loaded.build([other])
            if hasattr(first, "save_own_variables"):    # what .keras files are written by
                stored: Dict[str, np.ndarray] = {}
                first.save_own_variables(stored)
                loaded.load_own_variables(stored)
            for each, its in ((first, variable), (loaded, other)):
                _step(each, its, 3)
            return bool(np.allclose(variable.numpy(), other.numpy(), rtol=1e-5, atol=1e-7))
    except Exception:       # an optimizer of somebody's own may fail in any way
        return False


def _copy(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


def _step(optimizer, variable, number):
    gradient = tf.constant([[0.4, -0.3], [0.2, 0.9]]) * (1.0 + number)
    optimizer.apply_gradients([(gradient, variable)])

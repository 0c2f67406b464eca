"""Layers that the networks are made of: input, convolution, batch norm, prediction.

Every layer has an explicit name, and its initial weights are a function of (seed, layer name). So
any process gets the same weights, whatever it built before. Keras's own layer counters and its
global random state play no part.

Convolutions start from He et al. (2015) in the fan-out form, N(0, 2 / (k k C_out)), as in the code
of Wide ResNet and of the paper's authors: batch norm fixes the scale of what goes forward, so the
initialisation only has to keep the scale of the gradients that come back. The last layer starts
from U(-1/sqrt(C_in), 1/sqrt(C_in)), so that the first logits are small and the first targets nearly
uniform.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from typing import Iterator, Optional, Sequence

import numpy as np

from mpl_tf.common.lazy import tf

BATCH_NORM_EPSILON = 1e-3   # the authors' code


def variable_dtype() -> str:
    """The dtype of weights: "float64" under a float64 policy, else "float32"."""
    policy = tf.keras.mixed_precision.global_policy()
    return "float64" if policy.variable_dtype == "float64" else "float32"


def kernel_initializer(seed: Optional[int], name: str, scale: float, mode: str,
                       distribution: str) -> tf.keras.initializers.Initializer:
    """Keras's variance scaling for the layer called `name`; seed None draws anew at every build."""
    if seed is not None:
        seed = zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
    return tf.keras.initializers.VarianceScaling(scale, mode, distribution, seed=seed)


def check(num_classes: int, input_shape: Sequence[int], batch_norm_decay: float = 0.0,
          rank: Optional[int] = None) -> None:
    """Raises ValueError, in one line, for arguments that no network can be built from.

    Args:
      rank: how many dimensions input_shape has to have: 3 for images, 1 for points; None for any.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: a classifier needs at least 2")
    if rank is not None and len(input_shape) != rank:
        kind = "images [height, width, channels]" if rank == 3 else "points [dimensions]"
        raise ValueError(f"input_shape={tuple(input_shape)}: this network takes {kind}")
    if not 0.0 <= batch_norm_decay < 1.0:
        raise ValueError(f"batch_norm_decay={batch_norm_decay} is outside [0, 1): "
                         "give the share of the average that one step keeps, such as 0.99")


def image_input(input_shape: Sequence[int]) -> tf.Tensor:
    """The model's input, which is called "image" in every network. Float64 data stay float64."""
    return tf.keras.Input(input_shape, dtype=variable_dtype(), name="image")


def conv(x: tf.Tensor, filters: int, size: int, name: str, seed: Optional[int],
         stride: int = 1) -> tf.Tensor:
    """A convolution with "same" padding and without bias, as batch norm follows or precedes it."""
    return tf.keras.layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False, name=name,
        kernel_initializer=kernel_initializer(seed, name, 2.0, "fan_out", "untruncated_normal"))(x)


def batch_norm(x: tf.Tensor, decay: float, name: str) -> tf.Tensor:
    """Batch norm whose averages keep the share `decay` of themselves in each training pass."""
    return batch_norm_layer(decay, name)(x)


def batch_norm_layer(decay: float, name: str, axis: int = -1) -> tf.keras.layers.Layer:
    """The layer of `batch_norm`."""
    from mpl_tf.common import keras_seam    # they need TensorFlow
    from mpl_tf.networks import layers
    kind = (layers.FusedBatchNormalization if keras_seam.IS_KERAS_3
            else tf.keras.layers.BatchNormalization)
    return kind(axis=axis, momentum=decay, epsilon=BATCH_NORM_EPSILON, name=name)


def relu(x: tf.Tensor, name: str) -> tf.Tensor:
    """max(x, 0)."""
    return tf.keras.layers.ReLU(name=name)(x)


def batch_norm_relu(x: tf.Tensor, decay: float, name: str) -> tf.Tensor:
    """Batch norm, then ReLU."""
    return relu(batch_norm(x, decay, f"{name}_bn"), f"{name}_relu")


def prediction(features: tf.Tensor, num_classes: int, dropout: float,
               seed: Optional[int]) -> tf.Tensor:
    """Logits [B, K] from features [B, C]: dropout, as in Appendix C.1, and then one linear layer.

    Under mixed precision the linear layer computes in float32, and so do the losses.
    """
    from mpl_tf.networks import layers      # its classes need TensorFlow
    return logits(layers.ReplayableDropout(dropout, name="dropout")(features), num_classes, seed)


def logits(features: tf.Tensor, num_classes: int, seed: Optional[int]) -> tf.Tensor:
    """The linear layer of `prediction`, alone."""
    return tf.keras.layers.Dense(
        num_classes, name="logits", dtype=variable_dtype(),
        kernel_initializer=kernel_initializer(seed, "logits", 1 / 3, "fan_in", "uniform"))(features)


@contextlib.contextmanager
def seeded(seed: Optional[int]) -> Iterator[None]:
    """Context manager: Keras, TensorFlow, NumPy and Python draw by `seed`; None changes nothing.

    For layers that draw their initial weights by a global state. Afterwards Python and NumPy go on
    where they were. TensorFlow and Keras cannot tell where they were, and go on from `seed`.
    """
    if seed is None:
        yield
        return
    before = random.getstate(), np.random.get_state()
    tf.keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])

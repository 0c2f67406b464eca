"""One linear layer: the network of features that another network has learned."""

from __future__ import annotations

import math
from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network


def counts(num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `linear`."""
    return Counts((math.prod(input_shape) + 1) * num_classes, num_classes)


@network("linear", takes=("point",), counts=counts)
def linear(num_classes: int, input_shape: Sequence[int] = (2,), dropout: float = 0.0,
           name: Optional[str] = None) -> tf.keras.Model:
    """Points [B, D] -> logits [B, K] by one linear layer, whose weights and bias start at zero.

    The arguments are those of `wide_resnet`. There is no seed, as nothing is drawn.
    """
    from mpl_tf.networks import layers      # its classes need TensorFlow
    parts.check(num_classes, input_shape, rank=1)
    points = parts.image_input(input_shape)
    x = layers.ReplayableDropout(dropout, name="dropout")(points)
    logits = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="logits",
                                   dtype=parts.variable_dtype())
    return tf.keras.Model(points, logits(x), name=name)

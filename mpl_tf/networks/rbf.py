"""Fixed Gaussian features and one linear layer: the network of the two-moons experiment."""

from __future__ import annotations

import math
from typing import Optional, Sequence, Tuple

import numpy as np

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import network

TWO_MOONS_BOX = ((-1.5, -1.0), (2.5, 1.5))      # (lowest, highest) corner, data and margin
TWO_MOONS_WIDTH = 0.2 / math.sqrt(2.0)
MARGIN = 3.0            # widths that the grid goes beyond the data; what is further weighs < 0.02 %


@network("rbf", takes=("point",))
def rbf_linear(num_classes: int, input_shape: Sequence[int] = (2,),
               data_range: Optional[Tuple[Sequence[float], Sequence[float]]] = None,
               width: float = TWO_MOONS_WIDTH, dropout: float = 0.0,
               name: Optional[str] = None) -> tf.keras.Model:
    """Gaussian features, then one linear layer: points [B, D] -> logits [B, K].

    Weights and bias start at zero, so there is no seed. The network's tangent kernel is the inner
    product of the features plus one. It does not change in training, and `width` says how local it
    is.

    Args:
      data_range: the (lowest, highest) corner [D] of the data; the grid goes 3 widths beyond it.
        None, for points of D = 2 only, stands for the box of the two moons, -1.5..2.5 by -1..1.5
        for every sample. At the default width that is a grid of 30 x 19 = 570 centres.
      width: the width of the Gaussians.
      The other arguments are those of `wide_resnet`.

    Raises:
      ValueError: in one line, for inputs that are not points or a data_range that does not fit.
    """
    from mpl_tf.networks import layers
    parts.check(num_classes, input_shape, rank=1)
    if data_range is None and tuple(input_shape) != (2,):
        raise ValueError(f"rbf on points of {input_shape[0]} dimensions needs "
                         "data_range=(lowest, highest), the corners of the data")
    if data_range is None:
        low, high = TWO_MOONS_BOX
    else:
        low, high = (np.asarray(corner, "float64") for corner in data_range)
        if low.shape != tuple(input_shape) or high.shape != tuple(input_shape):
            raise ValueError(f"data_range has corners of shapes {low.shape} and {high.shape}, but "
                             f"the points have {tuple(input_shape)}")
        low, high = low - MARGIN * width, high + MARGIN * width
    points = parts.image_input(input_shape)
    features = layers.GaussianFeatures(low, high, width, name="features",
                                       dtype=parts.variable_dtype())
    x = layers.ReplayableDropout(dropout, name="dropout")(features(points))
    logits = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="logits",
                                   dtype=parts.variable_dtype())
    return tf.keras.Model(points, logits(x), name=name)


def __getattr__(name):      # saved files of earlier versions look for the class here
    if name != "GaussianFeatures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpl_tf.networks import layers
    return layers.GaussianFeatures

"""Fixed Gaussian features and one linear layer: the network of the two-moons experiment.

Where points have more than a few dimensions, as features of images have, a grid of centres would be too
large: `rbf_centres` takes some of the training points themselves.
"""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network

TWO_MOONS_BOX = ((-1.5, -1.0), (2.5, 1.5))      # (lowest, highest) corner, data and margin
TWO_MOONS_WIDTH = 0.2 / math.sqrt(2.0)
MOST_CENTRES = 100_000
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


def check(centres: int) -> None:
    """Raises ValueError, in one line, for a number of centres that cannot be."""
    if not 2 <= centres <= MOST_CENTRES:
        raise ValueError(f"{centres} centres: expected at least 2 and at most {MOST_CENTRES}")


def counts(centres: int, num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `rbf_centres`."""
    return Counts((math.prod(input_shape) + 1) * centres + (centres + 1) * num_classes,
                  centres + num_classes)


@network("rbf-CENTRES", r"rbf-(\d+)", takes=("point",), check=check, example="rbf-256", counts=counts)
def rbf_centres(centres: int, num_classes: int, input_shape: Sequence[int] = (2,), points: Any = None,
                dropout: float = 0.0, name: Optional[str] = None,
                seed: Optional[int] = 0) -> tf.keras.Model:
    """Normalised Gaussian features about training points, then one linear layer: points -> logits.

    phi_c(x) = exp(-|x - c|^2 / 2 w^2), divided by the sum over all centres: a softmax of a linear
    function of x, so that Keras's own layers are enough. The centres c are drawn from the points; the
    width w is the median distance from a point to its nearest centre. Both stay as they are.

    Args:
      centres: how many.
      points: the training points [N, D]; None leaves the features at random, for weights that are
        loaded later.
      seed: of the choice of centres. The other arguments are those of `wide_resnet`.

    Raises:
      ValueError: in one line, for fewer points than centres.
    """
    from mpl_tf.networks import layers
    parts.check(num_classes, input_shape, rank=1)
    image = parts.image_input(input_shape)
    features = tf.keras.layers.Dense(centres, activation="softmax", trainable=False, name="features",
                                     dtype=parts.variable_dtype())
    x = layers.ReplayableDropout(dropout, name="dropout")(features(image))
    logits = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="logits",
                                   dtype=parts.variable_dtype())
    model = tf.keras.Model(image, logits(x), name=name)
    if points is not None:
        features.set_weights(_about(np.asarray(points, np.float64), centres, seed))
    return model


def _about(points, count, seed):
    """(kernel, bias) of the features of `rbf_centres`."""
    if len(points) < count:
        raise ValueError(f"rbf-{count} with {len(points)} training points, among which its centres are: "
                         "use fewer centres")
    generator = np.random.default_rng(seed)
    centres = points[np.sort(generator.choice(len(points), count, replace=False))]
    some = points[generator.choice(len(points), min(len(points), 1000), replace=False)]
    squares = ((some ** 2).sum(1)[:, None] - 2 * some @ centres.T + (centres ** 2).sum(1))
    nearest = np.maximum(squares.min(axis=1), 0)
    # Points that are centres are at no distance from one, and tell nothing of the width.
    apart = nearest[nearest > 1e-6 * max(nearest.max(), 1e-30)]
    width = np.median(apart) if len(apart) else 1.0
    return (centres.T / width).astype("float32"), (-(centres ** 2).sum(1) / (2 * width)).astype("float32")


def __getattr__(name):      # saved files of earlier versions look for the class here
    if name != "GaussianFeatures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpl_tf.networks import layers
    return layers.GaussianFeatures

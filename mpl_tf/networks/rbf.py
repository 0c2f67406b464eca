"""Fixed Gaussian features and one linear layer: the network of the two-moons experiment."""

import math

import numpy as np
import tensorflow as tf

from mpl_tf.networks import layers, parts

TWO_MOONS_BOX = ((-1.5, -1.0), (2.5, 1.5))      # (lowest, highest) corner, data and margin
TWO_MOONS_WIDTH = 0.2 / math.sqrt(2.0)
MARGIN = 3.0            # widths of grid beyond the data: what lies further out weighs < 0.02 %
MAX_CENTRES = 100_000


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class GaussianFeatures(tf.keras.layers.Layer):
    """phi_c(x) = exp(-|x - c|^2 / 2 w^2) over a grid of centres c, scaled so that |phi(x)|^2 = 1.

    Points [B, D] -> features [B, C]. Nothing is trained: centres follow from the configuration.

    Args:
      low, high: opposite corners [D] of the grid; the last centre of each axis is the first at or
        beyond `high`.
      width: w, the Gaussians' width and the spacing of the grid.
    """

    def __init__(self, low, high, width, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = [float(v) for v in low], [float(v) for v in high]
        self.width = float(width)
        self.centres = grid(self.low, self.high, self.width)

    def call(self, points):
        centres = tf.constant(self.centres, points.dtype)
        squares = tf.reduce_sum((points[:, None, :] - centres) ** 2, axis=-1)
        # phi^2 = exp(-|x-c|^2/w^2) / sum_c' exp(-|x-c'|^2/w^2) is a softmax, which stays finite
        # for points so far outside the grid that every exp(...) is zero.
        return tf.exp(0.5 * tf.nn.log_softmax(-squares / self.width ** 2))

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high, "width": self.width}


def grid(low, high, width):
    """Points float64 [C, D], `width` apart on each axis, from `low` to at least `high`."""
    if not width > 0.0:
        raise ValueError(f"width={width}: Gaussian features need a width above 0")
    if len(low) != len(high) or not all(l <= h for l, h in zip(low, high)):
        raise ValueError(f"low={low}, high={high}: expected opposite corners, low <= high, "
                         "with one number for each dimension")
    sizes = [math.ceil((h - l) / width) + 1 for l, h in zip(low, high)]
    if math.prod(sizes) > MAX_CENTRES:
        raise ValueError(f"Gaussian features with a grid of {'x'.join(map(str, sizes))} centres: "
                         f"at most {MAX_CENTRES} are supported, so use a larger width")
    axes = [l + width * np.arange(size) for l, size in zip(low, sizes)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sizes))


def rbf_linear(num_classes, input_shape=(2,), data_range=None, width=TWO_MOONS_WIDTH, dropout=0.0,
               name=None):
    """Gaussian features, then one linear layer: points [B, D] -> logits [B, K].

    Weights and bias start at zero, so there is no seed. Its tangent kernel, that of the features
    plus one, is as local as `width` says, whatever the training.

    Args:
      data_range: (lowest, highest) corner [D] of the data; the grid then reaches 3 widths beyond.
        None, for D = 2 only: the box of the two moons, -1.5..2.5 by -1..1.5, with 30 x 19 = 570
        centres at the default width whatever the sample.
      width: of the Gaussians.

    Raises:
      ValueError: in one line, for inputs that are not points or a data_range that does not fit.
    """
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
    features = GaussianFeatures(low, high, width, name="features", dtype=parts.variable_dtype())
    x = layers.Dropout(dropout, name="dropout")(features(points))
    logits = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="logits",
                                   dtype=parts.variable_dtype())
    return tf.keras.Model(points, logits(x), name=name)

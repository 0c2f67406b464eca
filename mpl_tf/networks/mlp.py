"""A multi-layer perceptron, for points and for distributions over classes."""

from __future__ import annotations

import math
from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network


MOST_LAYERS, MOST_UNITS = 1000, 10 ** 8


def check(*hidden: int) -> None:
    """Raises ValueError, in one line, for hidden layers that cannot be."""
    wrong = [size for size in hidden if not 1 <= size <= MOST_UNITS]
    if wrong:
        raise ValueError(f"a hidden layer of {wrong[0]} units: expected at least 1 and at most "
                         f"{MOST_UNITS}")
    if len(hidden) > MOST_LAYERS:
        raise ValueError(f"{len(hidden)} hidden layers: expected at most {MOST_LAYERS}")


def counts(*hidden: int, num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `mlp`; no hidden sizes stand for its defaults."""
    sizes = [math.prod(input_shape), *(hidden or (32, 32)), num_classes]
    return Counts(sum((before + 1) * size for before, size in zip(sizes, sizes[1:])), sum(sizes[1:]))


def mlp(num_classes: int, input_shape: Sequence[int] = (2,), hidden: Sequence[int] = (32, 32),
        dropout: float = 0.0, name: Optional[str] = None,
        seed: Optional[int] = None) -> tf.keras.Model:
    """A multi-layer perceptron with ReLU: inputs [B, ...], which are flattened -> logits [B, K].

    Hidden weights start from He et al. (2015) in the fan-in form, N(0, 2 / C_in), because without
    batch norm it is the scale of what goes forward that has to be kept. Biases start at zero.

    Args:
      hidden: the sizes of the hidden layers, each at least 1.
      The other arguments are those of `wide_resnet`.

    Raises:
      ValueError: in one line, for a size below 1.
    """
    parts.check(num_classes, input_shape)
    check(*hidden)
    image = parts.image_input(input_shape)
    x = tf.keras.layers.Flatten(name="flatten")(image)
    for index, size in enumerate(hidden, start=1):
        layer = f"hidden{index}"
        x = tf.keras.layers.Dense(
            size, activation="relu", name=layer, kernel_initializer=parts.kernel_initializer(
                seed, layer, 2.0, "fan_in", "untruncated_normal"))(x)
    return tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)


@network("mlp-SIZE-SIZE...", r"mlp((?:-\d+)*)", takes=("image", "point", "probs"), check=check,
         example="mlp-32-32", counts=counts)
def _by_name(*hidden: int, num_classes: int, input_shape: Sequence[int], dropout: float = 0.0,
             name: Optional[str] = None, seed: Optional[int] = None) -> tf.keras.Model:
    """`mlp` with the hidden sizes in its name; "mlp" alone has the default sizes."""
    sizes = {"hidden": hidden} if hidden else {}
    return mlp(num_classes, input_shape, dropout=dropout, name=name, seed=seed, **sizes)

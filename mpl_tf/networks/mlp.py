"""A multi-layer perceptron, for points and for distributions over classes."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import network


def check(*hidden: int) -> None:
    """Raises ValueError, in one line, for a hidden size below 1."""
    if min(hidden, default=1) < 1:
        raise ValueError(f"hidden layers of sizes {hidden}: each has to be at least 1")


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
         example="mlp-32-32")
def _by_name(*hidden: int, num_classes: int, input_shape: Sequence[int], dropout: float = 0.0,
             name: Optional[str] = None, seed: Optional[int] = None) -> tf.keras.Model:
    """`mlp` with the hidden sizes in its name; "mlp" alone has the default sizes."""
    sizes = {"hidden": hidden} if hidden else {}
    return mlp(num_classes, input_shape, dropout=dropout, name=name, seed=seed, **sizes)

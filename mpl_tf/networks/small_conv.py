"""A small convolutional network for tiny images, such as 8x8 digits."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network


_LAYERS = ((32, 1), (64, 2), (96, 2))       # filters and stride of each convolution


def counts(num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `small_conv`; of the activations those of the convolutions."""
    height, width, before = input_shape
    weights = kept = 0
    for filters, stride in _LAYERS:
        height, width = -(-height // stride), -(-width // stride)
        weights += 9 * before * filters + 4 * filters       # and batch norm
        kept, before = kept + height * width * filters, filters
    return Counts(weights + (before + 1) * num_classes, kept)


@network("small_conv", counts=counts)
def small_conv(num_classes: int, input_shape: Sequence[int] = (8, 8, 1), dropout: float = 0.0,
               batch_norm_decay: float = 0.99, name: Optional[str] = None,
               seed: Optional[int] = None) -> tf.keras.Model:
    """Three 3x3 convolutions, two with stride 2: images [B, H, W, C] -> logits [B, K].

    The convolutions have 32, 64 and 96 filters, and batch norm and ReLU each. The average over
    positions follows. For the digits there are 75,370 trainable weights.

    The arguments and the errors are those of `wide_resnet`.
    """
    parts.check(num_classes, input_shape, batch_norm_decay, rank=3)
    x = image = parts.image_input(input_shape)
    for index, (filters, stride) in enumerate(_LAYERS, start=1):
        x = parts.conv(x, filters, 3, f"conv{index}", seed, stride)
        x = parts.batch_norm_relu(x, batch_norm_decay, f"conv{index}")
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)

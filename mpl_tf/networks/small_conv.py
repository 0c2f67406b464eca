"""A small convolutional network for tiny images, such as 8x8 digits."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import network


@network("small_conv")
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
    for index, (filters, stride) in enumerate(((32, 1), (64, 2), (96, 2)), start=1):
        x = parts.conv(x, filters, 3, f"conv{index}", seed, stride)
        x = parts.batch_norm_relu(x, batch_norm_decay, f"conv{index}")
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)

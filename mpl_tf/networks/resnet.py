"""ResNet-50 (He et al., 2016), the network of ImageNet."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network


_GROUPS = ((64, 3), (128, 4), (256, 6), (512, 3))       # filters and blocks of each group


def counts(num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `resnet50`; of the activations those of the convolutions."""
    height, width, channels = (*(-(-side // 2) for side in input_shape[:2]), input_shape[2])
    weights, kept, before = 49 * channels * 64 + 4 * 64, height * width * 64, 64
    for filters, blocks in _GROUPS:
        height, width = -(-height // 2), -(-width // 2)     # by the pool, then by blocks
        for _ in range(blocks):
            weights += filters * (before + 9 * filters + 4 * filters) + 4 * 6 * filters
            kept += 6 * filters * height * width
            if before != 4 * filters:       # a shortcut
                weights += 4 * filters * before + 4 * 4 * filters
                before = 4 * filters
    return Counts(weights + (before + 1) * num_classes, kept)


@network("resnet-50", counts=counts)
def resnet50(num_classes: int, input_shape: Sequence[int] = (224, 224, 3), dropout: float = 0.0,
             batch_norm_decay: float = 0.99, name: Optional[str] = None,
             seed: Optional[int] = None) -> tf.keras.Model:
    """ResNet-50: images [B, H, W, C] -> logits [B, K].

    It is made of bottleneck blocks: 1x1, 3x3 and 1x1 convolutions, each with batch norm, and ReLU
    after the sum. A block that halves the resolution does so in its 3x3 convolution ("v1.5"), as in
    the TPU ResNet and the authors' later code. He et al. have the stride in the first 1x1
    convolution, which then drops three quarters of its input. The number of weights is the same:
    with 1,000 classes there are 25,557,032 trainable ones, and 25,610,152 with batch norm's
    averages, the paper's "25.6 million". All batch-norm scales start at one.

    The arguments and the errors are those of `wide_resnet`.
    """
    parts.check(num_classes, input_shape, batch_norm_decay, rank=3)
    image = parts.image_input(input_shape)
    x = parts.conv(image, 64, 7, "stem", seed, stride=2)
    x = parts.batch_norm_relu(x, batch_norm_decay, "stem")
    x = tf.keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for group, (filters, blocks) in enumerate(_GROUPS, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if group > 1 and block == 1 else 1
            x = _block(x, filters, stride, batch_norm_decay, f"group{group}_block{block}", seed)
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)


def _block(x, filters, stride, decay, name, seed):
    y = parts.conv(x, filters, 1, f"{name}_conv1", seed)
    y = parts.batch_norm_relu(y, decay, f"{name}_1")
    y = parts.conv(y, filters, 3, f"{name}_conv2", seed, stride)
    y = parts.batch_norm_relu(y, decay, f"{name}_2")
    y = parts.conv(y, 4 * filters, 1, f"{name}_conv3", seed)
    y = parts.batch_norm(y, decay, f"{name}_3_bn")
    if x.shape[-1] != 4 * filters:
        x = parts.conv(x, 4 * filters, 1, f"{name}_shortcut", seed, stride)
        x = parts.batch_norm(x, decay, f"{name}_shortcut_bn")
    return parts.relu(tf.keras.layers.Add(name=f"{name}_add")([x, y]), f"{name}_out")

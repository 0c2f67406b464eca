"""Pre-activation Wide ResNet (Zagoruyko & Komodakis, 2016), the network of CIFAR-10 and SVHN."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.registry import Counts, network


MOST = 1000     # of depth and of width: beyond it, building the layers would take hours


def check(depth: int, width: int) -> None:
    """Raises ValueError, in one line, for a depth or width that does not exist."""
    for what, value in (("depth", depth), ("width", width)):
        if value > MOST:
            raise ValueError(f"wide ResNet of {what} {value}: expected at most {MOST}")
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"wide ResNet of depth {depth}: the depth has to be 6 n + 4, "
                         "such as 10, 16, 22, 28 or 40")
    if width < 1:
        raise ValueError(f"wide ResNet of width {width}: the width has to be at least 1")


def counts(depth: int, width: int, num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `wide_resnet`; of the activations those of the convolutions."""
    height, wide, channels = input_shape
    weights, kept, filters = 9 * channels * 16, height * wide * 16, 16
    for group, own in enumerate((16 * width, 32 * width, 64 * width)):
        pixels = -(-height // 2 ** group) * -(-wide // 2 ** group)
        for _ in range((depth - 4) // 6):
            weights += 9 * filters * own + 9 * own * own + 4 * (filters + own)  # and batch norm
            kept += 2 * own * pixels
            if filters != own:      # a shortcut
                weights, kept, filters = weights + filters * own, kept + own * pixels, own
    return Counts(weights + 4 * filters + (filters + 1) * num_classes, kept)


@network("wrn-DEPTH-WIDTH", r"wrn-(\d+)-(\d+)", check=check, example="wrn-28-2", counts=counts)
def wide_resnet(depth: int, width: int, num_classes: int,
                input_shape: Sequence[int] = (32, 32, 3), dropout: float = 0.0,
                batch_norm_decay: float = 0.99, name: Optional[str] = None,
                seed: Optional[int] = None) -> tf.keras.Model:
    """WRN-depth-width: images [B, H, W, C] -> logits [B, K].

    A stem of 16 filters is followed by three groups of (depth - 4) / 6 blocks with 16, 32 and 64
    times `width` filters. The second and the third group halve the resolution. A block is two times
    batch norm, ReLU and a 3x3 convolution. Where the number of filters changes, the shortcut is a
    1x1 convolution of the first ReLU's output instead of the identity. WRN-28-2 with 10 classes has
    1,467,610 trainable weights, the paper's "1.5 million".

    Args:
      depth: 6 n + 4, such as 10, 16, 28, 40.
      width: the widening factor, at least 1.
      num_classes: K, at least 2.
      input_shape: [height, width, channels] of an image.
      dropout: the dropout rate at the prediction. Zagoruyko & Komodakis's dropout inside blocks is
        not used.
      batch_norm_decay: the share of themselves that batch norm's averages keep in a training pass.
      name: the model's name.
      seed: the seed of the initial weights; None draws them anew at every build.

    Raises:
      ValueError: in one line, for a depth or width that does not exist, or other arguments that no
        network can be built from.
    """
    parts.check(num_classes, input_shape, batch_norm_decay, rank=3)
    check(depth, width)
    image = parts.image_input(input_shape)
    x = parts.conv(image, 16, 3, "stem", seed)
    for group, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for block in range(1, (depth - 4) // 6 + 1):
            stride = 2 if group > 1 and block == 1 else 1
            x = _block(x, filters, stride, batch_norm_decay, f"group{group}_block{block}", seed)
    x = parts.batch_norm_relu(x, batch_norm_decay, "head")
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)


def _block(x, filters, stride, decay, name, seed):
    activated = parts.batch_norm_relu(x, decay, f"{name}_1")
    if x.shape[-1] != filters:
        x = parts.conv(activated, filters, 1, f"{name}_shortcut", seed, stride)
    y = parts.conv(activated, filters, 3, f"{name}_conv1", seed, stride)
    y = parts.conv(parts.batch_norm_relu(y, decay, f"{name}_2"), filters, 3, f"{name}_conv2", seed)
    return tf.keras.layers.Add(name=f"{name}_add")([x, y])

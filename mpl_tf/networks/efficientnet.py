"""EfficientNet-B0 to B7 (Tan & Le, 2019), the students of Section 4.2, by the efficientnet package.

The package (1.1.1, `efficientnet.model`) lays out the blocks. It takes the module of layers that it
builds them from as an argument. Here it gets layers of ours: dropout whose masks can be drawn
again, initial weights from (seed, layer name), and a stem and strides that suit small images. The
package's weight files fit these networks. Nothing is downloaded.
"""

from __future__ import annotations

import math
import os
from typing import Any, Optional, Sequence

from mpl_tf.common import plain_path
from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts, weight_files
from mpl_tf.networks.registry import network

# size: (width, depth, resolution in Tan & Le's training, dropout at the prediction)
SIZES = {0: (1.0, 1.0, 224, 0.2), 1: (1.0, 1.1, 240, 0.2), 2: (1.1, 1.2, 260, 0.3),
         3: (1.2, 1.4, 300, 0.3), 4: (1.4, 1.8, 380, 0.4), 5: (1.6, 2.2, 456, 0.4),
         6: (1.8, 2.6, 528, 0.5), 7: (2.0, 3.1, 600, 0.5)}
DROP_CONNECT = 0.2      # of all sizes
SMALLEST_MAP = 4        # pixels of the last feature map's side, where the image allows


@network("efficientnet-b0 to -b7", r"efficientnet-b([0-7])")
def efficientnet(size: int, num_classes: int, input_shape: Sequence[int] = (224, 224, 3),
                 dropout: Optional[float] = None, drop_connect: float = DROP_CONNECT,
                 batch_norm_decay: float = 0.99, name: Optional[str] = None,
                 seed: Optional[int] = None, weights: Optional[str] = None,
                 blocks: Optional[Sequence[Any]] = None) -> tf.keras.Model:
    """EfficientNet-B`size`: images [B, H, W, C] -> logits [B, K].

    Five convolutions have stride 2: the stem's, and the first of blocks 2, 3, 4 and 6. With all of
    them an image below 128 pixels would end as a map of one to three pixels. For such an image the
    earliest strides, from the stem's on, are made 1 until the last map has a side of 4 pixels:
    64 pixels keep four strides (the stem's is made 1), 32 pixels keep three (the stem's and block
    2's are made 1), 8 pixels keep one (block 6's). The weights have the same shapes at every
    resolution. Convolutions start as in Tan & Le's code, from N(0, 2 / (k k C_out)).

    Args:
      size: 0 to 7. B0 has 4,049,564 weights before the prediction, B7 has 64,097,680.
      dropout: the dropout rate at the prediction. None stands for Tan & Le's: from B0 to B7 it is
        0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5.
      drop_connect: the highest rate of stochastic depth (Huang et al., 2016). Block b of n, if it
        has a shortcut, is left out of an example's pass with probability drop_connect b / n. (The
        package divides by B0's n for every size, so that B7's last block would come to 0.68.)
      weights: None, or a local file of the package's weights without top
        (`efficientnet-b0_..._notop.h5`), for images of 3 channels; or one of `weight_files.load`.
      blocks: the package's BlockArgs of all blocks, for tests; None stands for Tan & Le's.
      The other arguments and the errors are those of `wide_resnet`.
    """
    parts.check(num_classes, input_shape, batch_norm_decay, rank=3)
    if size not in SIZES:
        raise ValueError(f"EfficientNet of size {size}: expected 0 to 7, as in efficientnet-b0")
    if not 0.0 <= drop_connect < 1.0:
        raise ValueError(f"drop_connect={drop_connect} is outside [0, 1): it is the rate at which "
                         "the last block is left out, 0.2 in the paper")
    whole = weights is not None and weights.endswith((".keras", ".weights.h5"))
    if weights and not os.path.isfile(weights):
        raise ValueError(f"weights={weights}: no such file; expected the efficientnet package's "
                         "weights without top (efficientnet-b0_..._notop.h5), fetched beforehand")
    from efficientnet import model as package
    width, depth, resolution, own_dropout = SIZES[size]
    blocks = package.DEFAULT_BLOCKS_ARGS if blocks is None else blocks
    dropped = strides_dropped(min(input_shape[:2]), 1 + sum(b.strides[0] == 2 for b in blocks))
    unscaled = sum(block.num_repeat for block in blocks)
    total = sum(package.round_repeats(block.num_repeat, depth) for block in blocks)
    image = parts.image_input(input_shape)
    base = package.EfficientNet(
        width, depth, resolution, drop_connect_rate=drop_connect * unscaled / total,
        include_top=False, weights=None,
        blocks_args=_without_strides(blocks, dropped - 1), model_name=f"efficientnet-b{size}",
        layers=_Layers(image, seed, batch_norm_decay, stem_stride=1 if dropped else 2),
        backend=tf.keras.backend, models=tf.keras.models, utils=tf.keras.utils)
    if weights and not whole:
        _load(base, weights)
    x = tf.keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    dropout = own_dropout if dropout is None else dropout
    model = tf.keras.Model(image, parts.prediction(x, num_classes, dropout, seed), name=name)
    if whole:
        weight_files.load(model, weights)
    return model


def strides_dropped(side: int, strides: int = 5) -> int:
    """How many of the first of `strides` strides of 2 are made 1 for images of `side` pixels."""
    return strides - min(strides, int(math.log2(max(side // SMALLEST_MAP, 1))))


def _without_strides(blocks, count):
    """`blocks` with the first `count` strides of 2 made 1."""
    result = []
    for block in blocks:
        if block.strides[0] == 2 and count > 0:
            block, count = block._replace(strides=[1, 1]), count - 1
        result.append(block)
    return result


def _load(base, path):
    try:
        base.load_weights(plain_path.plain(path))
    except Exception as error:      # h5py's errors and Keras's, of many types
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"weights={path} does not fit {base.name} ({type(error).__name__}: "
                         f"{reason}): expected its file without top, for 3 channels") from error


class _Layers:
    """Takes the place of `keras.layers` in the package. What is not defined here is Keras's own."""

    def __init__(self, image, seed, batch_norm_decay, stem_stride):
        self._image, self._seed = image, seed
        self._decay, self._stem_stride = batch_norm_decay, stem_stride

    def __getattr__(self, name):
        return getattr(tf.keras.layers, name)

    def Input(self, shape):
        return self._image

    def Conv2D(self, filters, size, name, kernel_initializer, activation=None, strides=(1, 1),
               **kwargs):
        if name == "stem_conv":
            strides = self._stem_stride
        return tf.keras.layers.Conv2D(
            filters, size, strides=strides, activation=_known(activation), name=name,
            kernel_initializer=self._initializer(name), **kwargs)

    def DepthwiseConv2D(self, size, name, depthwise_initializer, **kwargs):
        return tf.keras.layers.DepthwiseConv2D(
            size, name=name, depthwise_initializer=self._initializer(name), **kwargs)

    def BatchNormalization(self, axis, name):
        return parts.batch_norm_layer(self._decay, name, axis)

    def Activation(self, activation, name):
        return tf.keras.layers.Activation(_known(activation), name=name)

    def _initializer(self, name):
        return parts.kernel_initializer(self._seed, name, 2.0, "fan_out", "untruncated_normal")

    class Dropout:
        """The package derives a class from this one; a call of that class makes a layer of ours."""

        def __new__(cls, rate, noise_shape, name):
            from mpl_tf.networks import layers
            return layers.ReplayableDropout(rate, noise_shape=noise_shape, name=name)


def _known(activation):
    """An activation by name: a function is the package's swish, which cannot be saved as it is."""
    return "swish" if callable(activation) else activation

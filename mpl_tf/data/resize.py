"""Crops and resizes decoded images in TensorFlow as `shards.crops` does with Pillow.

For exported models, which have to see an image of any size as the run's evaluation saw it. Pillow
decodes a JPEG that is at least twice as large as its crop's result at 1/2, 1/4 or 1/8, where a pixel
is about the mean of those that it stands for. It then resizes along rows, and then along columns,
with a triangle as wide as the pixels that it unites, and rounds to whole levels each time.
tf.image.resize rounds nowhere, and ignores what lies around a crop. As products of matrices the same
runs on any device and converts to TFLite and ONNX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mpl_tf.shards import crops


def evaluation_pixels(images: tf.Tensor, size: int, crop: str) -> tf.Tensor:
    """The central squares of images, resized: whole numbers 0..255, float32 [B, size, size, C].

    Args:
      images: pixels 0..255 of any type, [B, H, W, C]; a symbolic tensor of Keras's too.
      size: side of the results, pixels.
      crop: one of crops.CROPS, as of `crops.evaluation_crop`.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    part = crops.CENTRE if crop == "inception" else 1.0
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(tf.cast(tf.round(part * shorter), tf.int32), 1)
    reduced = _reduction(height, width, tf.cast(side, tf.float32) / size)
    channels = images.shape[-1]
    # Neither Keras nor a signature would say so: other channels would become other images.
    images = tf.ensure_shape(images, [None, None, None, channels], name=f"image_of_{channels}_channels")
    columns = tf.transpose(tf.cast(images, tf.float32), [0, 2, 1, 3])
    columns = tf.reshape(columns, [-1, width, height * channels])
    columns = _levels(tf.matmul(_shares(width, side, size, reduced), columns))
    rows = tf.transpose(tf.reshape(columns, [-1, size, height, channels]), [0, 2, 1, 3])
    rows = tf.reshape(rows, [-1, height, size * channels])
    rows = _levels(tf.matmul(_shares(height, side, size, reduced), rows))
    return tf.reshape(rows, [-1, size, size, channels])


def symbolic_pixels(images: Any, size: int, crop: str) -> Any:
    """`evaluation_pixels` of a symbolic tensor of Keras 3, which knows no length of unknown axes.

    So the numbers of rows and columns are counted by sums over ones.
    """
    ops = tf.keras.ops
    # Keras takes other channels for an image of one channel, or one for another's: this refuses them.
    images = ops.stack(ops.unstack(images, images.shape[-1], axis=-1), axis=-1)
    images = ops.cast(images, "float32")
    ones = ops.ones_like(ops.take(images, 0, axis=-1))
    rows, columns = (ops.cumsum(ops.take(ones, 0, axis=axis), axis=1) - 1.0 for axis in (2, 1))
    lengths = [ops.max(places, axis=1, keepdims=True) + 1.0 for places in (rows, columns)]
    part = crops.CENTRE if crop == "inception" else 1.0
    side = ops.maximum(ops.round(part * ops.minimum(*lengths)), 1.0)
    scale = side / size
    times = ops.minimum(*(ops.floor(length / ops.ceil(length / ops.maximum(scale, 1.0)))
                          for length in lengths))
    reduced = 2.0 ** sum(ops.cast(ops.greater_equal(times, limit), "float32")
                         for limit in (2.0, 4.0, 8.0))

    def shares(places, length):
        smaller = ops.ceil(length / reduced) / length
        start = ops.floor((length - side) / 2.0)
        middles = (np.arange(size, dtype=np.float32) + 0.5)[None]
        centres = ops.expand_dims((start + scale * middles) * smaller, 2)
        pixels = ops.expand_dims(ops.floor(places / reduced) + 0.5, 1)
        width = ops.expand_dims(ops.maximum(scale * smaller, 1.0), 2)
        found = ops.relu(1.0 - ops.abs(pixels - centres) / width)
        return found / ops.sum(found, axis=2, keepdims=True)

    def levels(pixels):
        return ops.clip(ops.floor(pixels + 0.5), 0.0, 255.0)

    images = levels(ops.einsum("bhwc,bsw->bhsc", images, shares(columns, lengths[1])))
    return levels(ops.einsum("bhsc,bth->btsc", images, shares(rows, lengths[0])))


def _reduction(height, width, scale):
    """What a JPEG is divided by in decoding for crops `scale` times their results: 1, 2, 4 or 8."""
    times = tf.minimum(*(
        tf.floor(length / tf.math.ceil(length / tf.maximum(scale, 1.0)))
        for length in (tf.cast(height, tf.float32), tf.cast(width, tf.float32))))
    return 2.0 ** tf.reduce_sum(tf.cast([times >= 2.0, times >= 4.0, times >= 8.0], tf.float32))


def _shares(length, side, size, reduced):
    """How much of each of `length` pixels is in each of `size` results: float32 [size, length]."""
    all_pixels = tf.cast(length, tf.float32)
    smaller = tf.math.ceil(all_pixels / reduced) / all_pixels
    scale = tf.cast(side, tf.float32) / size
    start = tf.cast((length - side) // 2, tf.float32)
    centres = (start + (tf.range(size, dtype=tf.float32) + 0.5) * scale) * smaller
    pixels = tf.floor(tf.range(all_pixels) / reduced) + 0.5     # of the decoding that was reduced
    distances = tf.abs(pixels[None, :] - centres[:, None]) / tf.maximum(scale * smaller, 1.0)
    shares = tf.nn.relu(1.0 - distances)
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)


def _levels(pixels):
    return tf.clip_by_value(tf.floor(pixels + 0.5), 0.0, 255.0)

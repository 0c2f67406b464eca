"""Crops and resizes decoded images in TensorFlow as `shards.crops` does with Pillow.

For exported models, which have to see an image of any size as the run's evaluation saw it. Pillow
resizes along rows and then along columns, with a triangle as wide as the pixels that it unites, and
rounds to whole levels each time; tf.image.resize rounds nowhere and ignores what lies around a crop.
As products of matrices the same runs on any device and converts to TFLite and ONNX.

The pixels are Pillow's to one level of 255, where float32 rounds a tie to the other side. A JPEG
that is more than twice as large is decoded at 1/2, 1/4 or 1/8 by an evaluation, but not by whoever
decodes it whole: its pixels differ by a few levels.
"""

from __future__ import annotations

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
    channels = images.shape[-1]
    columns = tf.transpose(tf.cast(images, tf.float32), [0, 2, 1, 3])
    columns = tf.reshape(columns, [-1, width, height * channels])
    columns = _levels(tf.matmul(_shares(width, side, size), columns))
    rows = tf.transpose(tf.reshape(columns, [-1, size, height, channels]), [0, 2, 1, 3])
    rows = tf.reshape(rows, [-1, height, size * channels])
    rows = _levels(tf.matmul(_shares(height, side, size), rows))
    return tf.reshape(rows, [-1, size, size, channels])


def _shares(length, side, size):
    """How much of each of `length` pixels is in each of `size` results: float32 [size, length]."""
    scale = tf.cast(side, tf.float32) / size
    start = tf.cast((length - side) // 2, tf.float32)
    centres = start + (tf.range(size, dtype=tf.float32) + 0.5) * scale
    pixels = tf.range(tf.cast(length, tf.float32)) + 0.5
    distances = tf.abs(pixels[None, :] - centres[:, None]) / tf.maximum(scale, 1.0)
    shares = tf.nn.relu(1.0 - distances)
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)


def _levels(pixels):
    return tf.clip_by_value(tf.floor(pixels + 0.5), 0.0, 255.0)

"""TensorFlow Addons as an oracle for image operations: the one module that imports it.

It exists for TensorFlow 2.15 only; `available` says whether it could be imported.
"""

import math

import tensorflow as tf

try:
    import tensorflow_addons as tfa
    available = True
except ImportError:
    available = False

FILL = 128.0


OUTSIDE = dict(interpolation="nearest", fill_mode="constant", fill_value=FILL)


def _each(function):
    """function(image, value) on each image of uint8 [B, H, W, 3] with its own value."""
    return lambda images, values: tf.stack(
        [function(image, float(value)) for image, value in zip(images, values)])


def _shear(function):
    grey = tf.constant([int(FILL)] * 3, tf.uint8)
    return _each(lambda image, level: function(tf.constant(image), level, grey))


OPERATIONS = {
    "rotate": _each(lambda image, degrees: tfa.image.rotate(
        image, degrees * math.pi / 180, **OUTSIDE)),
    "shear_x": _shear(lambda *arguments: tfa.image.shear_x(*arguments)),
    "shear_y": _shear(lambda *arguments: tfa.image.shear_y(*arguments)),
    "translate_x": _each(lambda image, pixels: tfa.image.translate(
        image, [pixels, 0.0], **OUTSIDE)),
    "translate_y": _each(lambda image, pixels: tfa.image.translate(
        image, [0.0, pixels], **OUTSIDE)),
    "transform": _each(lambda image, v: tfa.image.transform(
        image, [1 + v, v / 2, -v, -v / 3, 1 - v, 2 * v, 0.0, 0.0], **OUTSIDE)),
    "sharpness": _each(lambda image, factor: tfa.image.sharpness(image, factor)),
    "equalize": lambda images, _: tfa.image.equalize(images),
    "cutout": lambda images, half: tfa.image.cutout(
        images, (2 * int(half[0]), 2 * int(half[0])), (10, 20), int(FILL)),
}

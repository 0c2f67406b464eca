"""TensorFlow Addons, against which our image operations are tested and timed.

No other module imports TensorFlow Addons. It exists for TensorFlow 2.15 only; `available` says
whether it could be imported.
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
    """Applies function(image, value) to each image of uint8 [B, H, W, 3], with its own value."""
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


# ------------------------------------------------------------------- RandAugment, image by image

def _autocontrast(image):
    x = tf.cast(image, tf.float32)
    low, high = tf.reduce_min(x, axis=[0, 1]), tf.reduce_max(x, axis=[0, 1])
    scaled = tf.clip_by_value((x - low) * 255.0 / tf.maximum(high - low, 1.0), 0.0, 255.0)
    return tf.cast(tf.where(high > low, scaled, x), tf.uint8)


def policy(magnitude, size):
    """The 14 published operations, as usually written: functions of one image uint8 [H, W, 3]."""
    m, grey = magnitude / 10.0, [int(FILL)] * 3
    pixels = size * 150 / 331 * m
    return [
        lambda image: image,
        _autocontrast,
        tfa.image.equalize,
        lambda image: tfa.image.rotate(image, 30 * m * math.pi / 180, **OUTSIDE),
        lambda image: tf.where(image < int(255 * (1 - m)), image, 255 - image),
        lambda image: tf.image.adjust_saturation(image, 1 + 0.9 * m),
        lambda image: tf.bitwise.left_shift(tf.bitwise.right_shift(image, 2), 2),
        lambda image: tf.image.adjust_contrast(image, 1 + 0.9 * m),
        lambda image: tf.cast(tf.clip_by_value(
            tf.cast(image, tf.float32) * (1 + 0.9 * m), 0, 255), tf.uint8),
        lambda image: tfa.image.sharpness(image, 1 + 0.9 * m),
        lambda image: tfa.image.shear_x(image, 0.3 * m, grey),
        lambda image: tfa.image.shear_y(image, 0.3 * m, grey),
        lambda image: tfa.image.translate(image, [pixels, 0.0], **OUTSIDE),
        lambda image: tfa.image.translate(image, [0.0, pixels], **OUTSIDE)]


def rand_augment(image, chosen, magnitude):
    """Applies the operations `chosen`, int32 [layers], to `image`, uint8 [H, W, 3].

    Each layer is a switch between all operations.
    """
    operations = policy(magnitude, image.shape[0])
    for layer in range(chosen.shape[0]):
        image = tf.switch_case(chosen[layer], [
            lambda operation=operation: tf.ensure_shape(operation(image), image.shape)
            for operation in operations])
    return image

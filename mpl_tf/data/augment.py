"""Makes weak and strong views of image batches, each a function of (seed, example, epoch) alone.

Random numbers are computed from a counter, not from a state (common/random_bits.py): the same
example in the same epoch of the same run gets the same view in any batch, on any replica, after any
restart, on both supported versions of TensorFlow.

RandAugment (Cubuk et al., arXiv 1909.13719) draws an operation per image and layer. A `switch`
per image would spend its time in dispatch, so a layer sorts the batch by operation, runs each
operation once on its group, and puts the batch together again.
"""

from __future__ import annotations

from typing import Sequence

import tensorflow as tf

from mpl_tf.common.random_bits import integers, random_bits, uniforms   # noqa: F401
from mpl_tf.data import image_ops

# "published" are the operations of the RandAugment paper, "released" those of its TensorFlow code.
OPERATIONS = {
    "published": ("Identity", "AutoContrast", "Equalize", "Rotate", "Solarize", "Color",
                  "Posterize", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY",
                  "TranslateX", "TranslateY"),
    "released": ("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color",
                 "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX",
                 "TranslateY", "Cutout", "SolarizeAdd"),
}
MAX_MAGNITUDE = 10.0


# --------------------------------------------------------------------------------- arguments

def argument(name: str, magnitude: float, sign: tf.Tensor, size: int,
             published: bool = True) -> tf.Tensor | None:
    """Computes the argument [B] of an operation from a magnitude; None where it takes none.

    Args:
      name: an operation's name.
      magnitude: float, 0 to 10.
      sign: float32 [B], -1.0 or 1.0.
      size: the side of the image in pixels, which scales translations and Cutout.
      published: True: magnitude 0 leaves the image as it is and 10 reaches the ends of the
        published ranges (AutoAugment's Table 6): shear 0.3, translation 150/331 of the side,
        rotation 30 degrees, solarize threshold 0, 4 bits, factors 1 +- 0.9. False: what the
        released code of Meta Pseudo Labels computes. There the factor goes from 0.1 to 1.9, so that
        5 is mild; a larger magnitude keeps more bits and solarizes less; translations reach
        size / 8.
    """
    m = magnitude / MAX_MAGNITUDE
    same = tf.ones_like(sign)
    if name == "Rotate":
        return 30.0 * m * sign
    if name in ("ShearX", "ShearY"):
        return 0.3 * m * sign
    if name in ("TranslateX", "TranslateY"):
        return (size * 150 / 331 if published else size // 8) * m * sign
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return 1.0 + 0.9 * m * sign if published else (0.1 + 1.8 * m) * same
    if name == "Posterize":
        return (8 - round(4 * m) if published else int(4 * m)) * same
    if name == "Solarize":
        return (256 - int(256 * m) if published else int(256 * m)) * same
    if name == "SolarizeAdd":
        return int(110 * m) * same
    if name == "Cutout":
        return int(size // 8 * m) * same
    return None


_FUNCTIONS = {
    "Identity": image_ops.identity, "AutoContrast": image_ops.autocontrast,
    "Equalize": image_ops.equalize, "Invert": image_ops.invert,
    "Posterize": image_ops.posterize, "Solarize": image_ops.solarize, "Color": image_ops.color,
    "Contrast": image_ops.contrast, "Brightness": image_ops.brightness,
    "Sharpness": image_ops.sharpness, "SolarizeAdd": image_ops.solarize_add,
}
# (argument, H, W) -> [B, 6] for image_ops.transform
_MATRICES = {
    "Rotate": image_ops.rotation,
    "ShearX": lambda level, height, width: image_ops.matrix(b=level),
    "ShearY": lambda level, height, width: image_ops.matrix(d=level),
    "TranslateX": lambda pixels, height, width: image_ops.matrix(c=-pixels),
    "TranslateY": lambda pixels, height, width: image_ops.matrix(f=-pixels),
}


def apply(names: tuple[str, ...], images: tf.Tensor, which: tf.Tensor, u: tf.Tensor,
          magnitude: float, published: bool = True) -> tf.Tensor:
    """Applies one operation to all images, or to each image one of several geometric operations.

    Args:
      names: tuple of one name, or of several geometric ones.
      images: float32 [B, H, W, C], whole numbers 0..255.
      which: int32 [B], index into names.
      u: float32 [B, 2], uniform: the first decides the sign (or Cutout's row), the second
        Cutout's column.
      magnitude, published: see `argument`.

    Returns:
      float32, shape of the images.
    """
    height, width = images.shape[1:3]
    sign = tf.where(u[:, 0] < 0.5, -1.0, 1.0)
    values = [argument(name, magnitude, sign, height if name == "TranslateY" else width, published)
              for name in names]
    if names[0] in _MATRICES:
        matrices = [_MATRICES[name](value, height, width) for name, value in zip(names, values)]
        return image_ops.transform(images, tf.gather(tf.stack(matrices, 1), which, batch_dims=1))
    name, value = names[0], values[0]
    if name == "Cutout":
        return image_ops.cutout(images, integers(u[:, 0], height), integers(u[:, 1], width),
                                tf.cast(value, tf.int32))
    return _FUNCTIONS[name](images) if value is None else _FUNCTIONS[name](images, value)


# ------------------------------------------------------------------------------------- views

def check_rand_augment(layers: int, magnitude: float,
                       operations: str | Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Returns (names of the operations, whether they use the published arguments).

    Raises:
      ValueError: in one line: an operation is unknown, or a number is out of range.
    """
    names = OPERATIONS.get(operations, operations) if isinstance(operations, str) else operations
    known = (*_FUNCTIONS, *_MATRICES, "Cutout")
    if isinstance(names, str) or not names or any(name not in known for name in names):
        raise ValueError(f"RandAugment operations {operations!r} are unknown: give 'published', "
                         f"'released' or a tuple of names out of {', '.join(known)}")
    if layers < 0 or not 0 <= magnitude <= MAX_MAGNITUDE:
        raise ValueError(f"RandAugment layers {layers}, magnitude {magnitude}: layers must not be "
                         f"negative, and the magnitude must lie in 0-{MAX_MAGNITUDE:g}")
    return tuple(names), operations != "released"


def check_crops(side: int, padding: int | None, cutout: int | None) -> tuple[int, int]:
    """(padding, cutout) of images of `side` pixels; None: an eighth of the side, and half of it.

    Raises:
      ValueError: in one line, for an impossible one.
    """
    padding = side // 8 if padding is None else padding
    cutout = side // 4 * 2 if cutout is None else cutout
    if not 0 <= padding < side:
        raise ValueError(f"padding {padding} is outside 0-{side - 1} for images of {side} "
                         "pixels: give a smaller one")
    if cutout < 0 or cutout % 2:
        raise ValueError(f"cutout {cutout} must be even and not negative: it is the side of a "
                         "square in pixels")
    return padding, cutout


def rand_augment(images: tf.Tensor, u: tf.Tensor, layers: int = 2, magnitude: float = 10.0,
                 operations: str | Sequence[str] = "published") -> tf.Tensor:
    """RandAugment: applies `layers` operations, drawn uniformly, to each image.

    Args:
      images: float32 [B, H, W, C], whole numbers 0..255.
      u: float32 [B, 1 + 4 * layers], uniform.
      layers: operations per image (the paper's N).
      magnitude: 0 to 10 (the paper's M).
      operations: "published", "released", or a tuple of names. The released code also skips each
        operation with a probability drawn per image from [0.2, 0.8]; so does "released" here.

    Returns:
      float32 [B, H, W, C], whole numbers 0..255.
    """
    names, published = check_rand_augment(layers, magnitude, operations)
    for layer in range(layers):
        images = tf.ensure_shape(
            _layer(images, u[:, 1 + 4 * layer:5 + 4 * layer],
                   None if published else 0.2 + 0.6 * u[:, 0], names, float(magnitude)),
            images.shape)
    return images


@tf.function(autograph=False)   # traced once for all layers and pipelines alike: it takes a second
def _layer(images, u, skip_above, names, magnitude):
    """One layer of `rand_augment`; u [B, 4], skip_above [B] or None for the published arguments."""
    published = skip_above is None
    # The geometric operations form one group, with a matrix for each image.
    drawn = names if published else (*names, "Identity")
    geometric = tuple(name for name in drawn if name in _MATRICES)
    groups = ([geometric] if geometric else []) + [(n,) for n in drawn if n not in geometric]
    group_of = [next(i for i, group in enumerate(groups) if name in group) for name in drawn]
    place_of = [groups[i].index(name) for i, name in zip(group_of, drawn)]
    choice, own = integers(u[:, 0], len(names)), u[:, 2:]
    if not published:
        choice = tf.where(u[:, 1] > skip_above, len(names), choice)
    place = tf.gather(place_of, choice)
    members = tf.dynamic_partition(
        tf.range(tf.shape(images)[0]), tf.gather(group_of, choice), len(groups))
    return tf.dynamic_stitch(members, [
        apply(group, *(tf.gather(values, member) for values in (images, place, own)), magnitude,
              published) for group, member in zip(groups, members)])


def weak(images: tf.Tensor, u: tf.Tensor, padding: int, flip: bool) -> tf.Tensor:
    """Crops at random from the reflect-padded image and, if `flip`, mirrors with probability 1/2.

    Args:
      images: [B, H, W, C], any dtype.
      u: float32 [B, 3], uniform.
      padding: pixels on each side, 0 to min(H, W) - 1.
      flip: whether images may be mirrored, because a mirror image still belongs to its class.

    Returns:
      Shape and dtype of the images.
    """
    if not padding and not flip:
        return images
    if not padding:     # much faster than a gather
        return tf.where(u[:, 2, tf.newaxis, tf.newaxis, tf.newaxis] < 0.5, images[:, :, ::-1],
                        images)
    down, right = (integers(u[:, i], 2 * padding + 1) for i in range(2))
    return image_ops.crop_and_flip(images, down, right, (u[:, 2] < 0.5) & flip, padding)


def weak_view(images: tf.Tensor, seed: int, examples: tf.Tensor, epochs: tf.Tensor, stream: int,
              padding: int = 4, flip: bool = True) -> tf.Tensor:
    """The weak view, crop and flip: float32 [B, H, W, C], whole numbers 0..255; see strong_view."""
    u = uniforms(seed, examples, epochs, 3, stream)
    return tf.cast(weak(images, u, padding, flip), tf.float32)


def strong_view(images: tf.Tensor, seed: int, examples: tf.Tensor, epochs: tf.Tensor, stream: int,
                padding: int = 4, flip: bool = True, layers: int = 2, magnitude: float = 10.0,
                operations: str | Sequence[str] = "published", cutout: int = 16) -> tf.Tensor:
    """The strong view: crop and flip, then RandAugment, then Cutout.

    Args:
      images: uint8 [B, H, W, C].
      seed, stream: Python ints; examples, epochs: integer [B]; see random_bits.uniforms.
      padding, flip: see `weak`. layers, magnitude, operations: see `rand_augment`.
      cutout: side of Cutout's square in pixels, even; its centre is uniform over the image. 0:
        no Cutout.

    Returns:
      float32 [B, H, W, C], whole numbers 0..255.
    """
    u = uniforms(seed, examples, epochs, 6 + 4 * layers, stream)
    images = tf.cast(weak(images, u[:, :3], padding, flip), tf.float32)
    images = rand_augment(images, u[:, 5:], layers, magnitude, operations)
    if cutout:
        row, column = (integers(u[:, 3 + i], images.shape[1 + i]) for i in range(2))
        images = image_ops.cutout(images, row, column, tf.fill(tf.shape(row), cutout // 2))
    return images


def inception_color(images: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Distorts colours at random as in the training of Szegedy et al.'s Inception networks.

    In this order: brightness changes by at most 32 of 255, saturation is multiplied by 0.5-1.5, hue
    turned by at most 0.2 of the circle, and contrast (about each channel's mean) multiplied by
    0.5-1.5.

    Args:
      images: float32 [B, H, W, C], 0..255; returned as they are unless C = 3.
      u: float32 [B, 4], uniform, one for each distortion.

    Returns:
      float32, shape of the images, 0..255.
    """
    if images.shape[-1] != 3:
        return images
    brightness, saturation, hue, contrast = (
        u[:, i, tf.newaxis, tf.newaxis, tf.newaxis] for i in range(4))
    x = tf.clip_by_value(images / 255.0 + (2.0 * brightness - 1.0) * (32.0 / 255.0), 0.0, 1.0)
    h, s, v = tf.split(tf.image.rgb_to_hsv(x), 3, axis=-1)
    h = tf.math.floormod(h + (2.0 * hue - 1.0) * 0.2, 1.0)
    s = tf.clip_by_value(s * (0.5 + saturation), 0.0, 1.0)
    x = tf.image.hsv_to_rgb(tf.concat([h, s, v], axis=-1))
    mean = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    return 255.0 * tf.clip_by_value((x - mean) * (0.5 + contrast) + mean, 0.0, 1.0)


def normalize(images: tf.Tensor) -> tf.Tensor:
    """Maps 0..255 to float32 in [-1, 1]: x / 127.5 - 1."""
    return tf.cast(images, tf.float32) * (1 / 127.5) - 1.0

"""Decodes crops of image files: Inception's random ones for training, a central one to evaluate."""

from __future__ import annotations

import math
from typing import Callable, Tuple

import numpy as np
from PIL import Image

from mpl_tf.shards.image_files import opened

# How an image is cropped. "whole": always its central square, for images that were prepared at
# their size. "inception": a random crop for training, the central 87.5 % for evaluation.
CROPS = ("whole", "inception")
ATTEMPTS = 10               # to find an Inception crop that fits
AREA = (0.08, 1.0)          # of an Inception crop, as a fraction of the image's
RATIO = (3 / 4, 4 / 3)      # of an Inception crop, width / height
CENTRE = 0.875              # side of the evaluated crop, as a fraction of the shorter side
Box = Tuple[int, int, int, int]     # (left, top, right, bottom), pixels


def inception_box(height: int, width: int, u: np.ndarray) -> Box:
    """Chooses a random crop (Szegedy et al., 2015): 8-100 % of the area, width / height 3/4-4/3.

    Args:
      height, width: of the image, pixels.
      u: float [ATTEMPTS, 4], uniform in [0, 1): area, ratio, row and column of each attempt. The
        first crop that fits is taken; where none does, the central one of the nearest ratio.

    Returns:
      (left, top, right, bottom), pixels.
    """
    for area, ratio, row, column in np.asarray(u, float).reshape(ATTEMPTS, 4):
        pixels = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
        ratio = RATIO[0] + ratio * (RATIO[1] - RATIO[0])
        wide, high = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(column * (width - wide + 1)), int(row * (height - high + 1))
            return left, top, left + wide, top + high
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    wide, high = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + max(wide, 1), top + max(high, 1)


def central_box(height: int, width: int, part: float = 1.0) -> Box:
    """The central square (left, top, right, bottom) whose side is `part` of the shorter side."""
    side = max(round(part * min(height, width)), 1)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decode(encoded: bytes, boxes_of: Callable[[int, int], list[Box]], size: int) -> np.ndarray:
    """Decodes an image file once and resizes crops of it, antialiased bilinear.

    Args:
      encoded: the image file, see image_files.
      boxes_of: function (height, width) -> list of boxes (left, top, right, bottom).
      size: side of the results, pixels.

    Returns:
      uint8 [number of boxes, size, size, 3]; where a box is the whole image and has that size
      already, its pixels are copied.

    Raises:
      image_files.BadImage: the image has too many pixels. Pillow raises any exception for bytes
        that it cannot read.
    """
    with opened(encoded) as image:
        width, height = image.size
        boxes = boxes_of(height, width)
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where every crop is still larger than its result.
        scale = min(min(right - left, bottom - top) for left, top, right, bottom in boxes) / size
        if scale >= 2:
            image.draft("RGB", (math.ceil(width / scale), math.ceil(height / scale)))
        drafted = image.convert("RGB")
    x, y = drafted.width / width, drafted.height / height
    return np.stack([_resized(drafted, (left * x, top * y, right * x, bottom * y), size)
                     for left, top, right, bottom in boxes])


def evaluation_crop(encoded: bytes, size: int, crop: str) -> np.ndarray:
    """Decodes an image file to uint8 [size, size, 3] as every evaluation sees it.

    Args:
      encoded: the image file. size: side of the result, pixels. crop: one of CROPS.

    Raises:
      As `decode`.
    """
    part = CENTRE if crop == "inception" else 1.0
    return decode(encoded, lambda height, width: [central_box(height, width, part)], size)[0]


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square of uint8 [H, W, C], resized as `decode` does; C is what Pillow has, 1 to 4."""
    height, width, channels = pixels.shape
    if (height, width) == (size, size):
        return pixels
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return _resized(image, central_box(height, width), size).reshape(size, size, channels)


def _resized(image, box, size):
    if image.size == (size, size) and box == (0, 0, size, size):
        return np.asarray(image)
    return np.asarray(image.resize((size, size), Image.BILINEAR, box=box))

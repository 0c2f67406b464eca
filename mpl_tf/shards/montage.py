"""Draws small images with captions on one sheet, for people to look at."""

from __future__ import annotations

import os
from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mpl_tf.common import pictures

TILE, COLUMNS = 96, 8       # side of a tile in pixels; tiles in a row
LETTERS = 10                # height of a caption's letters in pixels


def tile(image: Image.Image) -> Image.Image:
    """Fits a Pillow image of any size and mode into TILE x TILE RGB pixels, not distorted."""
    image = image.convert("RGB")
    small = image.width < TILE and image.height < TILE
    scale = TILE / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    method = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    result = Image.new("RGB", (TILE, TILE), "white")
    result.paste(image.resize(size, method))
    return result


def sheet(tiles: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Draws all `tiles` as one Pillow image, COLUMNS in a row.

    Args:
      tiles: at least one (caption, uint8 [TILE, TILE, 3]). A caption may be any text; of one that is
        longer than its tile the middle is left out.
    """
    import matplotlib
    # Pillow's own font lacks letters, before version 10.1 all but those of Western Europe.
    font = ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), LETTERS)
    columns = min(COLUMNS, len(tiles))
    rows, height = -(-len(tiles) // columns), TILE + 14
    result = Image.new("RGB", (columns * (TILE + 4), rows * height), "white")
    pen = ImageDraw.Draw(result)
    for i, (caption, pixels) in enumerate(tiles):
        x, y = i % columns * (TILE + 4), i // columns * height
        result.paste(Image.fromarray(pixels), (x, y))
        pen.text((x, y + TILE), pictures.shortened(caption, lambda text: font.getlength(text) <= TILE),
                 fill="black", font=font)
    return result

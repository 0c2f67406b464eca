"""Draws small images with captions on one sheet, for people to look at."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw

TILE, COLUMNS = 96, 8       # side of a tile in pixels; tiles in a row


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
      tiles: at least one (caption, uint8 [TILE, TILE, 3]); 15 characters of a caption are shown.
    """
    columns = min(COLUMNS, len(tiles))
    rows, height = -(-len(tiles) // columns), TILE + 14
    result = Image.new("RGB", (columns * (TILE + 4), rows * height), "white")
    pen = ImageDraw.Draw(result)
    for i, (caption, pixels) in enumerate(tiles):
        x, y = i % columns * (TILE + 4), i // columns * height
        result.paste(Image.fromarray(pixels), (x, y))
        pen.text((x, y + TILE), caption.encode("ascii", "replace").decode()[:15], fill="black")
    return result

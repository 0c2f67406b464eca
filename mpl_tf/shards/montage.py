"""Small images with captions on one sheet, for people to look at."""

from PIL import Image, ImageDraw

TILE, COLUMNS = 96, 8       # pixels of a side of a tile; tiles in a row


def tile(image):
    """A Pillow image of any size and mode -> one of TILE x TILE pixels, RGB, its shape kept."""
    image = image.convert("RGB")
    small = image.width < TILE and image.height < TILE
    scale = TILE / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    method = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    result = Image.new("RGB", (TILE, TILE), "white")
    result.paste(image.resize(size, method))
    return result


def sheet(tiles):
    """A Pillow image of all `tiles`, COLUMNS in a row.

    Args:
      tiles: list of (caption, uint8 [TILE, TILE, 3]); 15 characters of a caption are shown.
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

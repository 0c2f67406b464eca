"""Opens the bytes of image files, and converts them to the formats that records hold.

`opened` is the only place that gives bytes to a decoder. `convert` turns a file of any kind into an
RGB JPEG or PNG that TensorFlow decodes too. The bytes of an RGB JPEG stay as they are, whatever the
file is called. Anything else is decoded and written anew as JPEG of quality 95: CMYK and YCCK, PNG,
GIF (its first picture), BMP, WebP, TIFF, greyscale (made RGB), palettes, 16 bits (the upper 8
remain), transparency (put on white).

EXIF orientation: photographs that people take need it applied, and `orient` does; ImageNet's files
are used without it by everybody, so data_prep.imagenet leaves it alone, and with it the original
bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from typing import Iterator

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff",
            ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow's; not EPS: that runs code
OF_RECORDS = ("JPEG", "PNG")    # the formats in records that data_prep writes
MAX_PIXELS = 150_000_000        # 450 MB decoded; a larger one is taken for a decompression bomb
QUALITY = 95
_ORIENTATION = 0x0112           # EXIF


class BadImage(ValueError):
    """Bytes are not a readable image; the message is one line without the file's name."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An image file for a record: its bytes, pixels high and wide, and "JPEG" or "PNG"."""
    encoded: bytes
    height: int
    width: int
    format: str


@contextlib.contextmanager
def opened(data: bytes, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Context manager that opens an image file's bytes as a Pillow image, not decoded yet.

    Args:
      data: the image file. formats: Pillow's names of the formats to try.

    Raises:
      BadImage: the image has more than MAX_PIXELS pixels. Pillow raises any exception for bytes
        that it cannot read, here or when the image is decoded.
    """
    with Image.open(io.BytesIO(data), formats=formats) as image:
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"the image has {image.width} x {image.height} pixels, more than "
                           f"{MAX_PIXELS}; make it smaller")
        yield image


def convert(data: bytes, orient: bool = False, size: int | None = None) -> Encoded:
    """Converts an image file of any kind to a JPEG or PNG for a record.

    Args:
      data: the image file.
      orient: applies the EXIF orientation.
      size: cuts out the central square, resizes it to size x size pixels and writes PNG; None:
        keeps the image's size.

    Raises:
      BadImage: `data` is no image, is truncated or damaged, or has more than MAX_PIXELS pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # of Pillow, about large images and odd EXIF
            with opened(data) as image:
                image.load()
                turned = orient and image.getexif().get(_ORIENTATION, 1) in range(2, 9)
                if size is None and not turned and image.mode == "RGB" and is_plain_jpeg(data):
                    return Encoded(data, image.height, image.width, "JPEG")
                image = ImageOps.exif_transpose(image) if turned else image
                image = to_rgb(image)
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
            return encode_png(np.asarray(image))
        stream = io.BytesIO()
        Image.fromarray(np.asarray(image)).save(stream, "JPEG", quality=QUALITY, subsampling=0)
        return Encoded(stream.getvalue(), image.height, image.width, "JPEG")
    except (BadImage, MemoryError):
        raise
    except Exception as error:      # a damaged file can make Pillow raise nearly anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        if "cannot identify" in reason:
            reason = "no image file of a known kind"
        raise BadImage(f"{reason} ({len(data)} bytes)") from error


def encode_png(pixels: np.ndarray) -> Encoded:
    """Encodes uint8 [H, W, 3] as PNG, lossless."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return Encoded(stream.getvalue(), pixels.shape[0], pixels.shape[1], "PNG")


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a loaded Pillow image of any mode to mode RGB; BadImage for float pixels."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if not np.issubdtype(values.dtype, np.integer):
            raise BadImage(f"pixels of mode {image.mode} have no fixed range; convert the image")
        high = 16 if image.mode.startswith("I;16") or values.max() > 255 else 8
        values = (np.clip(values, 0, 2 ** high - 1) >> (high - 8)).astype(np.uint8)
        return Image.fromarray(values).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        if image.mode in ("RGBa", "La"):        # premultiplied
            image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def is_plain_jpeg(data: bytes) -> bool:
    """Whether bytes are a complete baseline or progressive JPEG, which every decoder reads."""
    if data[:2] != b"\xff\xd8":
        return False
    position = 2
    plain = False
    while position + 4 <= len(data) and data[position] == 0xff:
        marker = data[position + 1]
        if marker == 0xff:                      # padding
            position += 1
            continue
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):     # a frame header
            plain = marker in (0xc0, 0xc1, 0xc2)    # others: lossless, arithmetic coding, ...
        if marker == 0xda:                      # the first scan; in it an end is escaped
            return plain and data.find(b"\xff\xd9", position) >= 0
        position += 2 + int.from_bytes(data[position + 2:position + 4], "big")
    return False

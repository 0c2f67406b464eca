"""Which files are images; those of every kind become RGB that TensorFlow decodes rightly."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mpl_tf.shards import image_files
from tests.prep import jpeg, picture, put, saved


def decoded(encoded):
    """By TensorFlow, as training does."""
    pixels = tf.io.decode_image(encoded.encoded, channels=3, expand_animations=False).numpy()
    assert pixels.shape == (encoded.height, encoded.width, 3)
    start = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG"}[encoded.format]
    assert encoded.encoded.startswith(start)
    return pixels


def near(pixels, expected, tolerance=3.0):
    assert np.abs(pixels.astype(float) - expected).mean() < tolerance


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_an_rgb_jpeg_keeps_its_bytes(options):
    data = jpeg(1, **options)
    assert image_files.convert(data) == image_files.Encoded(data, 24, 32, "JPEG")
    assert image_files.convert(data + b"\0trailing bytes").encoded.startswith(data)


RGB = picture(2)
GRAY = np.asarray(Image.fromarray(RGB).convert("L"))
GRAY_RGB = np.repeat(GRAY[..., None], 3, -1)
ALPHA = np.where(np.arange(32) < 16, 255, 0).astype(np.uint8) * np.ones([24, 1], np.uint8)
ON_WHITE = np.where(ALPHA[..., None] > 0, RGB, 255)


@pytest.mark.parametrize("data, expected", [
    (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), RGB),
    (saved(GRAY, "JPEG"), GRAY_RGB),
    (saved(RGB, "PNG"), RGB),
    (saved(RGB, "BMP"), RGB),
    (saved(RGB, "TIFF"), RGB),
    (saved(RGB, "WEBP", lossless=True), RGB),
    (saved(GRAY, "GIF"), GRAY_RGB),
    (saved(GRAY, "PNG"), GRAY_RGB),
    (saved(Image.fromarray(GRAY.astype(np.uint16) * 256), "PNG"), GRAY_RGB),
    (saved(Image.fromarray(RGB).quantize(256), "PNG"), RGB),
    (saved(Image.fromarray(GRAY > 127), "PNG"), np.where(GRAY_RGB > 127, 255, 0)),
    (saved(np.dstack([RGB, ALPHA]), "PNG"), ON_WHITE),
    (saved(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(ALPHA)]), "PNG"),
     np.where(ALPHA[..., None] > 0, GRAY_RGB, 255)),
], ids=["cmyk", "gray jpeg", "png", "bmp", "tiff", "webp", "gif", "gray png", "16 bits", "palette",
        "1 bit", "alpha", "gray alpha"])
def test_all_others_become_rgb_jpeg(data, expected):
    encoded = image_files.convert(data)
    assert encoded.format == "JPEG" and image_files.is_plain_jpeg(encoded.encoded)
    near(decoded(encoded), expected, 6.0)
    with Image.open(io.BytesIO(encoded.encoded)) as image:
        assert image.mode == "RGB"


def test_orientation_is_applied_where_it_is_wanted():
    exif = Image.Exif()
    exif[0x0112] = 6        # turn by 90 degrees clockwise to see it upright
    data = jpeg(3, exif=exif, quality=95, subsampling=0)
    assert image_files.convert(data).encoded == data
    turned = image_files.convert(data, orient=True)
    assert (turned.height, turned.width) == (32, 24)
    near(decoded(turned), np.rot90(picture(3), -1))
    with Image.open(io.BytesIO(turned.encoded)) as image:
        assert 0x0112 not in image.getexif()
    exif[0x0112] = 1
    upright = jpeg(3, exif=exif)
    assert image_files.convert(upright, orient=True).encoded == upright


def test_size():
    wide = np.dstack([np.tile(np.repeat([0, 100, 200, 250], 16).astype(np.uint8), [32, 1])] * 3)
    encoded = image_files.convert(saved(wide, "PNG"), size=8)
    assert (encoded.height, encoded.width, encoded.format) == (8, 8, "PNG")
    pixels = decoded(encoded)       # the central square: columns 16-47, of 100 and 200
    near(pixels[:, :3], 100, 8)
    near(pixels[:, 5:], 200, 8)
    same = picture(4, 16, 16)
    np.testing.assert_array_equal(decoded(image_files.convert(saved(same, "PNG"), size=16)), same)


@pytest.mark.parametrize("data, words", [
    (b"", "no image file of a known kind .0 bytes"), (b"garbage" * 10, "no image file"),
    (jpeg(5)[:400], "."), (saved(RGB, "PNG")[:200], "."),
    (jpeg(5)[:2] + b"\0" * 500, "no image file"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image file")])
def test_unreadable_bytes(data, words):
    with pytest.raises(image_files.BadImage, match=words) as caught:
        image_files.convert(data)
    assert "\n" not in str(caught.value)


def test_bombs_are_refused_undecoded(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(image_files.BadImage, match="32 x 24 pixels, more than 767"):
        image_files.convert(jpeg(6))


def test_formats_that_are_not_asked_for_are_not_tried():
    with image_files.opened(saved(RGB, "BMP")) as image:
        assert image.format == "BMP"
    with pytest.raises(OSError, match="cannot identify"):
        with image_files.opened(saved(RGB, "BMP"), image_files.OF_RECORDS):
            pass


def test_only_jpegs_that_every_decoder_reads_count_as_plain():
    data = jpeg(7)
    frame = data.index(b"\xff\xc0")
    for marker, plain in ((0xc0, True), (0xc2, True), (0xc3, False), (0xc9, False), (0xca, False)):
        changed = data[:frame + 1] + bytes([marker]) + data[frame + 2:]
        assert image_files.is_plain_jpeg(changed) == plain
    assert not image_files.is_plain_jpeg(data[:-2])      # its end is missing
    assert not image_files.is_plain_jpeg(b"") and not image_files.is_plain_jpeg(saved(RGB, "PNG"))


def test_every_sample_photograph(shared_data):
    kept = 0
    for path in sorted((shared_data / "imagenet-sample").glob("*.JPEG")):
        data = path.read_bytes()
        encoded = image_files.convert(data)
        with Image.open(path) as image:
            assert (encoded.width, encoded.height) == image.size
            assert (encoded.encoded == data) == (image.mode == "RGB")
            kept += encoded.encoded == data
            if image.mode == "L":
                near(decoded(encoded), np.asarray(image)[..., None], 2.0)
    assert kept == 120      # 8 are greyscale

"""Images are cropped and resized in TensorFlow as Pillow does for a run's evaluation."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mpl_tf.data import resize
from mpl_tf.shards import crops


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, [height, width, 3]).astype(np.uint8)


@pytest.mark.parametrize("crop", crops.CROPS)
@pytest.mark.parametrize("height, width, size", [
    (32, 32, 32), (50, 40, 32), (5, 9, 8), (37, 211, 24), (60, 61, 32), (8, 8, 32)])
def test_pixels_are_pillows_to_one_level(height, width, size, crop):
    pixels = picture(height, width)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    expected = crops.evaluation_crop(stream.getvalue(), size, crop).astype(int)
    found = resize.evaluation_pixels(np.stack([255 - pixels, pixels]), size, crop).numpy()
    assert found.shape == (2, size, size, 3) and found.dtype == np.float32
    assert np.abs(found[1] - expected).max() <= 1
    np.testing.assert_array_equal(found, np.round(found))
    if height == width == size and crop == "whole":
        np.testing.assert_array_equal(found[1], pixels)
    odd = resize.evaluation_pixels(pixels[None, :, :, :1], size, crop)      # one channel
    np.testing.assert_array_equal(odd[..., 0], found[1:, ..., 0])


@pytest.mark.parametrize("height, width, size, reduced", [
    (64, 64, 32, 2), (130, 257, 32, 4), (500, 375, 32, 8), (203, 150, 8, 8), (127, 64, 32, 1)])
def test_a_large_image_is_first_reduced_as_a_jpeg_is(height, width, size, reduced):
    pixels = picture(height, width)
    smaller = Image.fromarray(pixels).reduce(reduced)
    assert smaller.size == (-(-width // reduced), -(-height // reduced))
    left, top, right, bottom = crops.central_box(height, width)
    x, y = smaller.width / width, smaller.height / height
    expected = np.asarray(smaller.resize(
        (size, size), Image.BILINEAR, box=(left * x, top * y, right * x, bottom * y))).astype(int)
    found = resize.evaluation_pixels(pixels[None], size, "whole")[0].numpy()
    inside = slice(None, -1)    # the last pixels of a part of a block weigh otherwise there
    assert np.abs(found - expected)[inside, inside].max() <= 1


def test_a_photograph_is_seen_as_an_evaluation_sees_it(shared_data):
    """On average to half a level; without the reduction it would be more than two."""
    for path in sorted((shared_data / "imagenet-sample").glob("*.JPEG"))[:4]:
        with Image.open(path) as image:
            whole = np.asarray(image.convert("RGB"))
        for size in (32, 64):
            seen = crops.evaluation_crop(path.read_bytes(), size, "inception").astype(float)
            found = resize.evaluation_pixels(whole[None], size, "inception")[0].numpy()
            assert np.abs(found - seen).mean() < 0.6, path
    blurred = tf.image.resize(whole[None], [32, 32], antialias=True)[0].numpy()
    assert np.abs(blurred - crops.evaluation_crop(path.read_bytes(), 32, "whole")).mean() > 2

"""Crops of encoded images: where they lie, and that reduced decodings look like whole ones."""

import io

import numpy as np
import pytest
from PIL import Image

from mpl_tf.shards import crops, image_files
from tests.prep import picture, saved


def test_inception_boxes_are_as_szegedy_et_al_say():
    """Area and ratio uniform among boxes that fit, places uniform: against rejection at large."""
    generator = np.random.default_rng(0)
    ours = np.array([crops.inception_box(300, 400, generator.random((10, 4)))
                     for _ in range(20000)])
    left, top, right, bottom = ours.T
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= 400 and bottom.max() <= 300
    area = generator.uniform(0.08, 1, 200000) * 120000
    ratio = generator.uniform(3 / 4, 4 / 3, 200000)
    wide, high = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fits = (wide <= 400) & (high <= 300)
    wide, high = wide[fits], high[fits]
    expected = [(400 - wide) * generator.random(len(wide)),
                (300 - high) * generator.random(len(high)), wide, high]
    for values, reference in zip((left, top, right - left, bottom - top), expected):
        for point in (0.05, 0.25, 0.5, 0.75, 0.95):
            assert abs(np.quantile(values, point) - np.quantile(reference, point)) < 4


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (500, 1), (40, 1000)])
def test_inception_boxes_of_odd_images(height, width):
    for u in (np.zeros((10, 4)), np.full((10, 4), 0.999)):
        left, top, right, bottom = crops.inception_box(height, width, u)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_a_reduced_decoding_looks_like_the_whole_one(shared_data):
    path = sorted((shared_data / "imagenet-sample").glob("*.JPEG"))[0]
    boxes = [(10, 20, 300, 310), (0, 0, 340, 340)]
    with Image.open(path) as image:
        assert min(image.size) >= 340
        whole = image.convert("RGB")
    reference = np.stack([np.asarray(whole.resize((64, 64), Image.BILINEAR, box=box))
                          for box in boxes]).astype(float)
    ours = crops.decode(path.read_bytes(), lambda height, width: boxes, 64)
    assert ours.shape == (2, 64, 64, 3) and ours.dtype == np.uint8
    assert np.abs(ours - reference).mean() < 3      # a shift by one pixel gives 10
    assert np.abs(np.roll(ours, 1, axis=2) - reference).mean() > 6


def test_images_of_their_size_are_copied():
    pixels = np.random.default_rng(0).integers(0, 256, [16, 16, 3]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    box = lambda height, width: [crops.central_box(height, width)]
    np.testing.assert_array_equal(crops.decode(stream.getvalue(), box, 16)[0], pixels)


def test_programs_inside_images_are_not_run():
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
    with pytest.raises(Exception, match="cannot identify"):
        crops.decode(script, lambda *size: [crops.central_box(*size)], 8)


def test_the_crop_that_is_evaluated():
    """The central square, whole or 87.5 % of it, whatever side of the image is the longer one."""
    pixels = picture(3, 40, 64)
    for crop, box in (("whole", (12, 0, 52, 40)), ("inception", (14, 2, 49, 37))):
        expected = Image.fromarray(pixels).resize((16, 16), Image.BILINEAR, box=box)
        np.testing.assert_array_equal(
            crops.evaluation_crop(saved(pixels, "PNG"), 16, crop), np.asarray(expected))
        turned = Image.fromarray(pixels.transpose(1, 0, 2)).resize(
            (16, 16), Image.BILINEAR, box=(box[1], box[0], box[3], box[2]))
        np.testing.assert_array_equal(crops.evaluation_crop(
            saved(pixels.transpose(1, 0, 2), "PNG"), 16, crop), np.asarray(turned))


def test_bombs_are_refused_undecoded(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(image_files.BadImage, match="32 x 24 pixels, more than 767"):
        crops.evaluation_crop(saved(picture(1), "PNG"), 8, "whole")

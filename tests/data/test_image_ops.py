"""Every operation against Pillow and TensorFlow Addons, on real images, eagerly and in tf.data."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from mpl_tf.benchmark import addons
from mpl_tf.data import image_ops

FACTORS = np.array([0.1, 0.46, 0.8, 1.0, 1.3, 1.9], np.float32)


def photographs(count=24, size=32):
    """Crops of scikit-learn's two photographs, uint8 [count, size, size, 3]; one has one colour."""
    generator, pictures = np.random.default_rng(0), load_sample_images().images
    crops = []
    for i in range(count - 1):
        picture = pictures[i % 2][::1 + i % 5, ::1 + i % 5]
        y, x = (generator.integers(0, side - size) for side in picture.shape[:2])
        crops.append(picture[y:y + size, x:x + size])
    return np.stack([*crops, np.full_like(crops[0], 77)])


def digits():
    images = load_digits().images[:24, :, :, np.newaxis]
    return np.round(images * (255 / 16)).astype(np.uint8)


def in_data(function, images, *arguments):
    """The operation inside tf.data, in batches of 5 (so that arguments travel with images)."""
    pipeline = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), *arguments))
    pipeline = pipeline.batch(5).map(function, num_parallel_calls=2)
    return np.concatenate([batch.numpy() for batch in pipeline])


def with_pillow(function, images, *arguments):
    rows = []
    for image, *values in zip(images, *arguments):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        rows.append(np.asarray(function(picture, *values)).reshape(image.shape))
    return np.stack(rows)


def enhance(kind):
    return lambda picture, factor: kind(picture).enhance(float(factor))


def factors(count):
    return np.resize(FACTORS, count)


# name: (ours, Pillow's, argument of each image or none, greatest difference in grey levels)
POINTS = {
    "invert": (ImageOps.invert, None, 0),
    "posterize": (lambda p, v: ImageOps.posterize(p, int(v)), lambda n: np.arange(n) % 8 + 1, 0),
    "solarize": (lambda p, v: ImageOps.solarize(p, int(v)),
                 lambda n: np.linspace(0, 256, n).astype(np.int32), 0),
    "solarize_add": (lambda p, v: p.point([min(255, i + int(v)) if i < 128 else i
                                           for i in range(256)] * len(p.getbands())),
                     lambda n: np.linspace(0, 110, n).astype(np.int32), 0),
    "autocontrast": (ImageOps.autocontrast, None, 1),
    "equalize": (ImageOps.equalize, None, 0),
    "color": (enhance(ImageEnhance.Color), factors, 1),
    "contrast": (enhance(ImageEnhance.Contrast), factors, 1),
    "brightness": (enhance(ImageEnhance.Brightness), factors, 1),
    "sharpness": (enhance(ImageEnhance.Sharpness), factors, 1),
}


@pytest.mark.parametrize("images", [photographs(), digits()], ids=["photographs", "digits"])
@pytest.mark.parametrize("name", POINTS)
def test_point_operations_equal_pillow(name, images):
    oracle, argument, tolerance = POINTS[name]
    arguments = () if argument is None else (argument(len(images)),)
    if name == "color" and images.shape[-1] == 1:
        expected = images
    else:
        expected = with_pillow(oracle, images, *arguments)
    ours = getattr(image_ops, name)
    for result in (ours(tf.constant(images, tf.float32), *arguments).numpy(),
                   in_data(ours, images, *arguments)):
        difference = np.abs(result - expected.astype(np.float32))
        assert difference.max() <= tolerance
        assert (difference > 0).mean() < 0.002    # truncation of a rounded product, rarely
    # The effect is far larger, except that grey has no colour, and that Pillow's rule of Equalize
    # leaves images of fewer than 255 pixels alone.
    if (name, images.shape[-1]) not in (("color", 1), ("equalize", 1)):
        assert np.abs(expected.astype(int) - images).mean() > 0.5


GEOMETRY = {
    "rotate": (np.linspace(-30, 30, 24), lambda p, v: p.rotate(float(v), fillcolor=fill(p))),
    "shear_x": (np.linspace(-0.3, 0.3, 24), lambda p, v: affine(p, 1, v, -v / 2, 0, 1, 0)),
    "shear_y": (np.linspace(-0.3, 0.3, 24), lambda p, v: affine(p, 1, 0, 0, v, 1, -v / 2)),
    "translate_x": (np.linspace(-9.7, 9.8, 24), lambda p, v: affine(p, 1, 0, -v, 0, 1, 0)),
    "translate_y": (np.linspace(-9.7, 9.8, 24), lambda p, v: affine(p, 1, 0, 0, 0, 1, -v)),
}


def fill(picture):
    return 128 if picture.mode == "L" else (128, 128, 128)


def affine(picture, *row):
    # Pillow's points are half a pixel off ours: its shears are moved by half the level above.
    return picture.transform(picture.size, Image.Transform.AFFINE, [float(v) for v in row],
                             Image.Resampling.NEAREST, fillcolor=fill(picture))


@pytest.mark.parametrize("images", [photographs(), digits()], ids=["photographs", "digits"])
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_equals_pillow(name, images):
    values, oracle = GEOMETRY[name]
    values = values.astype(np.float32)
    expected = with_pillow(oracle, images, values)
    ours = getattr(image_ops, name)
    for result in (ours(tf.constant(images, tf.float32), values).numpy(),
                   in_data(ours, images, values)):
        # A point halfway between two pixels may be rounded to either.
        assert (result != expected).any(axis=-1).mean() < 0.01
    assert (expected != images).any(axis=-1).mean() > 0.2


@pytest.mark.skipif(not addons.available, reason="TensorFlow Addons is not for this TensorFlow")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (number % 2))
    for number, name in enumerate(addons.OPERATIONS)])
def test_operations_equal_tensorflow_addons(name):
    images = photographs()
    values = {"sharpness": factors(24), "transform": np.linspace(-0.2, 0.2, 24)}.get(
        name, GEOMETRY.get(name, [np.full(24, 5)])[0]).astype(np.float32)
    expected = addons.OPERATIONS[name](images, values).numpy().astype(np.float32)
    ours = getattr(image_ops, name, None)
    if name == "equalize":
        ours = lambda x, _: image_ops.equalize(x)
    elif name == "transform":
        ours = lambda x, v: image_ops.transform(
            x, tf.stack([1 + v, v / 2, -v, -v / 3, 1 - v, 2 * v], axis=1))
    elif name == "cutout":
        ours = lambda x, half: image_ops.cutout(x, 10 + 0 * tf.cast(half, tf.int32),
                                                20 + 0 * tf.cast(half, tf.int32),
                                                tf.cast(half, tf.int32))
    for result in (ours(tf.constant(images, tf.float32), tf.constant(values)).numpy(),
                   in_data(ours, images, values)):
        # TensorFlow Addons truncates the smoothed image, Pillow rounds it: 2 levels of 255.
        tolerance = 2 if name == "sharpness" else 0
        assert (np.abs(result - expected) > tolerance).any(axis=-1).mean() < 0.01


def test_cutout_is_a_square_cut_at_the_borders():
    image = tf.fill([3, 8, 6, 3], 7.0)
    result = image_ops.cutout(image, tf.constant([0, 4, 7]), tf.constant([0, 3, 5]),
                              tf.constant([2, 1, 0])).numpy()[..., 0]
    expected = np.full([3, 8, 6], 7.0)
    expected[0, :2, :2], expected[1, 3:5, 2:4] = 128, 128
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("images", [photographs(25)[:, :, :20], digits()[:, :7]])
def test_crop_and_flip_equals_numpy(images):
    generator, padding = np.random.default_rng(1), 3
    down, right = generator.integers(0, 2 * padding + 1, (2, len(images)), dtype=np.int32)
    mirrored = generator.random(len(images)) < 0.5
    padded = np.pad(images, [(0, 0), (padding, padding), (padding, padding), (0, 0)], "reflect")
    height, width = images.shape[1:3]
    expected = np.stack([p[y:y + height, x:x + width][:, ::-1 if m else 1]
                         for p, y, x, m in zip(padded, down, right, mirrored)])
    result = image_ops.crop_and_flip(tf.constant(images), down, right, mirrored, padding)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (0, 8, 8, 1), (2, 2, 2, 3), (1, 5, 9, 3)])
def test_any_size_and_empty_batches(shape):
    images = tf.zeros(shape) + 50.0
    ones = tf.ones([shape[0]])
    for name in (*POINTS, *GEOMETRY):
        argument = POINTS.get(name, [None, ones])[1]
        result = getattr(image_ops, name)(images, *(() if argument is None else (ones,)))
        assert result.shape == shape
        assert not np.isnan(result).any()

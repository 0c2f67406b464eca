"""RandAugment against its operations applied image by image."""

import zlib

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.data import augment
from tests.data.test_image_ops import digits, photographs


@pytest.mark.parametrize("operations", [
    "published", pytest.param("released", marks=pytest.mark.slow), ("Invert", "ShearX")])
@pytest.mark.parametrize("images", [photographs(), digits()], ids=["photographs", "digits"])
def test_groups_equal_one_image_at_a_time(operations, images):
    images = tf.constant(images[:8], tf.float32)
    examples = tf.range(8, dtype=tf.int64)
    u = augment.uniforms(5, examples, examples, 17, 0)
    whole = tf.function(augment.rand_augment)(images, u, 4, 7.0, operations)
    names, published = augment.check_rand_augment(4, 7.0, operations)
    for i in range(len(images)):
        image = images[i:i + 1]
        for layer in range(4):
            chosen, skip, *own = u[i, 1 + 4 * layer:5 + 4 * layer].numpy()
            if published or skip <= 0.2 + 0.6 * u[i, 0]:
                image = augment.apply((names[int(chosen * len(names))],), image,
                                      tf.constant([0]), tf.constant([own]), 7.0, published)
        np.testing.assert_array_equal(whole[i], image[0])
    assert whole.shape == images.shape
    values = whole.numpy()
    assert (values == np.round(values)).all() and values.min() >= 0 and values.max() <= 255


def test_every_operation_is_drawn_and_changes_real_images():
    names = (*augment.OPERATIONS["published"], "Invert", "SolarizeAdd", "Cutout")
    images = tf.constant(photographs()[:-1], tf.float32)
    u = augment.uniforms(0, tf.range(23), tf.range(23), 2, 0)
    for published, magnitude in ((True, 10.0), (True, 5.0), (False, 8.0)):
        for name in names:
            result = augment.apply((name,), images, tf.zeros([23], tf.int32), u, magnitude,
                                   published)
            changed = np.abs(result - images).mean()
            assert (changed == 0) if name == "Identity" else (changed > 0.5), name
    choices = augment.integers(augment.uniforms(0, tf.range(14000), tf.range(14000), 1, 0), 14)
    assert np.bincount(choices.numpy()[:, 0], minlength=14).min() > 850


def test_magnitude_zero_is_the_image_and_arguments_reach_the_published_ends():
    images, sign = tf.constant(photographs(), tf.float32), tf.constant([-1.0, 1.0])
    u = augment.uniforms(0, tf.range(24), tf.range(24), 2, 0)
    for name in augment.OPERATIONS["published"]:
        if name not in ("AutoContrast", "Equalize"):
            result = augment.apply((name,), images, tf.zeros([24], tf.int32), u, 0.0)
            np.testing.assert_array_equal(result, images, err_msg=name)
    ends = {"Rotate": (-30, 30), "ShearX": (-0.3, 0.3), "TranslateX": (-14.5015, 14.5015),
            "Color": (0.1, 1.9), "Posterize": (4, 4), "Solarize": (0, 0)}
    for name, values in ends.items():
        np.testing.assert_allclose(augment.argument(name, 10.0, sign, 32), values, rtol=1e-5)
    released = {"Rotate": (-24, 24), "TranslateX": (-3.2, 3.2), "Color": (1.54, 1.54),
                "Posterize": (3, 3), "Solarize": (204, 204), "SolarizeAdd": (88, 88),
                "Cutout": (3, 3)}
    for name, values in released.items():
        np.testing.assert_allclose(augment.argument(name, 8.0, sign, 32, False), values, rtol=1e-5)


def test_views_depend_on_seed_example_and_epoch_alone():
    images = tf.constant(photographs())
    examples, epochs = tf.range(24, dtype=tf.int64), tf.constant([0, 1] * 12, tf.int64)
    view = tf.function(augment.strong_view)
    whole = view(images, 3, examples, epochs, 6)
    order = np.random.default_rng(0).permutation(24)[:10]
    part = view(
        tf.gather(images, order), 3, tf.gather(examples, order), tf.gather(epochs, order), 6)
    np.testing.assert_array_equal(tf.gather(whole, order), part)
    for seed, moved_examples, moved_epochs, stream in (
            (4, 0, 0, 6), (3, 1, 0, 6), (3, 0, 1, 6), (3, 0, 0, 4)):
        other = view(images, seed, examples + moved_examples,
                                    epochs + moved_epochs, stream)
        assert (other != whole).numpy().any(axis=(1, 2, 3)).sum() >= 23


WEAK, STRONG = 3278748486, {"published": 3981148107, "released": 3046062016}


def test_views_of_this_version_are_those_of_every_supported_version():
    """CRC-32 of every pixel, recorded once: a run can be repeated on the other TensorFlow."""
    images, examples = tf.constant(photographs()), tf.range(24, dtype=tf.int64)
    assert zlib.crc32(augment.weak_view(images, 0, examples, examples, 3).numpy()) == WEAK
    for operations, recorded in STRONG.items():
        strong = tf.function(augment.strong_view)(
            images, 0, examples, examples, 6, operations=operations)
        assert zlib.crc32(strong.numpy()) == recorded, operations


@pytest.mark.parametrize("arguments", [dict(operations="published!"), dict(operations=("Blur",)),
                                       dict(magnitude=11.0), dict(layers=-1), dict(operations=())])
def test_bad_policies_are_refused(arguments):
    with pytest.raises(ValueError, match="RandAugment"):
        augment.rand_augment(tf.zeros([1, 8, 8, 1]), tf.zeros([1, 9]), **arguments)


def test_inception_colour_is_tensorflows_in_that_order():
    from sklearn.datasets import load_sample_images
    images = np.stack([image[:60, :80] for image in load_sample_images().images]).astype(np.float32)
    u = np.array([[0.1, 0.9, 0.3, 0.8], [0.7, 0.2, 0.95, 0.1]], np.float32)
    ours = tf.function(augment.inception_color)(tf.constant(images), tf.constant(u)).numpy()
    for image, (brightness, saturation, hue, contrast), result in zip(images, u, ours):
        x = tf.clip_by_value(
            tf.image.adjust_brightness(image / 255, (2 * brightness - 1) * 32 / 255), 0, 1)
        x = tf.image.adjust_saturation(x, 0.5 + saturation)
        x = tf.image.adjust_hue(x, (2 * hue - 1) * 0.2)
        x = tf.clip_by_value(tf.image.adjust_contrast(x, 0.5 + contrast), 0, 1)
        np.testing.assert_allclose(result, 255 * x, atol=0.05)
        assert np.abs(result - image).mean() > 10
    grey = tf.constant(images[..., :1])
    assert augment.inception_color(grey, tf.constant(u)) is grey

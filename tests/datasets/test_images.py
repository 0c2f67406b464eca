"""Arrays behind the interface that images in shards have too: the same values, held once."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import data, datasets
from mpl_tf.data import augment, pipeline
from mpl_tf.datasets import shard_sets
from mpl_tf.datasets.images import ArrayImages, as_images
from tests.stored import write_images

IMAGES = np.random.default_rng(0).integers(0, 256, [30, 8, 8, 3]).astype(np.uint8)
POINTS = np.random.default_rng(1).normal(size=[30, 2]).astype(np.float32)
INTERFACE = ("training_views", "evaluation_views", "pictures", "subset", "digest", "shape", "ndim",
             "random_crops", "decoded_each_time", "skipped", "problem", "__len__")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """12 images in shards."""
    folder = write_images(tmp_path_factory.mktemp("shards") / "images")
    return shard_sets.load_unlabeled(folder, 8, "whole")


def test_only_arrays_are_wrapped(shards):
    wrapped = as_images(IMAGES)
    assert isinstance(wrapped, ArrayImages) and as_images(wrapped) is wrapped
    assert as_images(shards) is shards
    for images in (wrapped, shards):
        assert not [name for name in INTERFACE if not hasattr(images, name)]
        assert len(images) == images.shape[0] and images.ndim == len(images.shape) == 4
        assert images.problem is None and images.skipped == {}
    assert (wrapped.decoded_each_time, shards.decoded_each_time) == (False, True)


def test_both_make_the_same_of_the_same_pixels(shards):
    """Prepared images of their size: in shards, and read into an array."""
    array = as_images(shards.pictures(np.arange(12)))
    examples = np.array([3, 0, 11, 3])
    np.testing.assert_array_equal(array.pictures(examples), shards.pictures(examples))
    for images in (array, shards):
        part = images.subset(examples)
        assert type(part) is type(images) and part.shape == (4, 8, 8, 3)
        np.testing.assert_array_equal(part.pictures(np.arange(4)), array.pictures(examples))
        chosen = tf.constant(examples)
        np.testing.assert_array_equal(images.evaluation_views(chosen), array.pictures(examples))
        views, used = images.training_views(chosen, chosen * 0, 5, [1, 2])
        assert len(views) == 2
        for view in views:
            np.testing.assert_array_equal(view, array.pictures(examples))
        np.testing.assert_array_equal(used, examples)


@pytest.mark.parametrize("values", [IMAGES, POINTS], ids=["images", "points"])
def test_a_digest_is_of_all_values(values):
    digest = as_images(values).digest()
    assert digest.hexdigest() == hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()
    changed = values.copy()
    changed[17, 1] += 1
    assert as_images(changed).digest().hexdigest() != digest.hexdigest()
    assert as_images(values[::2]).digest().hexdigest() == as_images(
        values[::2].copy()).digest().hexdigest()


def dataset(images, **parts):
    labels = np.arange(30) % 3
    split = datasets.Split(images, labels)
    return datasets.Dataset("made up", 3, tuple("abc"), labeled=split, unlabeled=images, test=split,
                            **parts)


@pytest.mark.slow
def test_training_batches_are_views_of_the_gathered_images():
    """Bit for bit what gathering and augmenting by hand gives, at every step."""
    options = dict(padding=2, flip=True)
    batches = data.train_dataset(dataset(IMAGES), 4, 8, seed=7, train_steps=5, cutout=2, **options)
    for step, batch in enumerate(batches):
        for part, size, order, stream in (("labeled", 4, 1, 3), ("unlabeled", 8, 2, 5)):
            positions = tf.range(step * size, (step + 1) * size, dtype=tf.int64)
            examples, epochs = pipeline.examples_at(positions, 30, 7, order)
            images = tf.constant(IMAGES[examples.numpy()])
            np.testing.assert_array_equal(batch[part]["image"], augment.normalize(
                augment.weak_view(images, 7, examples, epochs, stream, **options)))
        np.testing.assert_array_equal(batch["unlabeled"]["augmented"], augment.normalize(
            augment.strong_view(images, 7, examples, epochs, 6, cutout=2, **options)))


def test_evaluation_batches_are_slices():
    for values in (IMAGES, POINTS):
        batches = [images.numpy() for images, _ in data.eval_dataset(
            datasets.Split(values, np.arange(30)), batch_size=8)]
        assert [len(batch) for batch in batches] == [8, 8, 8, 6]
        np.testing.assert_array_equal(np.concatenate(batches), augment.normalize(
            IMAGES) if values is IMAGES else POINTS)


@pytest.mark.parametrize("values", [IMAGES, POINTS], ids=["images", "points"])
def test_a_data_set_may_hold_either(values):
    plain, wrapped = dataset(values), dataset(as_images(values))
    for make in (lambda d: data.train_dataset(d, 4, 8, strong=values is IMAGES, train_steps=3),
                 lambda d: data.eval_dataset(d.test, 7)):
        for one, other in zip(make(plain), make(wrapped)):
            for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other)):
                np.testing.assert_array_equal(left, right)
    assert datasets.describe(plain) == datasets.describe(wrapped)


def test_an_array_is_held_once_and_outside_of_graphs():
    images = as_images(IMAGES)

    @tf.function
    def rows(examples):
        views, _ = images.training_views(examples, examples, 0, [1, 2])
        return views[0], images.evaluation_views(examples)

    traced = rows.get_concrete_function(tf.TensorSpec([4], tf.int64))
    assert [tensor.shape for tensor in traced.captured_inputs] == [[30, 8, 8, 3]]
    assert not [each for each in traced.graph.get_operations() if each.type == "Const"
                and each.outputs[0].shape == [30, 8, 8, 3]]
    for found in rows(tf.constant([5, 5, 0, 29], tf.int64)):
        np.testing.assert_array_equal(found, IMAGES[[5, 5, 0, 29]])


def test_random_crops_decide_the_default_padding(shards):
    assert not shards.random_crops and not as_images(IMAGES).random_crops
    crops = shards.subset(np.arange(12))
    crops.random_crops = True
    for images, padding in ((IMAGES, 1), (shards, 1), (crops, 0)):
        made = dataclasses.replace(dataset(IMAGES), labeled=datasets.Split(images, None))
        crop, _ = pipeline._view_options(made, None, None, 0, "none", layers=0, magnitude=0.0,
                                         operations="published")
        assert crop["padding"] == padding

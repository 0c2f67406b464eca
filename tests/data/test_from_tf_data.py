"""from_datasets: two ordinary datasets, batched or not, of any cardinality."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf import data
from tests import tiny

RNG = np.random.default_rng(0)
X, LABELS = RNG.integers(0, 256, [20, 8, 8, 3]).astype(np.uint8), np.arange(20) % 4
MORE = RNG.integers(0, 256, [50, 8, 8, 3]).astype(np.uint8)
FEATURES, POINTS = RNG.normal(size=(12, 2)).astype("float32"), np.arange(12) % 3


def of(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


def plain(*arguments, **options):
    """Without views, which take a second to trace."""
    return data.from_datasets(*arguments, augment=False, **options)


def take(dataset, count):
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
            for batch in itertools.islice(dataset, count)]


def assert_whole(batches, images, labels, unlabeled):
    """Each epoch has each example once, with its own label."""
    seen = np.concatenate([batch["labeled"]["image"] for batch in batches])
    drawn = np.concatenate([batch["labeled"]["label"] for batch in batches])
    places = [int(np.flatnonzero((images == image).reshape(len(images), -1).all(axis=1))[0])
              for image in seen]
    np.testing.assert_array_equal(labels[places], drawn)
    for epoch in range(len(places) // len(images)):
        part = places[epoch * len(images):(epoch + 1) * len(images)]
        assert sorted(part) == list(range(len(images))) != part
    others = np.concatenate([batch["unlabeled"]["image"] for batch in batches])[:len(unlabeled)]
    assert sorted(map(bytes, others)) == sorted(map(bytes, unlabeled.astype(np.float32)))


@pytest.mark.parametrize("labeled, unlabeled", [
    (of(X, LABELS), of(MORE)), (of(X, LABELS).batch(7), of(MORE)),
    (of(X, np.eye(4)[LABELS]).batch(5, drop_remainder=True), of(MORE).map(lambda x: (x,)).batch(9)),
    (of(X, LABELS[:, None].astype("float32")), of(MORE).repeat()),
    (of(X, tf.one_hot(LABELS, 4, dtype=tf.int32)), of(MORE).batch(10)),
    (of(X, LABELS).filter(lambda x, y: True), of(MORE).filter(lambda x: True))])
def test_examples_come_once_an_epoch_with_their_labels_however_they_are_batched(labeled, unlabeled):
    made = plain(labeled, unlabeled, 10, 25)
    assert made.element_spec == {
        "labeled": {"image": tf.TensorSpec((10, 8, 8, 3)), "label": tf.TensorSpec((10,), tf.int64)},
        "unlabeled": {"image": tf.TensorSpec((25, 8, 8, 3))}}
    batches = take(made, 4)
    if unlabeled.cardinality() != tf.data.INFINITE_CARDINALITY:
        assert_whole(batches, X, LABELS, MORE)


def test_shapes_tell_batches_of_features_or_it_is_asked():
    for labeled in (of(FEATURES, POINTS), of(FEATURES, POINTS).batch(5), of(FEATURES, np.eye(3)[POINTS]),
                    of(FEATURES, POINTS).batch(4, drop_remainder=True),
                    of(FEATURES, np.eye(3)[POINTS]).batch(5)):
        batches = take(plain(labeled, of(FEATURES), 12), 1)
        assert_whole(batches, FEATURES, POINTS, FEATURES)
    square = of(FEATURES, np.eye(2)[POINTS % 2])        # x [2] and y [2]: a batch of two numbers?
    with pytest.raises(ValueError, match="cannot be told; give batched=True or batched=False"):
        plain(square, of(FEATURES))
    assert_whole(take(plain(square, of(FEATURES), 12, batched=False), 1), FEATURES, POINTS % 2, FEATURES)


def test_sizes_are_the_datasets_own_unless_they_are_given():
    def sizes(*arguments):
        spec = plain(*arguments).element_spec
        return [spec[part]["image"].shape[0] for part in ("labeled", "unlabeled")]

    assert sizes(of(X, LABELS), of(MORE)) == [64, 64]
    assert sizes(of(X, LABELS).batch(3), of(MORE).batch(21)) == [3, 21]
    assert sizes(of(X, LABELS).batch(3), of(MORE)) == [3, 3]
    assert sizes(of(X, LABELS).batch(3), of(MORE).batch(21), 4, 5) == [4, 5]
    assert set(plain(of(X, LABELS)).element_spec) == {"labeled"}


def test_seeds_orders_and_weights():
    weighted = of(FEATURES, POINTS, FEATURES[:, 0])
    runs = [take(plain(weighted, of(FEATURES), 5, seed=seed, strong=lambda x, seed: x + tf.cast(
        seed[0] % 1000, tf.float32)), 4) for seed in (0, 0, 1)]
    bytes_ = [[value.tobytes() for value in tf.nest.flatten(run)] for run in runs]
    assert bytes_[0] == bytes_[1] != bytes_[2]
    for batch in runs[0]:
        np.testing.assert_array_equal(batch["labeled"]["sample_weight"], batch["labeled"]["image"][:, 0])
        assert (batch["unlabeled"]["augmented"] != batch["unlabeled"]["image"]).all()
    [still] = take(plain(weighted, of(FEATURES), 12, shuffle=0), 1)
    np.testing.assert_array_equal(still["unlabeled"]["image"], FEATURES)


def test_views_of_images_keep_their_range():
    scale = lambda x, *rest: (tf.cast(x, tf.float32) / 255.0, *rest)
    made = data.from_datasets(of(X, LABELS).map(scale), of(MORE).map(scale).batch(25), 10,
                              randaugment_layers=1, labeled_strong=True)
    for batch in take(made, 2):
        for part in ("labeled", "unlabeled"):
            weak, strong = batch[part]["image"], batch[part]["augmented"]
            assert 0 <= weak.min() < 0.1 and 0.9 < weak.max() <= 1 and 0.9 < strong.max() <= 1
            assert strong.shape == weak.shape and (strong != weak).mean() > 0.2


def test_fit_takes_them():
    made = plain(of(FEATURES, np.eye(3)[POINTS]), of(FEATURES).batch(6),
                 strong=lambda x, seed: x + tf.random.stateless_normal(tf.shape(x), seed))
    history = tiny.model().fit(made, epochs=2, steps_per_epoch=2, verbose=0,
                               validation_data=of(FEATURES, POINTS).batch(5)).history
    assert np.isfinite(history["loss"]).all() and len(history["val_accuracy"]) == 2
    with pytest.raises(ValueError, match="does not end, and no steps_per_epoch"):
        tiny.model().fit(made)


@pytest.mark.parametrize("labels", [np.eye(3)[POINTS] * 0.5, np.eye(3)[POINTS] * 2 - 1, POINTS + 0.5])
def test_labels_that_are_not_exact_end_the_step_in_one_line(labels):
    model = tiny.model(objective=mpl_tf.objectives.Supervised())
    with pytest.raises(ValueError, match="^labels of the labeled dataset are neither class numbers nor exact "
                                         "one-hot rows") as refusal:
        model.fit(plain(of(FEATURES, labels), of(FEATURES)), steps_per_epoch=1, verbose=0)
    assert "\n" not in str(refusal.value)


EMPTY = of(FEATURES, POINTS).filter(lambda x, y: False)


@pytest.mark.parametrize("labeled, unlabeled, words", [
    (FEATURES, of(FEATURES), "the labeled dataset is a ndarray.*from_arrays"),
    (of(FEATURES), of(FEATURES), r"labeled dataset yields TensorSpec, expected tuples .x, y."),
    (of({"image": FEATURES, "label": POINTS}), of(FEATURES), "dicts of image, label.*as_supervised=True"),
    (of(FEATURES, POINTS), of(FEATURES, POINTS), "tuples of 2, expected x alone.*lambda x, y: x"),
    (of(FEATURES, POINTS), of({"image": FEATURES}), "unlabeled dataset yields dicts of image"),
    (of(FEATURES, POINTS), of(FEATURES[:, :1]), r"x of shape \(1,\), but labeled .* shape \(2,\)"),
    (of(FEATURES, POINTS), of(FEATURES).batch(2).batch(2), r"x of shape \(None, None, 2\)"),
    (of(FEATURES, np.ones([12, 2, 3])).batch(4), of(FEATURES), "labels of shape"),
    (of(FEATURES, POINTS).take(0), of(FEATURES), "the labeled dataset is empty"),
    (EMPTY.batch(4), of(FEATURES), "the labeled dataset is empty"),
    (of(FEATURES, POINTS), of(FEATURES).skip(12), "the unlabeled dataset is empty")])
def test_other_datasets_are_refused_in_one_line(labeled, unlabeled, words):
    with pytest.raises(ValueError, match=words) as refusal:
        plain(labeled, unlabeled)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("labeled, unlabeled, words", [
    (of(X, LABELS), of(MORE).map(lambda x: tf.cast(x, tf.float32) / 255.0), "different ranges"),
    (of(X // 16, LABELS), of(MORE // 16), "cannot be told"),
    (of(FEATURES, POINTS), of(FEATURES), r"examples have the shape \[2\], .*augment=False"),
    (tf.data.Dataset.from_generator(lambda: iter([]), output_signature=(
        tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))), None, r"\[\?, \?, 3\].*one size")])
def test_images_without_views_by_default(labeled, unlabeled, words):
    with pytest.raises(ValueError, match=words) as refusal:
        data.from_datasets(labeled, unlabeled)
    assert "\n" not in str(refusal.value)

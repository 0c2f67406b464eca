"""from_arrays: the batches of train_dataset, for arrays of any kind and functions of a user's own."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf import data, datasets
from tests import tiny


def take(dataset, count=2):
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
            for batch in itertools.islice(dataset, count)]


def flat(batch):
    return {f"{part}/{name}": value for part, views in batch.items() for name, value in views.items()}


def assert_same(batches, others, **tolerance):
    assert len(batches) == len(others) > 0
    for batch, other in zip(map(flat, batches), map(flat, others)):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_allclose(batch[name], other[name], err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", labeled_examples=50)


@pytest.mark.parametrize("move", [
    lambda x: x, lambda x: x / np.float32(127.5) - 1,
    pytest.param(lambda x: np.int64(x), marks=pytest.mark.slow),
    pytest.param(lambda x: x / 255, marks=pytest.mark.slow)])
def test_views_are_those_of_train_dataset_in_the_range_of_the_images(move, digits):
    """Another program of the same orders and random numbers, whose images lie in [-1, 1]."""
    options = dict(batch_size=16, unlabeled_batch_size=24, labeled_strong=True, seed=7, start_step=3,
                   train_steps=4, randaugment_layers=1)
    given = take(data.from_arrays(move(digits.labeled.images), digits.labeled.labels,
                                  move(digits.unlabeled), **options), 9)
    low, high = move(np.array([0, 255], np.uint8))
    back = tf.nest.map_structure(
        lambda x: x if x.dtype == np.int64 else (x - low) * (2 / (high - low)) - 1, given)
    assert_same(back, take(data.train_dataset(digits, **options), 9), rtol=0, atol=2e-5)
    assert given[0]["unlabeled"]["augmented"].dtype == np.float32


def test_one_hot_labels_weights_and_classes_go_with_their_images(digits):
    images, labels = digits.labeled.images, digits.labeled.labels
    weight = images.reshape(len(images), -1).sum(axis=1) / 1000
    made = data.from_arrays(images, np.eye(10)[labels], digits.unlabeled, batch_size=10, strong=lambda x: x,
                            padding=0, sample_weight=weight, labeled_sampling="balanced")
    for batch in take(made, 3):
        labeled = batch["labeled"]
        assert sorted(labeled["label"]) == list(range(10))
        np.testing.assert_allclose(labeled["image"].reshape(10, -1).sum(axis=1) / 1000,
                                   labeled["sample_weight"], rtol=1e-5)
        for image, label in zip(labeled["image"], labeled["label"]):
            [same] = np.flatnonzero((images == image).all(axis=(1, 2, 3)))
            assert labels[same] == label


def test_baselines_need_no_unlabeled_examples_and_small_sets_repeat():
    features = np.arange(6.0).reshape(3, 2)
    made = data.from_arrays(features, [0, 1, 2], batch_size=5, augment=False)
    [batch] = take(made, 1)
    assert set(batch) == {"labeled"} and set(batch["labeled"]) == {"image", "label"}
    np.testing.assert_array_equal(batch["labeled"]["image"], features[batch["labeled"]["label"]])
    model = mpl_tf.Baseline(tiny.network("student", 1), mpl_tf.objectives.Supervised())
    model.compile("adam", metrics=["accuracy"])
    model.fit(made, epochs=2, steps_per_epoch=2, verbose=0, validation_data=(features, np.arange(3)))
    with pytest.raises(ValueError, match=r'has no \["unlabeled"\]\["image"\]'):
        tiny.model(objective=mpl_tf.objectives.Supervised()).fit(made, steps_per_epoch=1)


def test_sequences_stay_whole_numbers():
    tokens = np.arange(24).reshape(4, 6)
    made = data.from_arrays(tokens, [0, 1, 0, 1], tokens, batch_size=4, augment=False)
    assert made.element_spec["unlabeled"] == {"image": tf.TensorSpec((4, 6), tf.int64)}
    networks = [tf.keras.Sequential([
        tf.keras.layers.Embedding(24, 4, name=f"embedding{seed}"),
        tf.keras.layers.GlobalAveragePooling1D(), tf.keras.layers.Dense(2)]) for seed in (1, 2)]
    model = mpl_tf.MetaPseudoLabels(*networks, mpl_tf.objectives.Supervised())
    model.compile("sgd", "sgd")
    assert np.isfinite(model.fit(made, steps_per_epoch=2, verbose=0).history["loss"][0])


FEATURES = np.random.default_rng(0).normal(size=(30, 2))


def noisy(x, seed):
    return x + tf.random.stateless_normal(tf.shape(x), seed, dtype=x.dtype)


def test_functions_of_a_users_own_with_a_seed_are_functions_of_the_step():
    def branching(x, factor=2.0):           # a `while` over tensors works, as in Dataset.map
        while tf.reduce_max(tf.abs(x)) > 1.0:
            x = x / factor
        return x

    options = dict(batch_size=4, augment=False, weak=branching, strong=noisy, labeled_strong=True)
    made = data.from_arrays(FEATURES, np.arange(30) % 3, FEATURES, **options)
    whole = take(made, 4)
    assert_same(whole[2:], take(data.from_arrays(FEATURES, np.arange(30) % 3, FEATURES, start_step=2,
                                                 **options)))
    for batch in whole:
        assert np.abs(batch["unlabeled"]["image"]).max() <= 1
    noises = [batch[part]["augmented"] for batch in whole for part in batch]
    assert len({noise.tobytes() for noise in noises}) == 8
    history = tiny.model().fit(made, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"][0])


def test_a_keras_layer_is_called_in_training():
    layer = tf.keras.Sequential([tf.keras.layers.Rescaling(2.0), tf.keras.layers.Dropout(0.5)])
    made = data.from_arrays(np.ones([8, 50]), np.zeros(8), np.ones([8, 50]), augment=False, strong=layer,
                            batch_size=8)
    [batch] = take(made, 1)
    assert sorted(set(batch["unlabeled"]["augmented"].ravel())) == [0.0, 4.0]
    assert set(batch["unlabeled"]["image"].ravel()) == {1.0}


GREY = np.zeros([4, 8, 8], np.uint8) + 200
PHOTOS = GREY[..., None]


@pytest.mark.parametrize("images, unlabeled, options, words", [
    (FEATURES, FEATURES, {}, r"examples have the shape \[2\], but views by default.*augment=False"),
    (GREY, GREY, {}, r"examples have the shape \[8, 8\].*images\[\.\.\., np.newaxis\]"),
    (np.zeros([4, 3, 8, 8]), None, {}, r"\[3, 8, 8\].*channels last"),
    (PHOTOS, PHOTOS[:, :7], {}, r"images have the shape \(8, 8, 1\) each and unlabeled ones \(7, 8, 1\)"),
    (PHOTOS, PHOTOS / 255, {}, "images has values 200 to 200 and unlabeled has .* different ranges"),
    (PHOTOS // 16, None, {}, "cannot be told"), (PHOTOS, None, {"padding": 8}, "padding 8 is outside"),
    (PHOTOS, None, {"batch_size": 0}, "batch_size=0: expected how many examples"),
    (PHOTOS, None, {"batch_size": 2.5}, "batch_size=2.5"), (PHOTOS, None, {"strong": 3}, "strong=3: exp"),
    (PHOTOS, None, {"train_steps": 0}, "start_step 0 and train_steps 0"),
    (PHOTOS, None, {"labeled_sampling": "equal"}, "'equal' is unknown"),
    (PHOTOS, PHOTOS, {"strong": lambda x: x[0]}, r"strong= makes uint8 \(8, 8, 1\) of a batch \(64, 8, 8, 1\)"),
    (PHOTOS, PHOTOS, {"weak": lambda x: tf.image.random_crop(x, [5, 5, 1])}, r"weak= fails for a batch uint8 "
     r"\(64, 8, 8, 1\), .*expected a function of a batch")])
def test_what_does_not_fit_is_refused_in_one_line(images, unlabeled, options, words):
    with pytest.raises(ValueError, match=words) as refusal:
        data.from_arrays(images, np.arange(len(images)) % 2, unlabeled, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_two_replicas_share_the_batches():
    made = data.from_arrays(FEATURES, np.arange(30) % 3, FEATURES, batch_size=6, unlabeled_batch_size=8,
                            augment=False, strong=noisy)
    models = []
    for scope in (tf.distribute.get_strategy(), tiny.two_replicas()):
        with scope.scope():
            models.append(tiny.model())
            models[-1].fit(made, steps_per_epoch=2, verbose=0)
    tiny.assert_same_state(*models, rtol=1e-4, atol=1e-6)

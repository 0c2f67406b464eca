"""--dataset=features: what is read, how it is transformed, and what is refused."""

import numpy as np
import pytest

from mpl_tf import datasets
from mpl_tf.datasets import feature_transform
from tests.featured import NAMES, TEST, TRAIN, UNLABELED, arrays, change, change_plan, made


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return made(tmp_path_factory.mktemp("made"))[0]


@pytest.fixture
def folder(kept, tmp_path):
    """A copy of a folder of features, which a test may change."""
    copy = tmp_path / "features"
    copy.mkdir()
    for path in kept.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def points(features):
    return np.random.default_rng(0).normal(size=(50, features)) * np.arange(1, features + 1) + 3


def test_standardised_features_are_numpys():
    x = points(5)
    expected = (x - x.mean(0)) / x.std(0) / np.sqrt(5)
    transform = feature_transform.fit(x)
    np.testing.assert_allclose(transform(x), expected, atol=1e-5)
    np.testing.assert_allclose((transform(x) ** 2).sum(1).mean(), 1, rtol=1e-5)
    unit = feature_transform.fit(x, unit_length=True)(x)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_principal_components_are_numpys():
    x = points(5) @ np.random.default_rng(1).normal(size=(5, 5))
    z = (x - x.mean(0)) / x.std(0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    found = feature_transform.fit(x, components=3)(x)
    expected = u[:, :3] * s[:3] / np.sqrt((s[:3] ** 2).sum() / len(x))
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)     # a sign is free
    np.testing.assert_allclose((found ** 2).sum(1).mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.corrcoef(found.T)), np.eye(3), atol=1e-5)


def test_constant_features_count_for_nothing():
    x = np.concatenate([points(3), np.full([50, 1], 7.0)], axis=1)
    transform = feature_transform.fit(x)
    np.testing.assert_allclose(transform(x)[:, 3], 0)
    np.testing.assert_allclose(transform(x)[:, :3], feature_transform.fit(x[:, :3])(x[:, :3]), rtol=1e-6)
    with pytest.raises(ValueError, match="all 4 features are the same for all 50 training images"):
        feature_transform.fit(np.ones([50, 4]))


@pytest.mark.parametrize("components, count, said", [(6, 50, "at most 5"), (5, 5, "at most 4")])
def test_more_components_than_there_can_be(components, count, said):
    with pytest.raises(ValueError, match=f"{said} principal components; use fewer"):
        feature_transform.fit(points(5)[:count], components)


def test_what_is_loaded(kept):
    found = datasets.load("features", kept)
    train, test, more = (arrays(kept, name) for name in (TRAIN, TEST, UNLABELED))
    assert tuple(found.class_names) == tuple(NAMES)
    assert (len(found.labeled.labels), len(found.unlabeled), len(found.test.labels)) == (8, 13, 4)
    everything = np.concatenate([train.features[:, 0], more.features[:, 0]]).astype(np.float64)
    varies = everything.std(0) > 0
    expected = np.where(varies, (test.features[:, 0] - everything.mean(0)) / np.where(
        varies, everything.std(0), 1), 0) / np.sqrt(varies.sum())
    np.testing.assert_allclose(found.test.images.points, expected, atol=1e-4)
    np.testing.assert_array_equal(found.test.labels, test.label)


def test_views_are_those_that_are_stored(kept):
    import tensorflow as tf
    images = datasets.load("features", kept).unlabeled
    examples = tf.range(len(images), dtype=tf.int64)
    chosen = set()
    for epoch in range(6):
        (weak, strong), _ = images.training_views(examples, tf.fill([len(images)], tf.constant(epoch, tf.int64)),
                                                  0, (1, 2))
        stored = images._values
        near = np.abs(weak.numpy()[:, None] - stored).max(axis=2).argmin(axis=1)
        chosen |= set(near)
        np.testing.assert_array_equal(strong.numpy(), stored[:, 2])
    assert chosen == {0, 1}
    np.testing.assert_array_equal(images.evaluation_views(examples).numpy(), images.points)


def test_the_digest_follows_what_is_stored_and_how_it_is_transformed(kept, folder):
    digest = lambda where, **options: datasets.load("features", where, **options).unlabeled.digest().hexdigest()
    first = digest(kept)
    assert digest(folder) == first      # the folder's place does not count
    assert len({first, digest(kept, feature_components=2), digest(kept, feature_unit_length=True),
                digest(kept, holdout=2)}) == 4
    change(folder, UNLABELED, features=lambda found: found + np.float16(1))
    assert digest(folder) != first


def plan_of_two_views(folder):
    change_plan(folder, augmented={"views": 2})


@pytest.mark.parametrize("harm, said", [
    (plan_of_two_views, "of another backbone or other views"),
    (lambda folder: change_plan(folder, backbone={"digest": "0" * 64}), "of another backbone or other views"),
    (lambda folder: change_plan(folder, view={"size": 32}), "of another backbone or other views"),
    (lambda folder: change_plan(folder, version=0), "is of version 0, and this program reads version 1"),
    (lambda folder: change(folder, TEST, features=lambda found: found[:, :, :4]),
     "has 1 views of 4 features, but features.json says 1 of 6"),
    (lambda folder: change(folder, TEST, bytes=lambda found: found + 1), "is of a file"),
    (lambda folder: change(folder, TEST, features=lambda found: found * np.float16(np.nan)), "test-"),
    (lambda folder: change(folder, TEST, label=lambda found: found + 5), "has label 6, but 2 classes"),
    (lambda folder: change(folder, TEST, number=lambda found: found[::-1]), "are not numbered 0 to 3"),
    (lambda folder: (folder / f"{TRAIN}.npz").unlink(), "is missing: run the same"),
    (lambda folder: (folder / f"{TRAIN}.npz").write_bytes(b"PK"), "is damaged"),
    (lambda folder: (folder / "features.json").unlink(), "features.json is missing"),
    (lambda folder: (folder / "features.json").write_text("{}"), "features.json")])
def test_bad_features_are_one_line(folder, harm, said):
    harm(folder)
    with pytest.raises(ValueError, match=said) as refused:
        datasets.load("features", folder)
    assert "\n" not in str(refused.value)

"""Arrays, labels and ranges as people have them: taken where they are exact, refused in one line."""

import numpy as np
import pytest

from mpl_tf.data import given


@pytest.mark.parametrize("labels", [
    [2, 0, 1], np.array([2, 0, 1], "uint8"), np.array([[2], [0], [1]]), [2.0, 0.0, 1.0],
    np.eye(3)[[2, 0, 1]], np.eye(3, dtype=bool)[[2, 0, 1]], np.eye(4, dtype="int32")[[2, 0, 1]]])
def test_labels_that_are_exact(labels):
    numbers = given.class_numbers(labels, 3)
    assert numbers.dtype == np.int64 and numbers.tolist() == [2, 0, 1]
    assert given.class_numbers(np.array([True, False]), 2).tolist() == [1, 0]


@pytest.mark.parametrize("labels, words", [
    ([[0.9, 0.1], [0, 1], [1, 0]], "the row .0.9 0.1. .number 0., expected one-hot"),
    ([[0, 1], [1, 1], [1, 0]], "the row .1 1. .number 1."), ([[0, 1], [0, 0], [1, 0]], "the row .0 0."),
    ([0, 1, -1], "labels has -1 .number 2.*give examples without a label as `unlabeled`"),
    ([0, 1.5, 1], "labels has 1.5 .number 1."), ([0, np.nan, 1], "labels has nan"),
    ([0, 1], "labels has 2 rows for 3 labeled images"), (["cat", "dog", "cat"], "text.*'cat'.*np.unique"),
    (np.zeros([3, 2, 2]), r"labels is float64 of shape \(3, 2, 2\)"), (None, "labels is object")])
def test_other_labels(labels, words):
    with pytest.raises(ValueError, match=words) as refusal:
        given.class_numbers(labels, 3)
    assert "\n" not in str(refusal.value)


def images(low, high):
    return np.array([low, high, (low + high) / 2], "float32").reshape(3, 1, 1, 1)


@pytest.mark.parametrize("bounds, expected", [
    ([(0, 255)], (0, 255)), ([(10, 200), (0, 255)], (0, 255)), ([(0, 1), (0.2, 0.9)], (0, 1)),
    ([(0, 1), (-1, 1)], (-1, 1)), ([(-0.5, 0.5)], (-1, 1)), ([(0, 0)], (0, 1))])
def test_ranges_that_can_be_told(bounds, expected):
    parts = {str(number): images(*each) for number, each in enumerate(bounds)}
    assert given.value_range(parts) == expected


@pytest.mark.parametrize("bounds, words", [
    ([(0, 16)], "images has values 0 to 16, and the range of these images cannot be told.*value_range="),
    ([(-2.1, 2.6)], "-2.1 to 2.6"), ([(0, 65535)], "0 to 65535"), ([(-1, 255)], "-1 to 255"),
    ([(0, 255), (0, 1)], "0 to 255 and unlabeled has values 0 to 1, which are different ranges")])
def test_ranges_that_cannot_be_told(bounds, words):
    parts = dict(zip(("images", "unlabeled"), (images(*each) for each in bounds)))
    with pytest.raises(ValueError, match=words) as refusal:
        given.value_range(parts)
    assert "\n" not in str(refusal.value)
    wide = (-3, 70_000)
    assert given.value_range(parts, wide) == wide


@pytest.mark.parametrize("range_, words", [
    ((0, 100), r"value_range=\(0, 100\), but images has values 0 to 255"),
    ((1, 0), "expected .low, high."), (7, "expected .low"), ((0, np.nan), "expected .low")])
def test_impossible_ranges(range_, words):
    with pytest.raises(ValueError, match=words):
        given.value_range({"images": images(0, 255)}, range_)


@pytest.mark.parametrize("values, words", [
    ([[1, 2], [3]], "x cannot be an array .*bring all examples to one shape"), ("text", "x is"),
    (np.array([["a"]]), "x is an array of <U1"), (None, "x is a NoneType"), (np.zeros([0, 3]), "x is empty"),
    (np.float32(3), r"shape \(\)"), ([1.0, np.nan], "not finite"), ([np.inf, 1.0], "not finite")])
def test_what_is_no_array_of_examples(values, words):
    with pytest.raises(ValueError, match=words) as refusal:
        given.examples(values, "x")
    assert "\n" not in str(refusal.value)


def test_weights():
    assert given.weights([1, 2], 2).dtype == np.float32
    for wrong in ([1.0], [[1.0, 2.0]], [1.0, np.inf], ["a", "b"]):
        with pytest.raises(ValueError, match="sample_weight is .*each of the 2 labeled"):
            given.weights(wrong, 2)


@pytest.mark.parametrize("fraction, counts", [(0.2, [0, 1, 1, 4]), (0.9, [0, 1, 4, 18])])
def test_a_part_of_each_class_is_held_out(fraction, counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1, 2, 5, 20]))
    images = np.arange(28).reshape(28, 1)
    (left, left_labels), (held, held_labels) = given.hold_out(images, np.eye(4)[labels], fraction, seed=1)
    assert np.bincount(held_labels, minlength=4).tolist() == counts
    assert sorted([*left.ravel(), *held.ravel()]) == list(range(28))
    np.testing.assert_array_equal(labels[held.ravel()], held_labels)
    np.testing.assert_array_equal(labels[left.ravel()], left_labels)
    assert given.hold_out(images, labels, fraction, seed=2)[1][0].tolist() != held.tolist()
    for wrong in (0, 1, 5):
        with pytest.raises(ValueError, match=f"fraction={wrong}: expected a number between"):
            given.hold_out(images, labels, wrong)

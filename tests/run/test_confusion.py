"""Confusion matrices: counted as scikit-learn does, drawn with whatever names, all of the picture seen."""

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from mpl_tf.run import confusion


def test_counts_are_scikit_learns():
    labels, predicted = np.random.default_rng(0).integers(0, 5, [2, 300])
    np.testing.assert_array_equal(confusion.counts(labels, predicted, 6),
                                  metrics.confusion_matrix(labels, predicted, labels=range(6)))


def test_the_commonest_mistakes_are_those_of_the_matrix():
    labels, predicted = np.random.default_rng(0).integers(0, 5, [2, 300])
    matrix = metrics.confusion_matrix(labels, predicted)
    found = confusion.mistakes(labels, predicted, 5, 7)
    assert all(matrix[really, taken] == number and really != taken for really, taken, number in found)
    off = sorted((matrix - np.diag(np.diag(matrix))).ravel(), reverse=True)
    assert [number for *_, number in found] == off[:7] and len({pair[:2] for pair in found}) == 7
    assert confusion.mistakes(labels, labels, 5, 7) == []
    assert confusion.mistakes(np.array([0, 40_000, 40_000]), np.array([0, 1, 1]), 50_000, 7) == [(40_000, 1, 2)]


def test_of_many_classes_those_with_most_mistakes_are_chosen():
    matrix = np.diag(np.full(6, 100))
    matrix[4, 1], matrix[2, 4], matrix[5, 5] = 7, 1, 0
    assert confusion.worst(matrix, 3).tolist() == [1, 2, 4]


def drawn(matrix, names, title="title"):
    return tf.io.decode_png(confusion.picture(matrix, names, title), channels=3).numpy()


@pytest.mark.parametrize("classes", [2, 120])
def test_nothing_of_the_picture_is_cut(classes):
    matrix = np.arange(classes ** 2).reshape(classes, classes)
    picture = drawn(matrix, ["a long name of a class"] * classes, "What the student takes for what: 3,000 held-out images")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()


def test_names_are_no_formulas():
    matrix = np.array([[3, 1], [0, 0]])
    with matplotlib.rc_context({"text.usetex": True}):      # of a user's own settings
        picture = drawn(matrix, ["$a_b$", "\\frac{"])
    np.testing.assert_array_equal(picture, drawn(matrix, ["$a_b$", "\\frac{"]))
    assert not np.array_equal(picture, drawn(matrix, ["a_b", "\\frac{"]))

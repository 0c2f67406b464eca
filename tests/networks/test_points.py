"""Networks of points with many dimensions: one linear layer, and Gaussians about training points."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import networks


def test_the_linear_network_is_one_layer_of_zeros():
    model = networks.build("linear", 3, (7,))
    assert model.count_params() == networks.counts("linear", 3, (7,)).weights == 24
    np.testing.assert_array_equal(model(np.ones([2, 7], np.float32)), np.zeros([2, 3]))
    with pytest.raises(ValueError, match="this network takes points"):
        networks.build("linear", 3, (8, 8, 3))


def test_features_about_centres_are_normalised_gaussians():
    points = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    model = networks.build("rbf-8", 3, (6,), points=points, seed=4)
    kernel, bias = model.get_layer("features").get_weights()
    # The kernel is c / w^2 and the bias -|c|^2 / 2 w^2, so that both give w^2 and the centres.
    squares = -2 * bias / (kernel ** 2).sum(0)
    np.testing.assert_allclose(squares, squares.mean(), rtol=1e-4)
    centres = (kernel * squares).T
    distance = np.abs(centres[:, None] - points).max(-1)
    assert distance.min(1).max() < 1e-4 and len(set(distance.argmin(1))) == 8
    gaussians = np.exp(-((points[:, None] - centres) ** 2).sum(-1) / (2 * squares.mean()))
    features = tf.keras.Model(model.input, model.get_layer("features").output)
    np.testing.assert_allclose(features(points), gaussians / gaussians.sum(1, keepdims=True), rtol=1e-3,
                               atol=1e-6)
    nearest = ((points[:, None] - centres) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(squares.mean(), np.median(nearest[nearest > 1e-6]), rtol=1e-3)
    assert [weight.shape.as_list() if hasattr(weight.shape, "as_list") else list(weight.shape)
            for weight in model.trainable_weights] == [[8, 3], [3]]


def test_centres_that_cannot_be_are_one_line():
    with pytest.raises(ValueError, match="rbf-8 with 5 training points"):
        networks.build("rbf-8", 3, (2,), points=np.ones([5, 2]))
    with pytest.raises(ValueError, match="1 centres: expected at least 2"):
        networks.find("rbf-1")

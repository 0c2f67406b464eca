"""Views of images for a backbone: functions of seed, key and number alone."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.features import views
from tests.prep import jpeg

PLAN = {"view": {"size": 16, "crop": "inception"},
        "augmented": {"views": 2, "seed": 3, "flip": True, "randaugment_layers": 1,
                      "randaugment_magnitude": 5.0, "cutout": 4}}


def test_crops_depend_on_the_seed_the_key_and_their_number():
    made = views.decode(jpeg(1), "a", 2, PLAN["view"], 3)
    assert made.shape == (5, 16, 16, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(views.decode(jpeg(1), "a", 2, PLAN["view"], 3), made)
    assert len({crop.tobytes() for crop in made}) == 5
    for other in (views.decode(jpeg(1), "b", 2, PLAN["view"], 3), views.decode(jpeg(1), "a", 2, PLAN["view"], 4)):
        np.testing.assert_array_equal(other[0], made[0])
        assert (other[1:] != made[1:]).any(axis=(1, 2, 3)).all()
    fewer = views.decode(jpeg(1), "a", 0, PLAN["view"], 3)
    np.testing.assert_array_equal(fewer, made[:1])


def test_whole_squares_are_repeated():
    made = views.decode(jpeg(1), "a", 2, {"size": 16, "crop": "whole"}, 3)
    assert made.shape == (5, 16, 16, 3) and (made == made[0]).all()


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch():
    model = tf.keras.Sequential([tf.keras.Input((16, 16, 3)), tf.keras.layers.Flatten()])
    network = views.Network(model, PLAN)
    keys = [b"a", b"b", b"c"]
    images = np.stack([views.decode(jpeg(i), key.decode(), 2, PLAN["view"], 3) for i, key in enumerate(keys)])
    found = network(images, keys).numpy()
    np.testing.assert_allclose(found[:, 0], images[:, 0].reshape(3, -1) / 127.5 - 1, atol=1e-6)
    order = [2, 0, 1]
    np.testing.assert_allclose(network(images[order], [keys[i] for i in order]).numpy(), found[order],
                               atol=1e-6)
    assert (np.abs(found[:, 1:] - found[:, :1]).max(axis=2) > 0.1).all()

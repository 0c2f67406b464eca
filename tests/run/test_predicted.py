"""What a run's networks make of images, by functions that several runs of one process have each."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.data import views
from mpl_tf.run import evaluation, predicted, serving

IMAGES = np.arange(2 * 3 * 3, dtype="uint8").reshape(2, 3, 3, 1)


def batches(images):
    return tf.data.Dataset.from_tensor_slices((images, np.arange(2))).batch(2)


def serve(network):
    return serving.serving_function(network, (3, 3, 1))(IMAGES)


def classify(network):
    return predicted.logits_function(network)(batches(IMAGES.astype("float32")))


def evaluate(network):
    return evaluation.accuracy_function(network)(batches(IMAGES.astype("float32")))["by_class"]


def look(_):
    return views._called(lambda images: images + 1, "a view", IMAGES.astype("float32"), None)


def look_by_a_mean(_):
    """A tensor of the user's own is no argument that the batch is taken for."""
    normalize = functools.partial(lambda images, mean: images - mean, mean=tf.constant(2.0))
    np.testing.assert_array_equal(views._called(normalize, "a view", IMAGES.astype("float32"), None), IMAGES - 2.0)
    return IMAGES


@pytest.mark.parametrize("made", [serve, classify, evaluate, look, look_by_a_mean])
def test_many_runs_in_one_process_are_no_warning(made, caplog):
    """TensorFlow warned of functions that are traced too often, which here are those of several runs."""
    network = tf.keras.Sequential([
        tf.keras.Input([3, 3, 1]), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
    with caplog.at_level("WARNING", logger="tensorflow"):
        found = [np.array(made(network), float) for _ in range(7)]
    np.testing.assert_array_equal(found[0], found[-1])
    assert len(found[0]) in (2, 3) and "retracing" not in caplog.text

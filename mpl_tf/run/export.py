"""Exports a trained student: as a .keras file, and as a SavedModel with serving signatures."""

from __future__ import annotations

import os
from typing import Any, Dict

import tensorflow as tf

from mpl_tf.common import plain_path, storage
from mpl_tf.data import augment


def export(student: tf.keras.Model, folder: str) -> None:
    """Writes `folder`/student.keras and `folder`/saved_model, each whole or not at all.

    `tf.keras.models.load_model` reads the .keras file where mpl_tf can be imported. The SavedModel
    needs TensorFlow alone. Its signatures take:

        serving_default  image float32 [B, ...], as the network takes it (pixels in [-1, 1])
        serving_uint8    image uint8 [B, H, W, C], raw pixels 0..255; only for networks of images

    Both return {"logits": [B, K], "probabilities": [B, K]}, float32.
    """
    folder = plain_path.plain(folder)
    file = os.path.join(folder, "student.keras")
    with storage.partial(file) as temporary:
        student.save(temporary, save_format="keras")
    # A copy, because its variables belong to no strategy.
    network = tf.keras.models.load_model(file, compile=False)
    with storage.partial(os.path.join(folder, "saved_model")) as temporary:
        tf.saved_model.save(network, temporary, signatures=signatures(network))


def signatures(network: tf.keras.Model) -> Dict[str, Any]:
    """The serving functions of `network`, by the names of their signatures."""
    shape = network.input_shape[1:]

    def outputs(image):
        logits = tf.cast(network(image, training=False), tf.float32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    serving = {"serving_default": tf.function(outputs).get_concrete_function(
        tf.TensorSpec([None, *shape], tf.float32, name="image"))}
    if len(shape) == 3:
        raw = tf.function(lambda image: outputs(augment.normalize(image)))
        serving["serving_uint8"] = raw.get_concrete_function(
            tf.TensorSpec([None, *shape], tf.uint8, name="image"))
    return serving

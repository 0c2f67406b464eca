"""Views of images for a backbone: the one that evaluations see, and augmented ones.

Each is a function of (seed, key of the image, number of the view) alone, so that it does not matter
in which shard, batch, process or order an image is seen.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import tensorflow as tf

from mpl_tf.data import augment
from mpl_tf.shards import crops

_WEAK, _STRONG = 3, 4       # streams of random numbers, see random_bits.uniforms


def decode(encoded: bytes, key: str, count: int, view: dict, seed: int) -> np.ndarray:
    """Decodes an image file to its crops, uint8 [1 + 2 count, size, size, 3].

    Args:
      encoded: the image file. key: what identifies the image.
      count: how many weak, and how many strong, views are made of it.
      view: {"size", "crop"}, as crops.evaluation_crop has them.
      seed: of the random crops, which are taken where crop is "inception"; else every crop is the
        central square.

    Returns:
      The crop of evaluations, then those of the weak views, then those of the strong ones.
    """
    plain = crops.evaluation_crop(encoded, view["size"], view["crop"])[np.newaxis]
    if not count:
        return plain
    if view["crop"] != "inception":
        return np.repeat(plain, 1 + 2 * count, axis=0)
    return np.concatenate([plain, crops.decode(encoded, lambda height, width: [
        crops.inception_box(height, width, uniforms(seed, key, number))
        for number in range(2 * count)], view["size"])])


def uniforms(seed: int, key: str, number: int) -> np.ndarray:
    """Uniform numbers [ATTEMPTS, 4] in [0, 1) for a crop; the same on every machine."""
    text = f"{seed}\n{number}\n{key}".encode("utf-8", "surrogateescape")
    bits = np.frombuffer(hashlib.shake_128(text).digest(4 * 4 * crops.ATTEMPTS), "<u4")
    return bits.reshape(crops.ATTEMPTS, 4) / 2.0 ** 32


class Network:
    """Maps crops to features: (uint8 [B, V, size, size, 3], keys) -> float32 [B, V, F].

    Args:
      model: images in [-1, 1] -> features. plan: the contents of features.json.
    """

    def __init__(self, model: tf.keras.Model, plan: dict):
        self._model, self._plan, self._functions = model, plan, {}

    def __call__(self, images: np.ndarray, keys: list) -> tf.Tensor:
        """Starts the passes for a batch; whoever needs the numbers waits for them."""
        views = images.shape[1]
        if views not in self._functions:
            self._functions[views] = tf.function(self._features, input_signature=[
                tf.TensorSpec([None, *images.shape[1:]], tf.uint8), tf.TensorSpec([None], tf.int64)])
        return self._functions[views](
            tf.constant(images), tf.constant([zlib.crc32(key) for key in keys], tf.int64))

    def _features(self, images, examples):
        made = [augment.normalize(images[:, 0])]
        options = self._plan["augmented"]
        count, size = (images.shape[1] - 1) // 2, self._plan["view"]["size"]
        crop = dict(padding=0 if self._plan["view"]["crop"] == "inception" else size // 8,
                    flip=options["flip"])
        for number in range(count):
            epochs = tf.fill(tf.shape(examples), tf.constant(number, tf.int64))
            made.insert(1 + number, augment.normalize(augment.weak_view(
                images[:, 1 + number], options["seed"], examples, epochs, _WEAK, **crop)))
            made.append(augment.normalize(augment.strong_view(
                images[:, 1 + count + number], options["seed"], examples, epochs, _STRONG,
                layers=options["randaugment_layers"], magnitude=options["randaugment_magnitude"],
                cutout=options["cutout"], **crop)))
        # View by view, so that a batch of many views takes no more memory.
        return tf.stack([tf.cast(self._model(view, training=False), tf.float32) for view in made], 1)

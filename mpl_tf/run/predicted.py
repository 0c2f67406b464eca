"""What a finished run's networks say of each test image, kept in its folder: test_predictions.npz."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Mapping

import numpy as np
import tensorflow as tf

from mpl_tf import data
from mpl_tf.common import arrays
from mpl_tf.datasets.images import as_images

FILE = "test_predictions.npz"
ROLES = ("student", "teacher")
_SHARED = ("step", "labels", "keys")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """The logits of networks for N test images.

    Attributes:
      step: the number of steps that the networks were trained.
      labels: int64 [N]. keys: bytes [N], what tells each image from all others of its data set.
      logits: {"student" and, where there is one, "teacher": float32 [N, K]}.
    """
    step: int
    labels: np.ndarray
    keys: np.ndarray
    logits: dict[str, np.ndarray]

    def classes(self, role: str) -> np.ndarray:
        """The likeliest class of each image, int64 [N]."""
        return self.logits[role].argmax(axis=1)

    def right(self, role: str) -> np.ndarray:
        """Whether the likeliest class is the label, bool [N]."""
        return self.classes(role) == self.labels


def logits_function(network: tf.keras.Model) -> Any:
    """A function of a dataset of (images, labels) that returns the network's logits, float32 [N, K]."""
    spec = tf.TensorSpec([None, *network.input_shape[1:]], network.inputs[0].dtype)

    @tf.function(input_signature=[spec])
    def of_batch(images):
        return tf.cast(network(images, training=False), tf.float32)

    # TensorFlow counts what a call traces, and would warn where one process reads several runs.
    of_batch.get_concrete_function()
    return lambda dataset: np.concatenate([of_batch(images).numpy() for images, _ in dataset])


def measure(networks: Mapping[str, tf.keras.Model], split: Any, step: int,
            batch_size: int) -> tuple[Predicted, dict[str, Any]]:
    """Has networks, by role, classify the test images.

    Returns:
      (Predicted, {role: the network's logits_function}, which need not be traced again).
    """
    functions = {role: logits_function(network) for role, network in networks.items()}
    batches = data.eval_dataset(split, batch_size)
    images = as_images(split.images)
    # A class of a user's own, from before there were keys, has none.
    keys = images.keys(np.arange(len(images))) if hasattr(images, "keys") else map(str, range(len(images)))
    return Predicted(step, np.asarray(split.labels, np.int64),
                     np.array([os.fsencode(key) for key in keys]),
                     {role: function(batches) for role, function in functions.items()}), functions


def write(folder: str, predicted: Predicted) -> None:
    """Writes test_predictions.npz into a run's folder."""
    arrays.write(os.path.join(folder, FILE), {
        "step": np.int64(predicted.step), "labels": predicted.labels, "keys": predicted.keys,
        **predicted.logits})


def read(folder: str, step: int) -> Predicted | None:
    """Reads what `write` wrote; None where there is nothing, or of another step.

    Raises:
      ValueError: in one line: the file is damaged.
    """
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path):
        return None
    try:
        names = {name.removesuffix(".npy") for name, _, _ in arrays.members(path)}
        found = arrays.read(path, [*_SHARED, *(role for role in ROLES if role in names)])
        logits = {role: found[role] for role in ROLES if role in found}
        count, classes = logits["student"].shape
        labels = found["labels"]
        if (labels.shape != (count,) or found["keys"].shape != (count,) or labels.dtype.kind != "i"
                or any(value.shape != (count, classes) or value.dtype.kind != "f"
                       or not np.isfinite(value).all() for value in logits.values())
                or not count or labels.min() < 0 or labels.max() >= classes):
            raise ValueError("its arrays do not belong together")
        found_step = int(found["step"])
    except arrays.DAMAGED as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:120]}): move it elsewhere, and "
                         "it is made again from the checkpoint") from error
    return Predicted(found_step, labels, found["keys"], logits) if found_step == step else None

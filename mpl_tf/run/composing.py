"""Makes one model of images of a backbone, the transformation of its features and a trained head.

A run on features exports that model, so that whoever classifies images needs neither the features nor
the backbone's own file. In the run's folder are, beside what every run exports,

    features.json       which backbone it was, and how it sees images
    transform.npz       the transformation alone, by which another run's is compared with it
    head.keras          what was trained: transformed features -> logits
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, Optional

import numpy as np
import tensorflow as tf

from mpl_tf.common import arrays, plain_path, storage
from mpl_tf.common.structure import WHOLE
from mpl_tf.datasets import feature_files
from mpl_tf.datasets.feature_transform import Transform
from mpl_tf.datasets.features import Made
from mpl_tf.run import keras_files

FEATURES, TRANSFORM, HEAD = "features.json", "transform.npz", "head.keras"


def compose(backbone: tf.keras.Model, transform: Transform, head: tf.keras.Model) -> tf.keras.Model:
    """A model of images as the backbone takes them -> logits, of Keras's own layers but the head's."""
    image = tf.keras.Input(backbone.input_shape[1:], name="image")
    x = backbone(image, training=False)
    if transform.projects:
        affine = tf.keras.layers.Dense(len(transform.bias), name="feature_transform", dtype="float32")
    else:
        affine = tf.keras.layers.Rescaling(transform.kernel.tolist(), transform.bias.tolist(),
                                           name="feature_transform", dtype="float32")
    x = affine(x)
    if transform.projects:
        affine.set_weights([transform.kernel, transform.bias])
    if transform.unit_length:
        x = tf.keras.layers.UnitNormalization(name="unit_length", dtype="float32")(x)
    return tf.keras.Model(image, head(x), name="student")


def of_run(made: Made, head: tf.keras.Model) -> tf.keras.Model:
    """The composed model of a run: `made` is its data set's, `head` what it trained.

    Raises:
      ValueError: in one line: the folder of features has lost its backbone, or has another one.
    """
    return compose(stored(made.folder, made.plan["backbone"]["digest"]), made.transform, head)


def write(folder: str, made: Made, save_head: Any) -> None:
    """Writes what a run on features has beside other runs' files; `save_head` writes to a path."""
    with storage.partial(os.path.join(plain_path.plain(folder), HEAD)) as temporary:
        save_head(temporary)
    transform = made.transform
    arrays.write(os.path.join(folder, TRANSFORM), {
        "kernel": transform.kernel, "bias": transform.bias,
        "unit_length": np.array(transform.unit_length)})
    storage.write_json(os.path.join(folder, FEATURES), {
        name: made.plan[name] for name in ("version", "backbone", "view")})


def view(folder: str) -> Dict[str, Any]:
    """How the run in `folder` sees an image: {"size": pixels of a side, "crop": of crops.CROPS}.

    Raises:
      ValueError: in one line, where the run is not finished or the file is damaged.
    """
    path = os.path.join(folder, FEATURES)
    remedy = "move the run's results.json elsewhere, and its training writes both again"
    found = storage.read_json(path, remedy, {"view": {"size": WHOLE, "crop": str}})
    if found is None:
        raise ValueError(f"--model_dir={folder} has no {FEATURES}: the run is not finished; train it to "
                         "the end first")
    return found["view"]


def check_head(folder: str, transform: Transform) -> Optional[str]:
    """Why the head of the run in `folder` cannot be used behind `transform`; None if it can."""
    path = os.path.join(folder, TRANSFORM)
    try:
        found = arrays.read(path, ("kernel", "bias", "unit_length"))
    except (ValueError, OSError) as error:
        return f"{path} cannot be read ({error})"
    same = (found["kernel"].shape == transform.kernel.shape
            and bool(found["unit_length"]) == transform.unit_length
            and np.allclose(found["kernel"], transform.kernel, rtol=1e-3, atol=1e-6)
            and np.allclose(found["bias"], transform.bias, rtol=1e-3, atol=1e-4))
    return None if same else (
        "its features were transformed otherwise: give both runs the same --data_dir, --holdout, "
        "--split_seed, --feature_components and --feature_unit_length")


def stored(folder: str, expected: str) -> tf.keras.Model:
    """Loads the backbone that a folder of features keeps.

    Args:
      expected: its digest, as features.json has it.

    Raises:
      ValueError: in one line: it is missing, not to be loaded, or another one.
    """
    path = os.path.join(folder, feature_files.BACKBONE)
    if not os.path.isfile(path):
        raise ValueError(f"{path} is missing: run the command of data_prep.features that made the "
                         "folder again, which writes it")
    model = keras_files.load(path)
    if digest(model) != expected:
        raise ValueError(f"{path} is another backbone than {feature_files.PLAN} says: move it "
                         "elsewhere, and run the command of data_prep.features that made the folder "
                         "again")
    return model


def digest(model: tf.keras.Model) -> str:
    """sha256 over the weights of a model: the same wherever it was loaded."""
    found = hashlib.sha256()
    for weight in model.get_weights():
        found.update(repr(weight.shape).encode())
        found.update(np.ascontiguousarray(weight, "<f4").data)
    return found.hexdigest()

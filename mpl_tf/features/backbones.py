"""Loads pretrained backbones: models of images [B, size, size, 3] in [-1, 1] -> features [B, F]."""

from __future__ import annotations

import os

import tensorflow as tf

from mpl_tf.networks import applications, efficientnet_lite
from mpl_tf.run import keras_files

SIZE = 224      # of images, in pixels, where neither the user nor the backbone says
EXPECTED = (f"{efficientnet_lite.NAME}, {applications.PREFIX}NAME such as "
            f"{applications.PREFIX}EfficientNetV2B0, or the path of a .keras file")


def load(name: str, image_size: int = 0, weights: str = "") -> tf.keras.Model:
    """Loads the backbone called `name`.

    Args:
      name: "efficientnet-lite0", "keras.applications:NAME", or the path of a .keras file.
      image_size: side of its images in pixels; 0: what a .keras file takes, or SIZE.
      weights: for keras.applications, "imagenet" or a file; "": "imagenet".

    Raises:
      ValueError, FileNotFoundError: in one line: there is no such backbone, its weights are missing,
        or it does not take such images or give such features.
    """
    of_keras = name.startswith(applications.PREFIX)
    if weights and not of_keras:
        raise ValueError(f"--weights={weights} with --backbone={name}: expected only with "
                         f"{applications.PREFIX}NAME; other backbones have weights of their own: leave "
                         "it out")
    try:
        if name == efficientnet_lite.NAME:
            return efficientnet_lite.backbone((image_size or SIZE,) * 2 + (3,))
        if of_keras:
            return applications.backbone(name, (image_size or SIZE,) * 2 + (3,), weights or "imagenet")
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"--backbone={name}: {error}") from error
    if not name.endswith(".keras"):
        raise ValueError(f"--backbone={name} is unknown: expected {EXPECTED}")
    if not os.path.isfile(name):
        raise FileNotFoundError(f"--backbone={name}: there is no such file; expected {EXPECTED}")
    return _of_file(name, image_size)


def _of_file(path, image_size):
    try:
        model = keras_files.load(path)
    except ValueError as error:
        raise ValueError(f"--backbone={error}") from error
    begin = f"--backbone={path}"
    # A class of somebody's own, such as a model that trains two networks, has neither.
    ends = [len(getattr(model, name, None) or ()) for name in ("inputs", "outputs")]
    if ends != [1, 1]:
        raise ValueError(f"{begin} is a {type(model).__name__} of {ends[0]} inputs and {ends[1]} outputs: expected "
                         "a network of one input and one output; of a model that trains networks save one of these, "
                         "such as model.student")
    inputs, outputs = tuple(model.input_shape), tuple(model.output_shape)
    if len(inputs) != 4 or inputs[-1] != 3 or inputs[1] != inputs[2]:
        raise ValueError(f"{begin} takes inputs of shape {inputs[1:]}: expected square RGB images "
                         "(size, size, 3), with values in [-1, 1]")
    if len(outputs) != 2 or not outputs[-1]:
        raise ValueError(f"{begin} gives outputs of shape {outputs[1:]}: expected features (F,), one "
                         "row for each image; add a GlobalAveragePooling2D layer, and save it again")
    if image_size and inputs[1] and image_size != inputs[1]:
        raise ValueError(f"--image_size={image_size} with {begin}, which takes images of {inputs[1]} "
                         "pixels: leave --image_size out")
    if inputs[1]:
        return model
    image = tf.keras.Input((image_size or SIZE,) * 2 + (3,), name="image")
    return tf.keras.Model(image, model(image), name="backbone")

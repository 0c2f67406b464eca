"""Exports a trained student: Keras files, and a SavedModel with serving signatures.

docs/serving.md says how programs elsewhere use them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from typing import Any, Dict, Optional, Sequence

import tensorflow as tf

from mpl_tf.common import command, keras_seam, plain_path, storage
from mpl_tf.data import augment, resize
from mpl_tf.networks.layers import FusedBatchNormalization, ReplayableDropout
from mpl_tf.run import interchange


def export(student: tf.keras.Model, folder: str, class_names: Optional[Sequence[str]] = None,
           crop: str = "whole") -> None:
    """Writes student.keras, classifier.keras and saved_model, each whole or not at all.

        student.keras       what was trained: images as it takes them, pixels in [-1, 1] -> logits
        classifier.keras    raw pixels 0..255 [B, H, W, C] of any size -> probabilities [B, K]
        saved_model         needs TensorFlow alone; see `signatures`

    For networks of points, classifier.keras takes the points as they are.

    Args:
      student: a Keras model with one input, to logits [B, K].
      folder: an existing folder.
      class_names: K names; None stands for the numbers of the classes.
      crop: one of crops.CROPS, how the run's evaluation crops an image of another size.
    """
    folder = plain_path.plain(folder)
    # A copy, because its variables belong to no strategy.
    network = tf.keras.models.load_model(save_whole(student, folder), compile=False)
    with storage.partial(os.path.join(folder, "classifier.keras")) as temporary:
        save(classifier(network, crop), temporary)
    with storage.partial(os.path.join(folder, "saved_model")) as temporary:
        tf.saved_model.save(network, temporary, signatures=signatures(network, class_names, crop))


def save_whole(student: tf.keras.Model, folder: str) -> str:
    """Writes student.keras alone; returns its path."""
    file = os.path.join(plain_path.plain(folder), "student.keras")
    with storage.partial(file) as temporary:
        save(student, temporary)
    return file


def remove(folder: str) -> None:
    """Removes what `export` writes, if it is there."""
    folder = plain_path.plain(folder)
    for name in ("student.keras", "classifier.keras"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))
    shutil.rmtree(os.path.join(folder, "saved_model"), ignore_errors=True)


def signatures(network: tf.keras.Model, class_names: Optional[Sequence[str]] = None,
               crop: str = "whole") -> Dict[str, Any]:
    """The serving functions of `network`, by the names of their signatures.

        serving_default  image uint8 [B, H, W, C], raw pixels 0..255 of any size, the same for all
                         images of a call; they are cropped and resized as in the run's evaluation
        serving_float    image float32 [B, ...], as the network takes it (pixels in [-1, 1])
        serving_uint8    image uint8, raw pixels of the network's own size

    All return {"logits": [B, K], "probabilities": [B, K]}, float32. serving_default also returns
    strings: {"class_names": [B, K], the same K in each row, as TensorFlow Serving wants a row for
    each image; "predicted_class": [B]}. For a network of points, serving_default takes what
    serving_float takes, and there is no serving_uint8.
    """
    shape, classes = tuple(network.input_shape[1:]), network.output_shape[-1]
    names = [str(k) for k in range(classes)] if class_names is None else class_names
    if len(names) != classes:
        raise ValueError(f"{len(names)} class names for a network with logits for {classes} classes: give "
                         "one for each class, in the order of the class numbers")
    names = tf.constant([_bytes(name) for name in names])

    def outputs(image):
        logits = tf.cast(network(image, training=False), tf.float32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def named(image):
        found = outputs(image)
        rows = tf.repeat(names[None], tf.shape(found["logits"])[0], axis=0)
        return {**found, "class_names": rows,
                "predicted_class": tf.gather(names, tf.argmax(found["logits"], axis=-1))}

    def serve(function, *spec):
        spec = tf.TensorSpec(*spec, name="image")
        name = f"image_of_{spec.shape[-1]}_channels" if len(spec.shape) == 4 else "point"

        def checked(image):     # a signature itself takes any shape, and Flatten makes of it what it can
            return function(tf.ensure_shape(image, spec.shape, name=name))
        return tf.function(checked).get_concrete_function(spec)

    serving = {"serving_float": serve(outputs, [None, *shape], tf.float32)}
    if not is_of_images(network):
        return {**serving, "serving_default": serve(named, [None, *shape], tf.float32)}
    return {**serving,
            "serving_uint8": serve(lambda image: outputs(augment.normalize(image)),
                                   [None, *shape], tf.uint8),
            "serving_default": serve(
                lambda image: named(augment.normalize(
                    resize.evaluation_pixels(image, shape[0], crop))),
                [None, None, None, shape[-1]], tf.uint8)}


def _bytes(name):
    """A name as it is in its file's name; half a pair of surrogates, which has no bytes, as its escape."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return command.readable(name).encode()


def is_of_images(network: tf.keras.Model) -> bool:
    """Whether a network takes square images [B, size, size, C]."""
    shape = network.input_shape[1:]
    return len(shape) == 3 and shape[0] == shape[1] and shape[0] is not None


def classifier(network: tf.keras.Model, crop: str = "whole") -> tf.keras.Model:
    """Makes a model of raw pixels [B, H, W, C] (or points) -> probabilities [B, K] of `network`.

    It has layers of Keras's alone, unless the network has some of ours that no layer of Keras's can
    stand for. So a program without this package can load it.
    """
    raw = pixels = tf.keras.Input(network.input_shape[1:], dtype=network.inputs[0].dtype,
                                  name="point")
    if is_of_images(network):
        raw = tf.keras.Input((None, None, network.input_shape[-1]), name="image", dtype="float32")
        pixels = _pixels(raw, network.input_shape[1], crop)
    logits = with_layers_of_keras(network)(pixels)
    probabilities = tf.keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return tf.keras.Model(raw, probabilities, name="classifier")


def _pixels(raw, size, crop):
    """What a network of images of `size` sees of raw pixels, a symbolic tensor of Keras's.

    Keras 2 makes layers of TensorFlow's operations, Keras 3 of its own.
    """
    if not keras_seam.IS_KERAS_3:
        return augment.normalize(resize.evaluation_pixels(raw, size, crop))
    return resize.symbolic_pixels(raw, size, crop) * (1 / 127.5) - 1.0


def with_layers_of_keras(network: tf.keras.Model) -> tf.keras.Model:
    """A copy of a functional or Sequential network with Keras's Dropout and batch norm for ours.

    Another network, whose layers only its own code knows, is returned as it is.
    """
    def plain(layer):
        if isinstance(layer, ReplayableDropout):
            return tf.keras.layers.Dropout.from_config(layer.get_config())
        if isinstance(layer, FusedBatchNormalization):
            return tf.keras.layers.BatchNormalization.from_config(layer.get_config())
        if isinstance(layer, tf.keras.Model):
            return with_layers_of_keras(layer)
        return type(layer).from_config(layer.get_config())

    if not getattr(network, "inputs", None) or type(network) not in (
            tf.keras.Sequential, type(tf.keras.Model(network.inputs, network.outputs))):
        return network
    copy = tf.keras.models.clone_model(network, clone_function=plain)
    copy.set_weights(network.get_weights())
    return copy


def save(model: tf.keras.Model, path: str) -> None:
    """Writes a .keras file that Keras 2 and Keras 3 read, and that says what a program lacks.

    See `interchange` for the form. Where a layer's class is not registered, Keras 2 says "'str' object
    is not callable" for a class with a module, and names the class for one without. A registered class
    needs no module.
    """
    def without_module(part):
        if isinstance(part, list):
            return [without_module(each) for each in part]
        if not isinstance(part, dict):
            return part
        part = {key: without_module(value) for key, value in part.items()}
        if str(part.get("registered_name")).startswith("mpl_tf>"):
            part.update(module=None, class_name=f"{part['class_name']} of mpl_tf, which has to be "
                        "imported before this file is loaded")
        return part

    whole = f"{path[:-len('.keras')]}.whole.keras"
    try:
        model.save(whole)
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                if name == "config.json":
                    new.writestr(name, json.dumps(without_module(
                        interchange.common_form(json.loads(old.read(name))))))
                else:
                    with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target)
    finally:
        storage.remove(whole)

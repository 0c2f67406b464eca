"""The exported student of a finished run, for programs that classify images by it."""

import os

from mpl_tf.run import run_folder


def view_of(config):
    """How the run of a Config evaluates an image: {"size": side in pixels, "crop": of crops.CROPS}."""
    return {"size": config.image_size or config.source.image_size,
            "crop": "inception" if config.image_size else "whole"}


class Served:
    """The student in a run's saved_model: uint8 images [B, size, size, C] -> float32 [B, K].

    Args:
      model_dir: folder of the run.
      size: side in pixels of an image, as the run's flags say.
      num_classes: K, as its classes.json says; None: it says nothing.

    Attributes:
      shape: (size, size, C) of an image.

    Raises:
      ValueError: in one line: there is no saved_model, it is damaged or classifies no images, or it
        has another size or number of classes.
    """

    def __init__(self, model_dir, size, num_classes=None):
        path = os.path.join(model_dir, "saved_model")
        if not os.path.isdir(path):
            raise ValueError(f"model_dir={model_dir} has no saved_model: the run is not "
                             "finished; train it to the end first")
        import tensorflow as tf
        self._tf = tf
        try:
            self._loaded = tf.saved_model.load(path)    # its variables live as long as it does
            self._serve = self._loaded.signatures["serving_uint8"]
            self.shape = tuple(self._serve.structured_input_signature[1]["image"].shape[1:])
            classes = self._serve.structured_outputs["probabilities"].shape[-1]
        except Exception as error:      # a damaged one raises whatever TensorFlow comes upon
            raise ValueError(f"{path} cannot be read "
                             f"({' '.join(str(error).split())[:120]}): delete results.json in "
                             f"{model_dir} and run its training again, which exports it") from error
        expected = classes if num_classes is None else num_classes
        if (*self.shape[:2], classes) != (size, size, expected):
            raise ValueError(
                f"model_dir={model_dir}: saved_model takes images of {self.shape[0]} pixels and "
                f"gives {classes} classes, but its flags and {run_folder.CLASSES} say {size} and "
                f"{expected}: train it again")

    def __call__(self, images):
        """Starts a forward pass; its probabilities are waited for where they become NumPy."""
        return self._serve(image=self._tf.constant(images))["probabilities"]

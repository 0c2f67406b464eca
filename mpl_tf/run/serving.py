"""Loads the exported student of a finished run, for programs that classify images with it."""

import os

from mpl_tf.common import plain_path
from mpl_tf.run import run_folder


def view_of(config):
    """How a Config's run evaluates an image: {"size": pixels of a side, "crop": of crops.CROPS}."""
    return {"size": config.image_size or config.source.image_size,
            "crop": "inception" if config.image_size else "whole"}


class Served:
    """The student in a run's saved_model: maps uint8 [B, size, size, C] to probabilities [B, K].

    Args:
      model_dir: folder of the run.
      size: side of an image in pixels, according to the run's flags.
      num_classes: K according to the run's classes.json; None where it has none: not checked.

    Attributes:
      shape: (size, size, C) of an image.

    Raises:
      ValueError: in one line: there is no saved_model, it cannot be read, or it has another size or
        number of classes.
    """

    def __init__(self, model_dir, size, num_classes=None):
        path = os.path.join(model_dir, "saved_model")
        if not os.path.isdir(path):
            raise ValueError(f"model_dir={model_dir} has no saved_model: the run is not "
                             "finished; train it to the end first")
        import tensorflow as tf
        self._tf = tf
        try:
            # Kept, because its variables live as long as it does.
            self._loaded = tf.saved_model.load(plain_path.plain(path))
            self._serve = self._loaded.signatures["serving_uint8"]
            self.shape = tuple(self._serve.structured_input_signature[1]["image"].shape[1:])
            classes = self._serve.structured_outputs["probabilities"].shape[-1]
        except MemoryError:
            raise
        except Exception as error:      # a damaged one raises whatever TensorFlow comes upon
            raise ValueError(
                f"{path} cannot be read ({' '.join(str(error).split())[:120]}): see that this "
                "process may read all of its files; where they are not those that training wrote, "
                f"move results.json out of {model_dir} and run its training again, which exports "
                "them anew") from error
        expected = classes if num_classes is None else num_classes
        if (*self.shape[:2], classes) != (size, size, expected):
            raise ValueError(
                f"model_dir={model_dir}: saved_model takes images of {self.shape[0]} pixels and "
                f"gives {classes} classes, but its flags and {run_folder.CLASSES} say {size} and "
                f"{expected}: train it again")

    def __call__(self, images):
        """Starts a forward pass; returns float32 [B, K], for which only .numpy() waits."""
        return self._serve(image=self._tf.constant(images))["probabilities"]

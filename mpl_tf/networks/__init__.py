"""Networks: Keras models of images (or points) [B, ...] -> logits [B, K]. No TensorFlow at import.

`build` makes one from its name, the functions make them from their own arguments. All work as
teacher and as student. Logits are float32 under mixed precision, float64 under a float64 policy.

To add a network, write its function in a file of this folder and decorate it with `network`:

    @network("tiny-SIZE", r"tiny-([1-9]\\d*)", takes=("image", "point"))
    def tiny(size, num_classes, input_shape, dropout=0.0, name=None, seed=None):
        ...
        return tf.keras.Model(image, logits, name=name)
"""

from __future__ import annotations

import sys
from typing import Optional, Sequence, Tuple

from mpl_tf.common.lazy import import_all, tf
from mpl_tf.networks.registry import NETWORKS, Network, available, find, network

import_all(sys.modules[__name__], but=("layers",))      # whose classes need TensorFlow at import

from mpl_tf.networks.calibration import calibration  # noqa: E402
from mpl_tf.networks.efficientnet import DROP_CONNECT, efficientnet  # noqa: E402
from mpl_tf.networks.mlp import mlp  # noqa: E402
from mpl_tf.networks.rbf import rbf_linear  # noqa: E402
from mpl_tf.networks.resnet import resnet50  # noqa: E402
from mpl_tf.networks.small_conv import small_conv  # noqa: E402
from mpl_tf.networks.wide_resnet import wide_resnet  # noqa: E402

__all__ = ["NETWORKS", "Network", "available", "build", "calibration", "efficientnet", "find",
           "mlp", "network", "rbf_linear", "resnet50", "small_conv", "wide_resnet"]


def build(name: str, num_classes: int, input_shape: Sequence[int],
          dropout: Optional[float] = None, batch_norm_decay: float = 0.99, role: str = "student",
          seed: Optional[int] = 0,
          data_range: Optional[Tuple[Sequence[float], Sequence[float]]] = None,
          drop_connect: float = DROP_CONNECT, weights: Optional[str] = None) -> tf.keras.Model:
    """Builds a network by name.

    Args:
      name: such as "wrn-28-2"; NETWORKS has them all, `available()` in words.
      num_classes: K.
      input_shape: of one image or point, without the batch.
      dropout: rate at the prediction; None: the network's own (Tan & Le's of EfficientNets, 0 of
        others).
      batch_norm_decay: of batch norm's averages.
      role: the model's name. The initial weights do not depend on it.
      seed: of the initial weights, the same bit for bit in any process.
      drop_connect: highest rate of EfficientNet's stochastic depth.
      weights: a local file of weights to start from; see `efficientnet`.
      data_range: (lowest, highest) corner of the data; see `rbf_linear`.

    A network without batch norm, dropout or stochastic depth leaves these arguments alone; weights
    and data_range are refused by one that does not take them.

    Returns:
      tf.keras.Model.

    Raises:
      ValueError: in one line; for an unknown name it lists what is available.
    """
    found, numbers = find(name)
    wanted = {"weights": weights, "data_range": data_range}
    for option, value in wanted.items():
        if value is not None and value != "" and option not in found.options:
            takers = ", ".join(shown for shown, other in NETWORKS.items()
                               if option in other.options)
            raise ValueError(f"{option}={value} for {name}: expected a network that takes it "
                             f"({takers}); leave it out")
    options = {"batch_norm_decay": batch_norm_decay, "drop_connect": drop_connect, "name": role,
               "seed": seed, **wanted, **({} if dropout is None else {"dropout": dropout}),
               "num_classes": num_classes, "input_shape": input_shape}
    return found.function(*numbers, **{option: value for option, value in options.items()
                                       if option in found.options})

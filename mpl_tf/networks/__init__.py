"""Networks: Keras models of images (or points) [B, ...] -> logits [B, K].

`build` makes one from its name, the functions make them from their own arguments. All work as
teacher and as student. Logits are float32 under mixed precision, float64 under a float64 policy.
To add a network: write its function in a module here, and name it in `build`.
"""

import re

from mpl_tf.networks.calibration import calibration
from mpl_tf.networks.efficientnet import DROP_CONNECT, efficientnet
from mpl_tf.networks.mlp import mlp
from mpl_tf.networks.rbf import rbf_linear
from mpl_tf.networks.resnet import resnet50
from mpl_tf.networks.small_conv import small_conv
from mpl_tf.networks.wide_resnet import wide_resnet

__all__ = ["build", "calibration", "efficientnet", "mlp", "rbf_linear", "resnet50", "small_conv",
           "wide_resnet"]
AVAILABLE = ("wrn-DEPTH-WIDTH (such as wrn-28-2), resnet-50, small_conv, efficientnet-b0 to "
             "efficientnet-b7, mlp or mlp-SIZE-SIZE... (such as mlp-32-32), rbf, "
             "calibration-SIZE (such as calibration-128)")


def build(name, num_classes, input_shape, dropout=None, batch_norm_decay=0.99, role="student",
          seed=0, data_range=None, drop_connect=DROP_CONNECT, weights=None):
    """Builds a network by name.

    Args:
      name: "wrn-28-2" or any other "wrn-DEPTH-WIDTH", "resnet-50", "small_conv",
        "efficientnet-b0" to "efficientnet-b7", "mlp" or "mlp-SIZE-SIZE..." (hidden sizes, 32-32
        where none are given), "rbf", "calibration-SIZE" (four hidden layers of SIZE; of
        distributions [K], without dropout).
      num_classes: K.
      input_shape: of one image or point, without the batch.
      dropout: rate at the prediction; None: Tan & Le's of EfficientNets, 0 of others.
      batch_norm_decay: of batch norm's averages; no matter to networks without batch norm.
      role: the model's name. The initial weights do not depend on it.
      seed: of the initial weights, the same bit for bit in any process.
      drop_connect: EfficientNet's stochastic depth; no matter to others.
      weights: of EfficientNets, a local file of weights to start from; see `efficientnet`.
      data_range: (lowest, highest) corner of the data, of "rbf" only; see `rbf_linear`.

    Raises:
      ValueError: in one line; for an unknown name it lists what is available.
    """
    efficient = re.fullmatch(r"efficientnet-b([0-7])", name)
    if weights and not efficient:
        raise ValueError(f"weights={weights} for {name}: expected an EfficientNet; leave it out")
    dropout = 0.0 if dropout is None and not efficient else dropout
    wrn = re.fullmatch(r"wrn-(\d+)-(\d+)", name)
    convolutional = dict(num_classes=num_classes, input_shape=input_shape, dropout=dropout,
                         batch_norm_decay=batch_norm_decay, name=role, seed=seed)
    if wrn:
        return wide_resnet(int(wrn[1]), int(wrn[2]), **convolutional)
    if efficient:
        return efficientnet(int(efficient[1]), **convolutional, drop_connect=drop_connect,
                            weights=weights)
    if name == "resnet-50":
        return resnet50(**convolutional)
    if name == "small_conv":
        return small_conv(**convolutional)
    if re.fullmatch(r"mlp(-\d+)*", name):
        hidden = tuple(int(size) for size in name.split("-")[1:]) or (32, 32)
        return mlp(num_classes, input_shape, hidden, dropout, name=role, seed=seed)
    if name == "rbf":
        return rbf_linear(num_classes, input_shape, data_range, dropout=dropout, name=role)
    if re.fullmatch(r"calibration-[1-9]\d*", name):
        return calibration(num_classes, 4 * (int(name.split("-")[1]),), name=role, seed=seed)
    raise ValueError(f"unknown network {name!r}: available are {AVAILABLE}")

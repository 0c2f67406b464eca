"""Networks: Keras models of images (or points) [B, ...] -> logits [B, K].

`build` makes one from its name, the functions make them from their own arguments. All work as
teacher and as student. Logits are float32 under mixed precision, float64 under a float64 policy.
To add a network: write its function in a module here, and name it in `build`.
"""

import re

from mpl_tf.networks.calibration import calibration
from mpl_tf.networks.mlp import mlp
from mpl_tf.networks.rbf import rbf_linear
from mpl_tf.networks.resnet import resnet50
from mpl_tf.networks.small_conv import small_conv
from mpl_tf.networks.wide_resnet import wide_resnet

__all__ = ["build", "calibration", "mlp", "rbf_linear", "resnet50", "small_conv", "wide_resnet"]
AVAILABLE = ("wrn-DEPTH-WIDTH (such as wrn-28-2), resnet-50, small_conv, "
             "mlp or mlp-SIZE-SIZE... (such as mlp-32-32), rbf, calibration-SIZE (such as calibration-128)")


def build(name, num_classes, input_shape, dropout=0.0, batch_norm_decay=0.99, role="student",
          seed=0, data_range=None):
    """Builds a network by name.

    Args:
      name: "wrn-28-2" or any other "wrn-DEPTH-WIDTH", "resnet-50", "small_conv", "mlp" or
        "mlp-SIZE-SIZE..." (hidden sizes, 32-32 where none are given), "rbf", "calibration-SIZE" (four
        hidden layers of SIZE; of distributions [K], without dropout).
      num_classes: K.
      input_shape: of one image or point, without the batch.
      dropout: rate at the prediction.
      batch_norm_decay: of batch norm's averages; no matter to networks without batch norm.
      role: the model's name. The initial weights do not depend on it.
      seed: of the initial weights, the same bit for bit in any process.
      data_range: (lowest, highest) corner of the data, of "rbf" only; see `rbf_linear`.

    Raises:
      ValueError: in one line; for an unknown name it lists what is available.
    """
    wrn = re.fullmatch(r"wrn-(\d+)-(\d+)", name)
    convolutional = dict(num_classes=num_classes, input_shape=input_shape, dropout=dropout,
                         batch_norm_decay=batch_norm_decay, name=role, seed=seed)
    if wrn:
        return wide_resnet(int(wrn[1]), int(wrn[2]), **convolutional)
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

"""The small teacher of ReducedMPL: it calibrates a stored distribution (Section 3.2, C.2)."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts
from mpl_tf.networks.mlp import check
from mpl_tf.networks.registry import network


def calibration(num_classes: int, hidden: Sequence[int] = (128, 128, 128, 128),
                name: Optional[str] = None, seed: Optional[int] = None) -> tf.keras.Model:
    """A 5-layer perceptron about the identity: probabilities [B, K] -> logits [B, K].

    logits = log p + MLP(p). Four hidden ReLU layers (of 128, 512 for ImageNet) start from He et al.
    (2015), the last layer at zero, so that the first distribution is q_large's own: ReducedMPL
    begins as NoisyStudent and departs from it by what it learns. The paper gives neither the
    initialisation nor a path around the MLP; it says that "many actions of the reduced teacher
    would be close to an identity map". Without that path Adam at the paper's 1e-4 needs thousands
    of steps to find the identity, in which the student learns from noise; networks.mlp is that
    plain one ("mlp-128-128-128-128"). All of it computes in float32 under mixed precision.

    Args:
      num_classes: K.
      hidden: sizes of the hidden layers.
      name: of the model.
      seed: of the hidden layers' weights; None draws anew at every build.

    Raises:
      ValueError: in one line, for a size below 1.
    """
    parts.check(num_classes, (num_classes,))
    check(*hidden)
    from mpl_tf.networks import layers
    dtype = parts.variable_dtype()
    x = probs = tf.keras.Input((num_classes,), dtype=dtype, name="teacher_probs")
    for index, size in enumerate(hidden, start=1):
        layer = f"hidden{index}"
        x = tf.keras.layers.Dense(
            size, activation="relu", name=layer, dtype=dtype,
            kernel_initializer=parts.kernel_initializer(
                seed, layer, 2.0, "fan_in", "untruncated_normal"))(x)
    change = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", name="change",
                                   dtype=dtype)(x)
    logits = tf.keras.layers.Add(name="logits", dtype=dtype)(
        [layers.LogProbabilities(name="log_probs", dtype=dtype)(probs), change])
    return tf.keras.Model(probs, logits, name=name)


@network("calibration-SIZE", r"calibration-(\d+)", takes=("probs",), check=check,
         example="calibration-128")
def _by_name(size: int, num_classes: int, name: Optional[str] = None,
             seed: Optional[int] = None) -> tf.keras.Model:
    """`calibration` with four hidden layers of the size in its name."""
    return calibration(num_classes, 4 * (size,), name, seed)


def __getattr__(name):      # files of earlier versions say that the class is here
    if name != "LogProbabilities":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpl_tf.networks import layers
    return layers.LogProbabilities

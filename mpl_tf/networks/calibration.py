"""The small teacher of ReducedMPL: it calibrates a stored distribution (Section 3.2, C.2)."""

from __future__ import annotations

from typing import Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import mlp, parts
from mpl_tf.networks.registry import Counts, network


def calibration(num_classes: int, hidden: Sequence[int] = (128, 128, 128, 128),
                name: Optional[str] = None, seed: Optional[int] = None) -> tf.keras.Model:
    """A 5-layer perceptron that begins as the identity: probabilities [B, K] -> logits [B, K].

        logits = log p + MLP(p)

    The paper has four hidden ReLU layers of 128 units, for ImageNet of 512. They start from He et
    al. (2015) and the last layer starts at zero, so that the first distribution is q_large's own:
    ReducedMPL begins as NoisyStudent and departs from it by what it learns.

    The paper gives neither an initialisation nor a path around the MLP. It says that "many actions
    of the reduced teacher would be close to an identity map". Without that path, Adam at the
    paper's rate of 1e-4 needs thousands of steps to find the identity, and the student learns from
    noise meanwhile. That plain perceptron is networks.mlp ("mlp-128-128-128-128").

    Under mixed precision the whole network computes in float32.

    Args:
      num_classes: K.
      hidden: the sizes of the hidden layers.
      name: the model's name.
      seed: the seed of the hidden layers' weights; None draws them anew at every build.

    Raises:
      ValueError: in one line, for a size below 1.
    """
    parts.check(num_classes, (num_classes,))
    mlp.check(*hidden)
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


def counts(size: int, num_classes: int, input_shape: Sequence[int]) -> Counts:
    """The Counts of `calibration` with four hidden layers of one size."""
    return mlp.counts(*4 * (size,), num_classes=num_classes, input_shape=input_shape)


@network("calibration-SIZE", r"calibration-(\d+)", takes=("probs",), check=mlp.check,
         example="calibration-128", counts=counts)
def _by_name(size: int, num_classes: int, name: Optional[str] = None,
             seed: Optional[int] = None) -> tf.keras.Model:
    """`calibration` with four hidden layers of the size in its name."""
    return calibration(num_classes, 4 * (size,), name, seed)


def __getattr__(name):      # saved files of earlier versions look for the class here
    if name != "LogProbabilities":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpl_tf.networks import layers
    return layers.LogProbabilities

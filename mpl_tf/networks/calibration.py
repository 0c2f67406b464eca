"""The small teacher of ReducedMPL: it calibrates a stored distribution (Section 3.2, C.2)."""

import tensorflow as tf

from mpl_tf.networks import parts

SMALLEST = 1e-7     # float16 stores nothing between 0 and 6e-8


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class LogProbabilities(tf.keras.layers.Layer):
    """log max(p, 1e-7): logits [B, K] whose softmax is p, to 1e-7 K, for distributions p [B, K]."""

    def call(self, probs):
        return tf.math.log(tf.maximum(probs, tf.constant(SMALLEST, probs.dtype)))


def calibration(num_classes, hidden=(128, 128, 128, 128), name=None, seed=None):
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
    if min(hidden, default=1) < 1:
        raise ValueError(f"calibration with hidden sizes {tuple(hidden)}: each has to be at least 1")
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
        [LogProbabilities(name="log_probs", dtype=dtype)(probs), change])
    return tf.keras.Model(probs, logits, name=name)

"""Target distributions q_*(Y|x) of Section 2, and the cross-entropy that learns from them.

All functions are pure. `logits` and `targets` are float [B, K], `labels` int [B].
"""

from __future__ import annotations

from typing import Optional, Union

from mpl_tf.common.lazy import tf


def full_precision(logits: tf.Tensor) -> tf.Tensor:
    """`logits` in float32, or as they are in float64: losses are never taken in half precision."""
    return logits if logits.dtype in (tf.float32, tf.float64) else tf.cast(logits, tf.float32)


def one_hot(labels: tf.Tensor, num_classes: int,
            dtype: Union[str, tf.DType] = "float32") -> tf.Tensor:
    """Fully supervised targets, one-hot(y): [B, K].

    A label outside [0, K) gives a row of NaN, so that the loss stops the run. TensorFlow's own
    one_hot gives a row of zeros, and the loss would ignore the example.
    """
    valid = tf.logical_and(labels >= 0, labels < num_classes)
    return tf.where(valid[:, tf.newaxis], tf.one_hot(labels, num_classes, dtype=dtype),
                    tf.constant(float("nan"), dtype))


def smooth(labels: tf.Tensor, num_classes: int, smoothing: float,
           dtype: Union[str, tf.DType] = "float32") -> tf.Tensor:
    """Smoothed labels [B, K]: with d = `smoothing`, 1 - d + d/K for the class, d/K for the others.

    The paper prints 1 - d + 1/C for the class; with that a row would not sum to one.
    """
    return (1.0 - smoothing) * one_hot(labels, num_classes, dtype) + smoothing / num_classes


def hard(logits: tf.Tensor) -> tf.Tensor:
    """Hard pseudo labels, one-hot(argmax_y q(y|x)): [B, K]. Of equal classes the first is taken."""
    return tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)


def soft(logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Soft pseudo labels, softmax(l/tau) with tau = `temperature`: [B, K].

    tau < 1 sharpens them, tau > 1 smooths them. Knowledge distillation uses the same formula.
    """
    return tf.nn.softmax(full_precision(logits) / temperature)


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor,
                  sample_weight: Optional[tf.Tensor] = None) -> tf.Tensor:
    """mean_i -sum_c q_ic log p_ic, a scalar (Section 2) that can be differentiated twice.

    With `sample_weight` w, [B], it is (1/B) sum_i w_i (...)_i, the mean that Keras takes.

    It is written out on purpose. TensorFlow's fused softmax cross-entropy, and so Keras's
    CategoricalCrossentropy(from_logits=True), has no mixed derivative with respect to targets and
    logits: the gradient of a gradient through it is exactly zero, silently.
    """
    log_probs = tf.nn.log_softmax(full_precision(logits))
    losses = -tf.reduce_sum(tf.cast(targets, log_probs.dtype) * log_probs, axis=-1)
    if sample_weight is not None:
        losses *= tf.cast(sample_weight, losses.dtype)
    return tf.reduce_mean(losses)


def entropy(probs: tf.Tensor) -> tf.Tensor:
    """The mean entropy, in nats, of the distributions `probs` [B, K]: a scalar."""
    return tf.reduce_mean(-tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1))


def agreement(p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
    """The fraction of rows in which `p` and `q` [B, K] have the same largest class: float32 scalar."""
    same = tf.equal(tf.argmax(p, axis=-1), tf.argmax(q, axis=-1))
    return tf.reduce_mean(tf.cast(same, tf.float32))

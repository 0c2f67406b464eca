"""Target distributions q_*(Y|x) of Section 2, and the cross-entropy that learns from them.

All functions are pure. `logits` and `targets` are float [B, K], `labels` int [B].
"""

from __future__ import annotations

from typing import Union

from mpl_tf.common.lazy import tf


def full_precision(logits: tf.Tensor) -> tf.Tensor:
    """`logits` in float32 at least: losses and softmaxes are never taken in half precision."""
    return logits if logits.dtype in (tf.float32, tf.float64) else tf.cast(logits, tf.float32)


def one_hot(labels: tf.Tensor, num_classes: int,
            dtype: Union[str, tf.DType] = "float32") -> tf.Tensor:
    """Fully supervised targets: one-hot(y), [B, K].

    A label outside [0, K) gives a row of NaN: a loss that stops the run, not one that ignores it.
    """
    valid = tf.logical_and(labels >= 0, labels < num_classes)
    return tf.where(valid[:, tf.newaxis], tf.one_hot(labels, num_classes, dtype=dtype),
                    tf.constant(float("nan"), dtype))


def smooth(labels: tf.Tensor, num_classes: int, smoothing: float,
           dtype: Union[str, tf.DType] = "float32") -> tf.Tensor:
    """Label smoothing with d = `smoothing`: 1 - d + d/K on the class, d/K elsewhere, [B, K].

    The paper prints 1 - d + 1/C for the class, which does not sum to one.
    """
    return (1.0 - smoothing) * one_hot(labels, num_classes, dtype) + smoothing / num_classes


def hard(logits: tf.Tensor) -> tf.Tensor:
    """Hard pseudo labels: one-hot(argmax_y q(y|x)), [B, K]; the first of equal classes wins."""
    return tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)


def soft(logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Soft pseudo labels at `temperature` tau: softmax(l/tau), [B, K].

    tau < 1 sharpens, tau > 1 smooths. Knowledge distillation uses the same formula.
    """
    return tf.nn.softmax(full_precision(logits) / temperature)


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """mean_i -sum_c q_ic log p_ic, a scalar (Section 2), differentiable twice.

    Written out on purpose. TensorFlow's fused softmax cross-entropy, and so Keras's
    CategoricalCrossentropy(from_logits=True), has no mixed derivative with respect to targets and
    logits: the gradient of a gradient through it is exactly zero, silently.
    """
    log_probs = tf.nn.log_softmax(full_precision(logits))
    return tf.reduce_mean(-tf.reduce_sum(tf.cast(targets, log_probs.dtype) * log_probs, axis=-1))


def entropy(probs: tf.Tensor) -> tf.Tensor:
    """Mean entropy in nats of distributions `probs` [B, K], a scalar."""
    return tf.reduce_mean(-tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1))


def agreement(p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
    """Fraction of rows of `p` and `q` [B, K] with the same largest class, float32 scalar."""
    same = tf.equal(tf.argmax(p, axis=-1), tf.argmax(q, axis=-1))
    return tf.reduce_mean(tf.cast(same, tf.float32))

"""The exact teacher gradient dR/dPsi (Eqs. 2-3, Appendix B), in factors.

    dR/dPsi = (dq/dPsi)^T (dg/dq)^T w,        w = (df/dg)^T v

q [B_u, K] are the pseudo labels, g the student's gradient on them, f its optimizer's rule, and v
the gradient of R at the updated student; update_rules gives w. Both functions below give
(dg/dq)^T w = dR/dq; the teacher's ordinary backward pass does the rest, with dR/dq coming in.

g is linear in q: g = -(1/B_u) sum_ic q_ic d log p_c(x_i) / dTheta + lambda Theta. Its derivative
with respect to q_ic along w is therefore -(1/B_u) times the directional derivative of
log p_c(x_i) along w: no second derivative of the student is needed.
"""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple

import tensorflow as tf

from mpl_tf.method import targets


def student_gradients(
        student_pass: Callable[[], tf.Tensor], variables: Sequence[tf.Variable],
        pseudo_labels: tf.Tensor,
) -> Tuple[tf.Tensor, tf.Tensor, List[tf.Tensor], tf.GradientTape]:
    """Student's loss on pseudo labels and its gradient, and a tape that knows d gradient / dq.

    Args:
      student_pass: () -> logits [B_u, K]; the student in training mode.
      variables: the student's trainable variables Theta.
      pseudo_labels: q, float [B_u, K].

    Returns:
      (loss, logits, gradients like Theta, q_tape). q_tape watches nothing but q, so its backward
      pass skips what a full second derivative of the student would compute.
    """
    with tf.GradientTape(watch_accessed_variables=False) as q_tape:
        q_tape.watch(pseudo_labels)
        with tf.GradientTape(watch_accessed_variables=False) as student_tape:
            student_tape.watch(variables)
            logits = student_pass()
            loss = targets.cross_entropy(pseudo_labels, logits)
        gradients = student_tape.gradient(
            loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(g) for g in gradients]    # embeddings give slices
    return loss, logits, gradients, q_tape


def by_nested_tape(q_tape: tf.GradientTape, gradients: Sequence[tf.Tensor],
                   pseudo_labels: tf.Tensor, w: Sequence[tf.Tensor]) -> tf.Tensor:
    """dR/dq [B_u, K] as the gradient of the student's gradient: backward through the backward.

    Args:
      q_tape, gradients: from `student_gradients`.
      pseudo_labels: the q that it watched.
      w: cotangents like the gradients.
    """
    return q_tape.gradient(gradients, pseudo_labels, output_gradients=w,
                           unconnected_gradients=tf.UnconnectedGradients.ZERO)


def by_jvp(student_pass: Callable[[], tf.Tensor], variables: Sequence[tf.Variable],
           w: Sequence[tf.Tensor]) -> tf.Tensor:
    """dR/dq [B_u, K] by one forward-mode pass along w, at the variables' present (old) values.

    `student_pass` must replay the pass that gave g: same batch, same masks, batch statistics.
    Nothing of that pass has to be kept, so its activations need not be in memory at the same time
    as anything else's.
    """
    with tf.autodiff.ForwardAccumulator(variables, w) as accumulator:
        log_probs = tf.nn.log_softmax(student_pass())
    tangents = accumulator.jvp(
        log_probs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return -tangents / tf.cast(tf.shape(tangents)[0], tangents.dtype)


def through_softmax(pseudo_labels: tf.Tensor, target_gradient: tf.Tensor) -> tf.Tensor:
    """dR/dlogits [B_u, K] of the teacher, q (dR/dq - sum q dR/dq): 0 where the softmax is saturated."""
    inner = tf.reduce_sum(pseudo_labels * target_gradient, axis=-1, keepdims=True)
    return pseudo_labels * (target_gradient - inner)

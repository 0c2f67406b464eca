"""The exact teacher gradient dR/dPsi (Eqs. 2-3, Appendix B), in factors.

    dR/dPsi = (dq/dPsi)^T (dg/dq)^T w,        w = (df/dg)^T v

Here q [B_u, K] are the pseudo labels, g is the student's gradient on them, f its optimizer's rule,
and v the gradient of R at the updated student. update_rules computes w. `by_nested_tape` and
`by_jvp` both compute (dg/dq)^T w = dR/dq. The teacher's ordinary backward pass, which starts from
dR/dq, does the rest.

g is linear in q: g = -(1/B_u) sum_ic q_ic d log p_c(x_i) / dTheta + lambda Theta. Its derivative
with respect to q_ic along w is therefore -(1/B_u) times the directional derivative of
log p_c(x_i) along w: no second derivative of the student is needed.
"""

from __future__ import annotations

import contextlib
from typing import Callable, List, Sequence, Tuple
from unittest import mock

import tensorflow as tf

from mpl_tf.method import targets


def student_gradients(
        student_pass: Callable[[], tf.Tensor], variables: Sequence[tf.Variable],
        pseudo_labels: tf.Tensor, persistent: bool = False,
) -> Tuple[tf.Tensor, tf.Tensor, List[tf.Tensor], tf.GradientTape]:
    """The student's loss on pseudo labels, its gradient g, and a tape that can give (dg/dq)^T w.

    Args:
      student_pass: a function () -> logits [B_u, K] of the student in training mode.
      variables: the student's trainable variables Theta.
      pseudo_labels: q, float [B_u, K].
      persistent: whether q_tape can be asked more than once.

    Returns:
      (loss, logits, gradients with the shapes of Theta, q_tape). q_tape watches q alone, so that
      its backward pass skips what a full second derivative of the student would compute.
    """
    with tf.GradientTape(watch_accessed_variables=False, persistent=persistent) as q_tape:
        q_tape.watch(pseudo_labels)
        with tf.GradientTape(watch_accessed_variables=False) as student_tape:
            student_tape.watch(variables)
            logits = student_pass()
            loss = targets.cross_entropy(pseudo_labels, logits)
        gradients = student_tape.gradient(
            loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # An embedding's gradient comes as IndexedSlices.
        gradients = [tf.convert_to_tensor(g) for g in gradients]
    return loss, logits, gradients, q_tape


def by_nested_tape(q_tape: tf.GradientTape, gradients: Sequence[tf.Tensor],
                   pseudo_labels: tf.Tensor, w: Sequence[tf.Tensor]) -> tf.Tensor:
    """dR/dq [B_u, K] by going backward through the student's backward pass.

    Args:
      q_tape, gradients: what `student_gradients` returned.
      pseudo_labels: the q that it was given.
      w: cotangents with the shapes of the gradients.
    """
    return q_tape.gradient(gradients, pseudo_labels, output_gradients=w,
                           unconnected_gradients=tf.UnconnectedGradients.ZERO)


def by_jvp(student_pass: Callable[[], tf.Tensor], variables: Sequence[tf.Variable],
           w: Sequence[tf.Tensor]) -> tf.Tensor:
    """dR/dq [B_u, K] by one forward-mode pass along w.

    The variables must hold the values from before the update, and `student_pass` must replay the
    pass that gave g: the same batch, the same dropout masks, batch statistics in batch norm.
    Nothing of that first pass has to be kept, so its activations need not be in memory at the same
    time as others.

    Raises:
      ValueError: in one line, if a layer exchanges values with other replicas.
    """
    with _no_exchange(), tf.autodiff.ForwardAccumulator(variables, w) as accumulator:
        log_probs = tf.nn.log_softmax(student_pass())
    tangents = accumulator.jvp(
        log_probs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return -tangents / tf.cast(tf.shape(tangents)[0], tangents.dtype)


class _Exchanged(BaseException):
    """Not an Exception, which Keras would wrap in lines about the layer."""


@contextlib.contextmanager
def _no_exchange():
    # Forward mode takes what comes from the other replicas for constants, without a word.
    reduce = tf.distribute.ReplicaContext.all_reduce

    def alone(replica, *args, **kwargs):
        if replica.num_replicas_in_sync > 1:
            raise _Exchanged
        return reduce(replica, *args, **kwargs)

    try:
        with mock.patch.object(tf.distribute.ReplicaContext, "all_reduce", alone):
            yield
    except _Exchanged:
        raise ValueError(
            "a layer of the student exchanges values between replicas, as BatchNormalization("
            'synchronized=True) does, and meta_gradient="jvp" does not see their derivative: use '
            '"nested_tape", or a layer that keeps to its replica') from None


def through_softmax(pseudo_labels: tf.Tensor, target_gradient: tf.Tensor) -> tf.Tensor:
    """dR / d(the teacher's logits) [B_u, K] = q (dR/dq - sum_c q_c dR/dq_c).

    It is 0 where the softmax is saturated.
    """
    inner = tf.reduce_sum(pseudo_labels * target_gradient, axis=-1, keepdims=True)
    return pseudo_labels * (target_gradient - inner)

"""Passes over a batch in slices, so that the memory of a step is that of a slice and not of the batch.

The gradient of a mean over examples is the mean of the gradients of its slices, where no layer looks
across examples. The slices are taken by one loop of the graph, so that the graph does not grow with
their number. Masks are those of the whole batch (layers.rows), batch norm's statistics those of a
slice.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence, Tuple

import tensorflow as tf

from mpl_tf.method import batches
from mpl_tf.networks import layers

Body = Callable[..., Tuple[Sequence[tf.Tensor], Optional[tf.Tensor]]]


def over(size: Optional[int], pieces: Sequence[tf.Tensor], body: Body,
         variables: Sequence[tf.Variable] = (), dtype: Optional[tf.DType] = None, views: int = 1,
         ) -> Tuple[List[tf.Tensor], Optional[tf.Tensor]]:
    """Calls `body` on every slice of a batch, and adds up what it returns.

    Args:
      size: the examples in a slice, a divisor of the batch; None calls `body` once, on the whole.
      pieces: the tensors [B, ...] of which `body` is given slices, in this order.
      body: a function of slices -> (gradients, outputs): what is added up, with the shapes of
        `variables`, and [size, K], of which those of all slices are put one after another.
      variables: what the gradients are of; none if there are no gradients.
      dtype: of the outputs; None if there are no outputs.
      views: how many views of the examples lie one after another in the passes that `body` makes.

    Returns:
      (the sums of the gradients, outputs [B, K]).
    """
    if size is None:
        gradients, outputs = body(*pieces)
        return list(gradients), outputs
    whole = tf.shape(pieces[0])[0]
    stacks = [_stacked(piece, size) for piece in pieces]
    classes = []

    def one(index, sums, kept):
        given = [tf.gather(stack, index) for stack in stacks]
        with layers.rows([index * size + view * whole for view in range(views)], size):
            gradients, outputs = body(*given)
        if dtype is not None:
            classes.append(outputs.shape[-1])
            kept = kept.write(index, tf.cast(outputs, dtype))
        return index + 1, [total + each for total, each in zip(sums, gradients)], kept

    count = whole // size
    kept = tf.TensorArray(dtype or tf.float32, size=count, element_shape=[size, None])
    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    # One slice at a time: TensorFlow would begin the next beside it, and hold the activations of both.
    _, sums, kept = tf.while_loop(lambda index, *_: index < count, one, (tf.constant(0), zeros, kept),
                                  parallel_iterations=1)
    if dtype is None:
        return sums, None
    return sums, tf.ensure_shape(tf.reshape(kept.stack(), [whole, classes[0]]),
                                 [pieces[0].shape[0], classes[0]])


def _stacked(piece, size):
    """[B, ...] as [B / size, size, ...]."""
    tail = piece.shape[1:]
    return tf.reshape(piece, [-1, size, *tail] if tail.is_fully_defined()
                      else tf.concat([[-1, size], tf.shape(piece)[1:]], axis=0))


def averaged(size: Optional[int], piece: tf.Tensor, sums: Sequence[tf.Tensor]) -> List[tf.Tensor]:
    """`sums` over the slices of a batch, divided by their number; of the whole, as they are.

    Args:
      size: as in `over`.
      piece: a tensor [B, ...] of the batch.
    """
    if size is None:
        return list(sums)
    count = tf.shape(piece)[0] // size
    return [total / tf.cast(count, total.dtype) for total in sums]


def check(batch: batches.Batch, size: Optional[int], replicas: int = 1, compiled: bool = False,
          ) -> batches.Batch:
    """Checks that slices of `size` examples make up both parts of a batch.

    Args:
      batch: tensors, or specifications. A size that is known only in the step is checked there.
      size: of a slice; None is no slices.
      replicas: how many replicas share the batch.
      compiled: whether XLA compiles the step, which then cannot check a size.

    Returns:
      The batch, after the checks that are made in the step.

    Raises:
      ValueError: in one line, where a size is known and does not fit.
    """
    checks = []
    parts = {"labeled": batch.labels, "unlabeled": batch.student_view}
    for part, piece in parts.items() if size else ():
        length = piece.shape[0]
        if length is not None and length % (replicas * size):
            own = length // replicas
            fits = next((each for each in range(size, 0, -1) if own % each == 0), 1)
            raise ValueError(f"{batches.SLICES}{size}, but a replica has {own} {part} examples in a batch: "
                             f"use a divisor of both sizes, such as {fits} for this one")
        if length is None and compiled:
            raise ValueError(f"{batches.SLICES}{size} with jit_compile and batches of unknown size: batch "
                             "with drop_remainder=True")
        if length is None and isinstance(piece, tf.Tensor):
            line = (f"{batches.SLICES}{size}, but it does not divide the {part} examples that a replica "
                    "has in a batch: batch with drop_remainder=True")
            checks.append(tf.debugging.Assert(tf.equal(tf.shape(piece)[0] % size, 0), [line]))
    if not checks:
        return batch
    with tf.control_dependencies(checks):
        return batches.Batch(*(None if piece is None else tf.identity(piece) for piece in batch))

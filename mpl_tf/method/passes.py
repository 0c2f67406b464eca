"""Training-mode passes through a network: which random numbers, which averages, which replica.

A step makes several passes. Each has a number of its own, so its masks depend on (seed, step,
pass, layer, replica) and on nothing else: a pass that one method makes and another does not
shifts no random stream, and any pass can be replayed.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Sequence, Union

import tensorflow as tf

from mpl_tf.common import keras_seam, random_bits
from mpl_tf.method import targets
from mpl_tf.networks import layers

TEACHER_LABELED, TEACHER_UNLABELED, STUDENT_UNLABELED, STUDENT_LABELED = range(4)


def pass_seed(seed: int, step: Union[int, tf.Tensor], number: int) -> tf.Tensor:
    """The seed, int32 [2], of pass `number` in training step `step` (scalar int tensor)."""
    base = tf.constant([seed & 0x7FFFFFFF, seed >> 31], tf.int32)
    return random_bits.fold_in(random_bits.fold_in(base, tf.cast(step, tf.int32)), number)


def forward(network: tf.keras.Model, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Logits [B, K] in float32 or float64 of `network` in training mode, with the masks of `seed`.

    Moves the batch-norm averages once; wrap in `averages_restored` where it must not.
    """
    with layers.random_seed(seed):
        logits = network(images, training=True)
    if network.losses:
        raise ValueError(f"{network.name} adds {len(network.losses)} losses of its own (add_loss, or a "
                         "weight's regularizer), which no step minimises here: remove them, and set "
                         "the weight decay in compile")
    if logits.shape.rank != 2:
        raise ValueError(f"{network.name} gives {logits.shape}, expected logits [B, K]: flatten or pool "
                         "the features before the last layer")
    return targets.full_precision(logits)


def assign(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    """Assigns in a replica's own context; mirrored variables need all replicas to meet for it."""
    mirrored = []
    for variable, value in zip(variables, values):
        if variable.synchronization == tf.VariableSynchronization.ON_READ:
            variable.assign(value)      # one component a replica: batch-norm averages
        else:
            mirrored.append((variable, value))
    if mirrored:
        keras_seam.assign_on_all_replicas(*map(list, zip(*mirrored)))


@contextlib.contextmanager
def averages_restored(network: tf.keras.Model) -> Iterator[None]:
    """Within this context passes may move the averages of `network`; they are put back at its end."""
    variables = network.non_trainable_variables
    before = [tf.identity(variable) for variable in variables]
    yield
    assign(variables, before)


@contextlib.contextmanager
def weights_restored(variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Within this context `variables` may be changed; they are put back at its end."""
    before = [tf.identity(variable) for variable in variables]
    yield
    assign(variables, before)


def replica_mean(values: Any) -> Any:
    """Mean over replicas of a nest of tensors; every replica has the same share of the batch."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def replica_norm(per_replica: tf.Tensor) -> tf.Tensor:
    """Norm of the gradient with respect to a batch that is split over replicas.

    Args:
      per_replica: this replica's share of the batch: the gradient of its own share of the loss.
        That of the mean over r replicas is 1/r of it.
    """
    squares = replica_mean(tf.reduce_sum(tf.square(per_replica)))
    replica = tf.distribute.get_replica_context()
    return tf.sqrt(squares / (replica.num_replicas_in_sync if replica else 1))


def is_decayed(variable: tf.Variable) -> bool:
    """True for weights that weight decay applies to: all but biases and batch-norm scales."""
    leaf = variable.name.split("/")[-1].split(":")[0]
    return leaf not in ("bias", "gamma", "beta")


def add_weight_decay(gradients: List[tf.Tensor], variables: Sequence[tf.Variable],
                     weight_decay: float) -> List[tf.Tensor]:
    """Adds lambda * Theta, the gradient of (lambda/2) |Theta|^2, to the gradients of the weights.

    (Keras's regularizers.l2(lambda) would add 2 lambda Theta.)
    """
    if not weight_decay:
        return gradients
    return [g + weight_decay * tf.convert_to_tensor(variable) if is_decayed(variable) else g
            for g, variable in zip(gradients, variables)]

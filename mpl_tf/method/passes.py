"""Passes through a network in training mode, with the random numbers and averages of each.

A step makes several passes. Each has a number of its own, so that its dropout masks depend on
(seed, step, pass, layer, replica) and on nothing else. A pass that only some methods make does not
change the masks of the others, and any pass can be replayed.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import tensorflow as tf

from mpl_tf.common import keras_seam, random_bits
from mpl_tf.method import batches, objectives, targets
from mpl_tf.networks import layers

TEACHER_LABELED, TEACHER_UNLABELED, STUDENT_UNLABELED, STUDENT_LABELED, TEACHER_WEAK = range(5)


def pass_seed(seed: int, step: Union[int, tf.Tensor], number: int) -> tf.Tensor:
    """The seed, int32 [2], of pass `number` in training step `step` (a scalar integer tensor)."""
    base = tf.constant([seed & 0x7FFFFFFF, seed >> 31], tf.int32)
    return random_bits.fold_in(random_bits.fold_in(base, tf.cast(step, tf.int32)), number)


def weights(network: tf.keras.Model) -> List[tf.Variable]:
    """The trainable weights of `network`, as tapes watch them."""
    return keras_seam.tf_variables(network.trainable_variables)


def averages(network: tf.keras.Model) -> List[tf.Variable]:
    """The weights of `network` that its passes may move: the averages of batch norm."""
    return keras_seam.tf_variables(network.non_trainable_weights)


@contextlib.contextmanager
def seeded(network: tf.keras.Model, seed: tf.Tensor) -> Iterator[None]:
    """Within this context the layers of `network` draw from `seed`, int32 [2], as far as they can."""
    with layers.random_seed(seed), keras_seam.drawing_from(network, layers.layer_seed):
        yield


def forward(network: tf.keras.Model, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Logits [B, K], float32 or float64, of `network` in training mode with the masks of `seed`.

    The pass moves the batch-norm averages once; call it in `averages_restored` to undo that.

    Raises:
      ValueError: in one line, if the network has losses of its own or gives no logits [B, K].
    """
    with seeded(network, seed):
        logits = network(images, training=True)
    if network.losses:
        raise ValueError(f"{network.name} adds {len(network.losses)} losses of its own (add_loss, or a "
                         "weight's regularizer), which no step here minimises: remove them, and set "
                         "the weight decay in compile")
    if logits.shape.rank != 2:
        raise ValueError(f"{network.name} gives {logits.shape}, expected logits [B, K]: flatten or pool "
                         "the features before the last layer")
    return targets.full_precision(logits)


def objective_passes(
        network: tf.keras.Model, objective: objectives.Objective, batch: batches.Batch, seed: int,
        step: Union[int, tf.Tensor],
) -> Tuple[tf.Tensor, Dict[str, tf.Tensor], tf.Tensor, Optional[tf.Tensor]]:
    """Makes the training passes of `network` that `objective` asks for.

    The network's batch-norm averages move in these passes. A baseline and the teacher of Meta
    Pseudo Labels both use this function, so that the same weights, batch and seed give the same
    numbers in both.

    Returns:
      (loss, terms, labeled logits [B_l, K], logits [B_u, K] on x_u's strong view). The last is None
      if the objective needs no pass on x_u.
    """
    labeled_logits = forward(
        network, batch.labeled_view, pass_seed(seed, step, TEACHER_LABELED))
    batches.check_labels(batch.labels, labeled_logits.shape[-1])
    if not objective.unlabeled:
        return (*objectives.losses_of(objective, batch.labels, labeled_logits,
                                      sample_weight=batch.sample_weight), labeled_logits, None)
    unlabeled = pass_seed(seed, step, TEACHER_UNLABELED)
    if objective.joint_views:
        views = tf.concat([batch.weak_view, batch.student_view], axis=0)
        weak_logits, strong_logits = tf.split(forward(network, views, unlabeled), 2)
    else:
        weak_logits = forward(network, batch.weak_view, pass_seed(seed, step, TEACHER_WEAK))
        strong_logits = forward(network, batch.student_view, unlabeled)
    return (*objectives.losses_of(objective, batch.labels, labeled_logits, weak_logits,
                                  strong_logits, batch.sample_weight),
            labeled_logits, strong_logits)


def assign(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    """Assigns `values` to `variables`, called by every replica within its own context."""
    mirrored = []
    for variable, value in zip(variables, values):
        if variable.synchronization == tf.VariableSynchronization.ON_READ:
            variable.assign(value)      # batch-norm averages: each replica has its own
        else:
            mirrored.append((variable, value))
    if mirrored:
        keras_seam.assign_on_all_replicas(*map(list, zip(*mirrored)))


@contextlib.contextmanager
def averages_restored(network: tf.keras.Model) -> Iterator[None]:
    """Puts the batch-norm averages of `network` back at the end of the context."""
    variables = averages(network)
    before = [tf.identity(variable) for variable in variables]
    yield
    assign(variables, before)


@contextlib.contextmanager
def weights_restored(variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Puts the values of `variables` back at the end of the context."""
    before = [tf.identity(variable) for variable in variables]
    yield
    assign(variables, before)


def after(tensors: Sequence[tf.Tensor]) -> Any:
    """Context manager: what begins in it waits for all tensors.

    It waits for one node that does: each of some hundreds that begin would have an edge from each tensor,
    and a graph with so many is slow to optimize.
    """
    return tf.control_dependencies([tf.group(*tensors)])


def replica_mean(values: Any) -> Any:
    """The mean over replicas, which all have equal shares of the batch, of a nest of tensors."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def replica_norm(per_replica: tf.Tensor) -> tf.Tensor:
    """The norm of the gradient of a loss with respect to a batch that is split over replicas.

    Args:
      per_replica: the gradient of this replica's own loss with respect to its share of the batch.
        The gradient of the loss's mean over r replicas is 1/r of it.
    """
    squares = replica_mean(tf.reduce_sum(tf.square(per_replica)))
    replica = tf.distribute.get_replica_context()
    return tf.sqrt(squares / (replica.num_replicas_in_sync if replica else 1))


def is_decayed(variable: tf.Variable) -> bool:
    """Whether weight decay applies to `variable`: to all but biases and batch norm's variables."""
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

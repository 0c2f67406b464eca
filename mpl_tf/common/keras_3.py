"""Keras 3's half of keras_seam, with its TensorFlow backend.

keras_2 says of the same functions why the package needs them.
"""

import contextlib

import tensorflow as tf
from keras.src.utils.tracking import no_automatic_dependency_tracking


class Model(tf.keras.Model):
    """What models that are trained here derive from: a Keras model whose steps log everything.

    On replicas the logs of a step are means of what each replica has seen. Keras asks its own list
    of metrics for the whole, which are others than those that the steps here log. `_logged` has
    those: {names of the logs: metrics}.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras would call the model on a training batch, which is no batch of images."""

    def _make_function(self, step_function):
        """Of several workers Keras takes means along the first axis, which the scalars of a step lack."""
        several = getattr(self.distribute_strategy.extended, "_in_multi_worker_mode", lambda: False)
        if not several():
            return super()._make_function(step_function)
        return super()._make_function(
            lambda data: tf.nest.map_structure(lambda value: value[None], step_function(data)))

    def _get_metrics_result_or_logs(self, logs):
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return logs
        return {metric.name: metric.result() for metric in self._logged[frozenset(logs)]}

    @property
    def _own_metrics(self):
        return super().metrics


def tf_variables(variables):
    """The tf.Variables that hold `variables` of Keras, which tapes can watch."""
    return [getattr(variable, "value", variable) if not isinstance(variable, tf.Variable) else variable
            for variable in variables]


def variable(value):
    """A new variable, as an optimizer takes it."""
    return tf.keras.Variable(value)


# Networks and their layers.


def build(network, input_shape):
    """Keras 3 leaves the layers of a subclassed network without `build` to the first call."""
    if not all(layer.built for layer in network._flatten_layers()):
        network.build(input_shape)
    if not all(layer.built for layer in network._flatten_layers()):
        network(tf.keras.Input(tuple(input_shape)[1:]))


def name_of(variable):
    """The name of a variable, with those of its layers: Keras 3's `name` has none."""
    return getattr(variable, "path", variable.name)


def last_layer(network, output=0):
    """The layer or operation that an output of a network comes from, or None if that cannot be told."""
    if not isinstance(network, tf.keras.Model):
        return network
    outputs = getattr(network, "outputs", None)
    if outputs:
        history = outputs[output]._keras_history
        return last_layer(history.operation, history.tensor_index)
    return last_layer(network.layers[-1]) if isinstance(network, tf.keras.Sequential) else None


def last_function(layer):
    """The activation of a layer; an operation that is no layer has the name of its function."""
    if isinstance(layer, (tf.keras.layers.Dense, tf.keras.layers.Activation)):
        return layer.activation
    return tf.keras.activations.softmax if type(layer).__name__ == "Softmax" else None


def has_fixed_input(network):
    """False for a Sequential whose first layer has the batch size of the call that it was built by.

    Keras 3 puts an Input before the layers then, and only that tells it from one that somebody gave.
    """
    first = network._layers[0] if isinstance(network, tf.keras.Sequential) else None
    shape = getattr(first, "batch_shape", None)
    return shape is None or shape[0] is None


def random_layers(network):
    """None: within `drawing_from` every random layer of Keras 3's own draws what it is given."""
    return []


def seeded_layers(network):
    """The layers of a network, at any depth, that ask a generator of their own for seeds.

    An augmentation layer that is not called has one too; a Dropout of rate 0 has none.
    """
    return [layer for layer in network._flatten_layers() if layer._seed_generators]


@contextlib.contextmanager
def drawing_from(network, seed_of):
    """Within the context random layers draw their numbers from seed_of(name), a tensor int32 [2].

    Keras 3 keeps a counter in a variable, which nothing repeats. Each layer asks a generator of its
    own for seeds.
    """
    with contextlib.ExitStack() as stack:
        for layer in network._flatten_layers():
            for generator in layer._seed_generators:
                def draw(ordered=True, name=layer.name, dtype=generator.state.dtype):
                    return tf.cast(seed_of(name), dtype)
                generator.next = draw
                stack.callback(vars(generator).pop, "next", None)
        yield


def seeds_kept(network):
    """Nothing to put back: `drawing_from` leaves the generators as they are."""
    return lambda: None


def default_training():
    """Keras 3 gives a layer the value of the call around it; outside of one it is inference."""
    return False


# Optimizers.


def build_optimizer(optimizer, variables):
    """Makes the slots of an optimizer for `variables`, Keras's own, before its first step."""
    if not optimizer.built:
        optimizer.build(variables)


def unknown_variables(optimizer, variables):
    """Those of `variables` that a built optimizer has no slots for, as it was built for others."""
    if not optimizer.built:
        return []
    return [variable for variable in variables
            if optimizer._var_key(variable) not in optimizer._trainable_variables_indices]


def slots(optimizer, variable):
    """The slots that a built optimizer has for `variable`: {"momentum": ..., "velocity": ...}."""
    index = optimizer._get_variable_index(variable)
    lists = {"momentums": "momentum", "_momentums": "momentum", "_velocities": "velocity"}
    return {name: getattr(optimizer, attribute)[index] for attribute, name in lists.items()
            if getattr(optimizer, attribute, None)}


def apply_gradients(optimizer, gradients, variables):
    """Keras 3 always adds gradients up over the replicas, so each gives its share."""
    replica = tf.distribute.get_replica_context()
    count = replica.num_replicas_in_sync if replica else 1
    if count > 1:
        gradients = [gradient / count for gradient in gradients]
    optimizer.apply_gradients(zip(gradients, variables))


# Models that are trained.


def share_averages(variables):
    """Makes batch norm's averages, of which each replica has its own, their mean; within a replica.

    From outside of the replicas Keras 3 reads the first one's.
    """
    replica = tf.distribute.get_replica_context()
    variables = [variable for variable in tf_variables(variables) if variable.dtype.is_floating]
    if variables and replica is not None and replica.num_replicas_in_sync > 1:
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(v) for v in variables])
        for variable, mean in zip(variables, means):
            variable.assign(mean)


def step_function(model):
    """The function of an iterator that takes one training step, as `fit` takes it."""
    model.make_train_function()
    return model.train_function


def arguments_of_bar(names):
    """What the constructor of ProgbarLogger is given: Keras 3's takes nothing, and shows logs as they are."""
    return {}


def untracked(method):
    """Both Keras 3 and TensorFlow track attributes."""
    return tf.__internal__.tracking.no_automatic_dependency_tracking(
        no_automatic_dependency_tracking(method))


def build_metrics(model, num_classes, dtype):
    """Makes the variables of the metrics that were given to compile, unless they exist already."""
    metrics = model._compile_metrics
    if metrics is not None and not metrics.built:
        metrics.build(tf.zeros([1], tf.int64), tf.zeros([1, num_classes], dtype))


def update_metrics(model, labels, logits, weights=None):
    """Updates the metrics that were given to compile by a batch."""
    if model._compile_metrics is not None:
        model._compile_metrics.update_state(labels, logits, weights)


def metrics_of_compile(model):
    """The metrics that were given to compile, as Keras made them; none before they are built."""
    return model._compile_metrics.metrics if model._compile_metrics is not None else []


def update_loss(model, labels, logits, weights=None):
    """Keras 3 divides a loss by the number of replicas; here it is the mean of each one's examples."""
    losses = tf.keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    if weights is not None:
        losses *= tf.cast(weights, losses.dtype)
    model._loss_tracker.update_state(losses)
    return [model._loss_tracker]

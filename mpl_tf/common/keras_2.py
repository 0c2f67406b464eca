"""Keras 2's half of keras_seam: what the package needs of it that its public API does not give.

keras_3 has the same functions for Keras 3; keras_seam has what both have in common.
"""

import contextlib

import tensorflow as tf


class Model(tf.keras.Model):
    """What models that are trained here derive from: a Keras model whose steps log everything.

    Keras prefers what its own list of metrics has, where the names are the same. Among them is the
    mean of the loss that was given to compile, which no training step here computes.
    """

    def _validate_and_get_metrics_result(self, logs):
        return dict(logs)

    @property
    def _own_metrics(self):
        """What Keras itself counts among a model's metrics, of which it resets and saves each."""
        return super().metrics


def tf_variables(variables):
    """The tf.Variables that hold `variables` of Keras, which tapes can watch."""
    return list(variables)


def variable(value):
    """A new variable, as an optimizer takes it."""
    return tf.Variable(value)


# Networks and their layers.


def build(network, input_shape):
    """Builds a network for inputs of a shape, the batch first."""
    if not network.built:
        network.build(input_shape)


def name_of(variable):
    """The name of a variable, with that of its layer."""
    return variable.name


def last_layer(network, output=0):
    """The layer that an output of a network comes from, or None if that cannot be told.

    In a nested network it is the innermost layer. The public `layers[-1]` does not do, because a
    functional model may have several outputs, and no public attribute of a symbolic tensor says
    which layer made it.
    """
    if not isinstance(network, tf.keras.Model):
        return network
    if network.outputs:
        history = network.outputs[output]._keras_history
        return last_layer(history.layer, history.tensor_index)
    return last_layer(network.layers[-1]) if isinstance(network, tf.keras.Sequential) else None


def last_function(layer):
    """The function that a layer ends with, or None if it is not known.

    It is the layer's activation, or the operation that the layer wraps: an operation that is called
    on a symbolic tensor becomes a layer, whose class is not public.
    """
    if isinstance(layer, (tf.keras.layers.Dense, tf.keras.layers.Activation)):
        return layer.activation
    return getattr(layer, "function", None)


def has_fixed_input(network):
    """False for a Sequential without Input, which takes inputs of several shapes.

    Once it was called it has an `input_shape`, as other networks have, and nothing public tells it
    from them.
    """
    return getattr(network, "_has_explicit_input_shape", True)


def random_layers(network):
    """The layers of a network, at any depth, that may draw Keras's random numbers.

    There are many classes of such layers, and their common base class is not public.
    """
    return [layer for layer in network._flatten_layers()
            if isinstance(layer, tf.keras.__internal__.layers.BaseRandomLayer)]


def seeded_layers(network):
    """The layers of a network that draw from the seed which `drawing_from` gives them: here, none."""
    return []


@contextlib.contextmanager
def drawing_from(network, seed_of):
    """Within the context the layers draw from seed_of(name) where that is possible: here, nowhere."""
    yield


def seeds_kept(network):
    """A function that puts back the seeds which the random layers of a network have now.

    A layer such as Dropout(0.5, seed=1) counts its seed up whenever it is traced, and nothing
    public tells the count.
    """
    generators = [layer._random_generator for layer in random_layers(network)]
    before = [generator._seed for generator in generators]

    def put_back():
        for generator, seed in zip(generators, before):
            generator._seed = seed
    return put_back


def default_training():
    """What `training=None` means to a layer that is called now: a bool or int, or a tensor of one.

    Keras 2 has a global learning phase, which is deprecated, and gone from Keras 3. Keras's own
    layers follow it, so ours have to.
    """
    return tf.keras.backend.learning_phase()


# Optimizers.


def build_optimizer(optimizer, variables):
    """Makes the slots of an optimizer for `variables` before its first step, if that is possible.

    Legacy optimizers, which users may still pass, have no `build`; they make their slots in the
    first step.
    """
    if hasattr(optimizer, "build"):
        optimizer.build(variables)


def unknown_variables(optimizer, variables):
    """Those of `variables` that a built optimizer has no slots for, as it was built for others.

    Keras tells it by a KeyError in the middle of a step. Legacy optimizers make slots as they need
    them.
    """
    index = getattr(optimizer, "_index_dict", None)
    return [] if index is None else [
        variable for variable in variables if optimizer._var_key(variable) not in index]


def slots(optimizer, variable):
    """The slots that a built optimizer has for `variable`: {"momentum": ..., "velocity": ...}.

    A name whose slot the optimizer lacks is left out. SGD has a momentum slot even without momentum:
    it then holds the last step. Publicly there is only one list of all the optimizer's variables,
    whose order differs from rule to rule and is documented nowhere.
    """
    index = optimizer._index_dict[optimizer._var_key(variable)]
    lists = {"momentums": "momentum", "_momentums": "momentum", "_velocities": "velocity"}
    return {name: getattr(optimizer, attribute)[index] for attribute, name in lists.items()
            if getattr(optimizer, attribute, None)}


def apply_gradients(optimizer, gradients, variables):
    """Takes an optimizer's step by `gradients` that are the same on all replicas.

    By default Keras would add them up over the replicas.
    """
    optimizer.apply_gradients(zip(gradients, variables), experimental_aggregate_gradients=False)


# Models that are trained.


def share_averages(variables):
    """Makes batch norm's averages, of which each replica has its own, their mean; within a replica.

    Keras 2 takes that mean itself whenever it reads them from outside of the replicas.
    """
    del variables       # AutoGraph cannot read a function that is a docstring alone, and warns


def step_function(model):
    """The function of an iterator that takes one training step, as `fit` takes it."""
    model.train_function = model.make_train_function()
    return model.train_function


def arguments_of_bar(names):
    """What the constructor of ProgbarLogger is given, so that it shows `names`, means already, as is."""
    return {"count_mode": "steps", "stateful_metrics": names}


def untracked(method):
    """Decorates a method of a model, so that attributes which it sets are not saved with the model.

    A Keras model tracks every layer, metric or variable that is set as its attribute, also within a
    list or dict: it counts it among its weights, and saves and restores it. No public way avoids
    that.
    """
    return tf.__internal__.tracking.no_automatic_dependency_tracking(method)


def build_metrics(model, num_classes, dtype):
    """Makes the variables of the metrics that were given to compile, unless they exist already.

    Publicly metrics make their variables at their first update, which is within a traced step;
    TensorFlow then traces the step twice.

    Args:
      num_classes: K of the logits [B, K] that the metrics will see beside integer labels [B].
      dtype: the dtype of these logits.
    """
    if not model.compiled_metrics.metrics:
        model.compiled_metrics.build(tf.zeros([1, num_classes], dtype), tf.zeros([1], tf.int64))


def update_metrics(model, labels, logits, weights=None):
    """Updates the metrics that were given to compile by a batch.

    The public `compute_metrics` also computes the results of all metrics of the model, among them
    its running means. A step here neither needs these operations nor logs all these names.
    """
    model.compiled_metrics.update_state(labels, logits, weights)


def metrics_of_compile(model):
    """The metrics that were given to compile, as Keras made them; none before they are built.

    The public `metrics` also has the mean of the loss and whatever else the model tracks.
    """
    return model.compiled_metrics.metrics


def update_loss(model, labels, logits, weights=None):
    """Adds a batch to the mean of the loss that was given to compile; returns the mean's metrics.

    The public `compute_loss` adds the networks' own losses, which no model here minimises, and does
    not say which metrics hold the mean.
    """
    model.compiled_loss(labels, logits, weights)
    return model.compiled_loss.metrics

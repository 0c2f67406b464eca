"""All that this package needs of Keras and its public API does not give: one function for each.

No other module names a private part of Keras (tests/test_structure.py sees to it). Each function
says what the package wants, so that another Keras is another body here and nothing elsewhere.
"""

import tensorflow as tf

# Networks and their layers.


def layers_of(network):
    """All layers of a network at any depth, the network itself first.

    `network.layers` ends at the first level and leaves out layers that a layer holds (in a list, as
    an attribute); `submodules` adds metrics, which Keras 2 derives from Layer.
    """
    return list(network._flatten_layers())


def attributes_of(layer):
    """Pairs (name, value) of what was set on a layer, the names as its constructor has them.

    Which arguments are regularizers or constraints differs from layer to layer: Keras lists them
    nowhere, and hides some, such as `_activity_regularizer`.
    """
    return [(name.lstrip("_"), value) for name, value in vars(layer).items()]


def last_layer(network, output=0):
    """The layer, of a nested network too, that an output comes from; None where it cannot be told.

    `layers[-1]` is one layer where a nested functional model may have several outputs, and a
    symbolic tensor does not say publicly which layer made it.
    """
    if not isinstance(network, tf.keras.Model):
        return network
    if network.outputs:
        history = network.outputs[output]._keras_history
        return last_layer(history.layer, history.tensor_index)
    return last_layer(network.layers[-1]) if isinstance(network, tf.keras.Sequential) else None


def last_function(layer):
    """The function that a layer ends with: its activation, or what it wraps; None for none known.

    An operation that is called on a symbolic tensor becomes a layer whose class is not public.
    """
    if isinstance(layer, (tf.keras.layers.Dense, tf.keras.layers.Activation)):
        return layer.activation
    return getattr(layer, "function", None)


def has_fixed_input(network):
    """False for a Sequential without Input, which takes inputs of other shapes than its first ones.

    Once it was called it has an `input_shape` as others have, and nothing public tells them apart.
    """
    return getattr(network, "_has_explicit_input_shape", True)


def random_layers(network):
    """The layers of a network, at any depth, that may draw Keras's random numbers.

    There are many such classes and their common base is not public.
    """
    return [layer for layer in layers_of(network)
            if isinstance(layer, tf.keras.__internal__.layers.BaseRandomLayer)]


def default_training():
    """What `training=None` means to a layer where it is called: a bool or int, or a tensor of one.

    Keras 2 has a global phase, which is deprecated and gone from Keras 3, and layers of its own
    follow it: so must ours.
    """
    return tf.keras.backend.learning_phase()


# Optimizers.


def build_optimizer(optimizer, variables):
    """Makes the slots of an optimizer for `variables` before its first step, where it can.

    Legacy optimizers, which users may still pass, have no `build`: they make theirs in that step.
    """
    if hasattr(optimizer, "build"):
        optimizer.build(variables)


def slots(optimizer, variable):
    """{"momentum": variable, "velocity": variable}, those that a built optimizer has of `variable`.

    SGD without momentum has that slot too, of its last step. Publicly there is one list of all the
    optimizer's variables, whose order differs from rule to rule and is nowhere promised.
    """
    index = optimizer._index_dict[optimizer._var_key(variable)]
    lists = {"momentums": "momentum", "_momentums": "momentum", "_velocities": "velocity"}
    return {name: getattr(optimizer, attribute)[index] for attribute, name in lists.items()
            if getattr(optimizer, attribute, None)}


def rate_or_schedule(optimizer):
    """The learning rate that any optimizer was given: a scalar variable or a LearningRateSchedule.

    The public `learning_rate` of an optimizer with a schedule is the last step's number, so the
    coming step's cannot be had from it.
    """
    rate = getattr(optimizer, "_learning_rate", None)
    return optimizer.learning_rate if rate is None else rate    # a legacy optimizer


# Models that are trained.


def untracked(method):
    """Decorates a method of a model: what it sets as attributes is no part of what the model saves.

    A Keras model makes every layer, metric or variable that it is given as an attribute, in a list
    or dict too, its own: counted among its weights, saved and restored. Publicly there is no way
    around that.
    """
    return tf.__internal__.tracking.no_automatic_dependency_tracking(method)


def require_compiled(model):
    """Raises Keras's own RuntimeError unless `compile` was called.

    Publicly that is told only by `fit` and its like, which do much else before.
    """
    model._assert_compile_was_called()


def build_metrics(model, num_classes, dtype):
    """Makes the variables of the metrics that were given to compile, unless they have been made.

    Args:
      num_classes, dtype: of the logits [B, num_classes] that the metrics will see, beside integer
        labels [B].

    Publicly metrics appear at their first update: within a traced step, which is then traced twice.
    """
    if not model.compiled_metrics.metrics:
        model.compiled_metrics.build(tf.zeros([1, num_classes], dtype), tf.zeros([1], tf.int64))


def update_metrics(model, labels, logits, weights=None):
    """Updates the metrics that were given to compile by a batch.

    The public `compute_metrics` also takes the result of every metric of the model, its running
    means included: operations that a step here does not need, and names that it does not log.
    """
    model.compiled_metrics.update_state(labels, logits, weights)


def metrics_of_compile(model):
    """The metrics that were given to compile, as Keras made them; none before they are built.

    The public `metrics` lists the loss's mean and whatever else the model tracks among them.
    """
    return model.compiled_metrics.metrics


def update_loss(model, labels, logits, weights=None):
    """Adds a batch to the mean of the loss that was given to compile; returns the metrics of it.

    The public `compute_loss` adds the networks' own losses, which no model here minimises, and does
    not say which metrics hold the mean.
    """
    model.compiled_loss(labels, logits, weights)
    return model.compiled_loss.metrics


def assign_on_all_replicas(variables, values):
    """Assigns `values` to mirrored variables from within a replica; all replicas have to call it.

    The public `merge_call` makes replicas meet for it. Some strategies do without, and need to;
    which do is told by TensorFlow's private call alone, which Keras's own optimizers use for that.
    """
    def update(strategy, variables, values):
        for variable, value in zip(variables, values):
            strategy.extended.update(
                variable, lambda component, new: component.assign(new), args=(value,), group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(
        update, tf.distribute.get_strategy(), variables, values)

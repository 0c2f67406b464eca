"""What this package needs of Keras that Keras's public API does not give: one function for each.

There are two Keras: version 2, which is TensorFlow 2.15's own and later ones' legacy Keras
(`tf-keras`), and version 3. `tf.keras` is one of them, and here it is asked which. What is written
alike for both is here. For the rest keras_2 and keras_3 have the same functions.

No other module names a private part of Keras; tests/test_structure.py checks that.
"""

import tensorflow as tf

IS_KERAS_3 = getattr(tf.keras, "__version__", "2").startswith("3.")     # Keras 2 has none there

if IS_KERAS_3:
    from mpl_tf.common.keras_3 import *     # noqa: F401,F403
else:
    from mpl_tf.common.keras_2 import *     # noqa: F401,F403


# Networks and their layers.


def layers_of(network):
    """All layers of a network, at any depth. The network itself is the first.

    The public `network.layers` has the first level only, and lacks layers that a layer holds as an
    attribute or in a list. The public `submodules` also has metrics, which in Keras 2 are layers.
    """
    return list(network._flatten_layers())


def attributes_of(layer):
    """Pairs (name, value) of a layer's attributes, named as the arguments of its constructor.

    Which of them are regularizers or constraints differs from layer to layer. Keras lists them
    nowhere, and hides some, such as `_activity_regularizer`.
    """
    return [(name.lstrip("_"), value) for name, value in vars(layer).items()]


def is_of_keras(layer):
    """Whether a layer's computation is Keras's own: no code and no function of somebody else's.

    A Lambda, an operation that became a layer, a layer with an activation that Keras does not have,
    SpectralNormalization, which assigns to a weight whenever it is called, and a recurrent layer whose
    state, which is no weight, goes from call to call are none of these.
    """
    names = [type(layer).__name__, *(base.__name__ for base in type(layer).__mro__)]
    functions = [value for value in vars(layer).values() if hasattr(value, "__code__")]
    ours = all((module or "").split(".")[0] in ("keras", "tf_keras") for module in (
        type(layer).__module__, *(function.__module__ for function in functions)))
    return ours and "call" not in vars(layer) and not getattr(layer, "stateful", False) and not {
        "Lambda", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty",
        "SpectralNormalization", "TFSMLayer"} & set(names)


def observe_calls(observe):
    """Makes every call of a layer a call of observe(call, layer, args, kwargs); returns an undo.

    `call(layer, *args, **kwargs)` is Keras's own. Keras has no public hook around a layer's call, and
    replacing the method `call` of each layer would miss layers that a layer keeps to itself, and
    change what autograph converts.
    """
    original = tf.keras.layers.Layer.__call__

    def __call__(self, *args, **kwargs):
        return observe(original, self, args, kwargs)

    __call__.__module__ = original.__module__   # so that autograph leaves it as it leaves Keras's
    tf.keras.layers.Layer.__call__ = __call__

    def undo():
        tf.keras.layers.Layer.__call__ = original
    return undo


def as_written(function):
    """Marks a function that holds no Python `if` or `for` over tensors: AutoGraph leaves it as it is.

    Rewriting a step with all that it calls takes longer than building its graph. TensorFlow's public
    do_not_convert also keeps Keras 2 from rewriting the calls of layers within, where a user's layer may
    want it. Only the mark of what AutoGraph has rewritten already leaves that alone. It is an attribute
    of the function, which `functools.wraps` copies.
    """
    function.autograph_info__ = {}
    return function


# Optimizers and variables.


def rate_or_schedule(optimizer):
    """The learning rate that any optimizer was given: a scalar variable or a LearningRateSchedule.

    With a schedule, the public `learning_rate` is the last step's number, from which the next
    step's cannot be told.
    """
    rate = getattr(optimizer, "_learning_rate", None)
    return optimizer.learning_rate if rate is None else rate    # a legacy optimizer


def assign_on_all_replicas(variables, values):
    """Assigns `values` to mirrored variables from within a replica; all replicas have to call it.

    The public `merge_call` makes the replicas meet for that, but some strategies must not use it.
    Only TensorFlow's private call, which Keras's own optimizers use too, knows which strategies.
    """
    def update(strategy, variables, values):
        for variable, value in zip(variables, values):
            strategy.extended.update(
                variable, lambda component, new: component.assign(new), args=(value,), group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(
        update, tf.distribute.get_strategy(), variables, values)

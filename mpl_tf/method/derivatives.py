"""Which layer TensorFlow cannot differentiate as a step has to, in one line, once a step has failed.

A step differentiates the student's gradient once more, by the nested tape or forwards, and the
teacher once. Where TensorFlow lacks such a derivative, it names an operation, far from the layer that
the operation is in, or fails with another error. Here each layer is differentiated alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from typing import Callable, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import tensorflow as tf

from mpl_tf.method import batches, meta_gradient, passes, recording

ONCE, NESTED_TAPE, JVP = "once", "nested_tape", "jvp"
_STEPS = re.compile(r"mpl_tf[/\\]method[/\\](mpl|baselines|meta_gradient)\.py")
_MISSING = re.compile(r"gradient registry has no entry for: (\w+)")
# What does the same, or nearly, for operations that lack a derivative.
_INSTEAD = {"Resize": "tf.keras.layers.Conv2DTranspose, or tf.repeat along height and width",
            "ScaleAndTranslate": "tf.keras.layers.Conv2DTranspose",
            "Softsign": "tanh", "LRN": "tf.keras.layers.BatchNormalization",
            "MaxPoolGradWithArgmax": "tf.keras.layers.MaxPooling2D",
            "FractionalMaxPool": "tf.keras.layers.MaxPooling2D",
            "FractionalAvgPool": "tf.keras.layers.AveragePooling2D"}


_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def _own_line(message):
    """The one line in the `message` of a traced step's error that a module of this package wrote.

    None if the error arose elsewhere.
    """
    asserted = re.search(
        "(?:%s)[^\\n\\]]*" % "|".join(map(re.escape, batches.ASSERTED)), message)
    if asserted and "\n" not in message and not asserted.start():
        return message      # raised, not asserted in a graph
    if asserted:
        sizes = re.match(r"\] (\[[\d ]+\])", message[asserted.end():])
        return asserted.group() + (f" {sizes.group(1)}" if sizes else "")
    # The last frame has to be a `raise` in a file of ours: what TensorFlow raises below is not.
    frame = re.match(r'in user code:.*File "(?P<file>.+?)", line [^\n]*\n\s*raise [^\n]*\n'
                     r'\s*\w+: (?P<line>[^\n]+)\s*\Z', message, re.DOTALL)
    own = frame and frame["file"].startswith(_PACKAGE)
    return frame["line"] if own else None


@contextlib.contextmanager
def in_one_line(model: tf.keras.Model) -> Iterator[None]:
    """Raises a ValueError of one line for what a step refuses, or TensorFlow cannot differentiate.

    Open it from outside of replicas.

    Args:
      model: a base.TrainingModel.
    """
    try:
        yield
    except Exception as error:
        line = _own_line(str(error))
        if line is None and model._checked and _from_a_step(error):
            with model.distribute_strategy.scope():
                line = explain(model._networks_and_inputs(*model._checked[-1]),
                               getattr(model, "meta_gradient", None), model.distribute_strategy)
        if line is None:
            raise
        raise ValueError(line) from None


def _from_a_step(error):
    """Whether `error` arose in a training step of this package as it was traced, or ran eagerly."""
    if isinstance(error, tf.errors.OpError) and "eterminis" not in str(error):
        return False    # of data, memory or a device
    frames = traceback.extract_tb(error.__traceback__)
    return bool(_STEPS.search(str(error))) or any(_STEPS.search(frame.filename) for frame in frames)


def explain(networks: Mapping[str, Tuple[tf.keras.Model, tf.TensorSpec]], way: Optional[str],
            strategy: tf.distribute.Strategy) -> Optional[str]:
    """Looks for a layer that cannot be differentiated, by tracing alone: nothing is computed.

    Args:
      networks: {role: (network, the specification of a batch of its inputs)}.
      way: "nested_tape" or "jvp" where the student's gradient is differentiated, else None.
      strategy: the model's.

    Returns:
      A line that names the layer and says what to do, or None if all can be differentiated.
    """
    for role, (network, images) in networks.items():
        probe = _Probe(network, images, strategy)
        for derivative in [ONCE, way] if way and role == "student" else [ONCE]:
            error = probe.fails(derivative)
            if error is not None and derivative == ONCE and probe.failed_layer is not None:
                return (_of_randomness(role, probe.failed_layer) if "eterminis" in str(error)
                        else None)      # not its derivative failed, but the layer
            if error is not None:
                return _line(role, probe, derivative, error)
    return None


def _of_randomness(role, layer):
    return (f"{role}'s layer {layer.name!r} ({type(layer).__name__}) draws random numbers, for which "
            "TensorFlow's op determinism wants a seed: call tf.keras.utils.set_random_seed, or use "
            "mpl_tf.layers.ReplayableDropout")


def _line(role, probe, derivative, error):
    call, own = probe.culprit(derivative)
    if call is None:
        return None
    missing = _MISSING.search(str(own)) or _MISSING.search(str(error))
    missing = missing.group(1) if missing else ""
    instead = next((other for name, other in _INSTEAD.items() if missing.startswith(name)),
                   "another layer")
    if derivative == ONCE:
        kind = "derivative"
    else:
        kind = ("forward-mode derivative, which the meta gradient by jvp needs" if derivative == JVP
                else "second derivative, which the meta gradient needs")
        other = NESTED_TAPE if derivative == JVP else JVP
        if probe.fails(other) is None:
            instead = f'meta_gradient="{other}"'
    return (f"{role} has {recording.name_of(call.layer, probe.network)}, and TensorFlow lacks its {kind}"
            f"{f' ({missing} has no gradient)' if missing else ''}: use {instead}")


class _Probe:
    """Traces derivatives of a network, and of each of its layers alone."""

    def __init__(self, network, images, strategy):
        self.network, self.strategy = network, strategy
        self.images = tf.TensorSpec((2, *images.shape[1:]), images.dtype)
        self.failed_layer = None

    def _trace(self, function: Callable[[tf.Tensor], None]) -> Optional[Exception]:
        """The error of tracing `function` of images on all replicas, or None."""
        @tf.function
        def on_replicas(images):
            self.strategy.run(function, args=(images,))

        try:
            on_replicas.get_concrete_function(self.images)
        except Exception as error:  # whatever TensorFlow says of this derivative
            return error
        return None

    def _forward(self, images):
        with recording.recorded() as calls:
            try:
                return passes.forward(self.network, images, tf.zeros([2], tf.int32)), calls
            except Exception:
                self.failed_layer = self.failed_layer or calls.failed
                raise

    def fails(self, derivative: str) -> Optional[Exception]:
        """The error that this derivative of the whole network ends in, or None."""
        variables = passes.weights(self.network)

        def differentiate(images):
            if derivative == JVP:
                meta_gradient.by_jvp(lambda: self._forward(images)[0], variables,
                                     [tf.ones_like(variable) for variable in variables])
                return
            self._twice(lambda: self._forward(images)[0], variables, derivative)

        with recording.observed():
            return self._trace(differentiate)

    def _twice(self, run, sources, derivative):
        """Backward through `run` along unknown cotangents, and for the nested tape through that."""
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(sources)
                outputs = _floating(run())
            cotangents = [tf.ones_like(output) for output in outputs]
            outer.watch(cotangents)
            gradients = inner.gradient(outputs, sources, output_gradients=cotangents)
            gradients = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        if derivative == NESTED_TAPE and gradients:
            outer.gradient(gradients, cotangents, output_gradients=gradients)

    def culprit(self, derivative: str) -> Tuple[Optional[recording.Call], Optional[Exception]]:
        """The first innermost call of a layer that cannot be differentiated alone, and its error."""
        found: List = []

        def each(images):
            _, calls = self._forward(images)
            here = tf.compat.v1.get_default_graph()
            for call in _that_matter([c for c in calls.finished if c.graph is here], images):
                if not found:
                    error = self._alone(call, derivative)
                    if error is not None:
                        found.append((call, error))

        with recording.observed():
            self._trace(each)
        return found[0] if found else (None, None)

    def _alone(self, call, derivative):
        sources = [*_floating((call.args, call.kwargs)), *passes.weights(call.layer)]
        try:
            if derivative == JVP:
                with tf.autodiff.ForwardAccumulator(
                        sources, [tf.ones_like(source) for source in sources]) as accumulator:
                    outputs = call.layer(*call.args, **call.kwargs)
                accumulator.jvp(_floating(outputs))
            else:
                self._twice(lambda: call.layer(*call.args, **call.kwargs), sources, derivative)
        except Exception as error:  # as above
            return error
        return None


def forward_differs(network: tf.keras.Model, images: tf.Tensor,
                    strategy: tf.distribute.Strategy) -> bool:
    """Whether a network has another derivative forwards than backwards, in a graph.

    Backwards TensorFlow takes what a tf.custom_gradient says, forwards the derivative of the
    operations within it. u^T (J w) and (J^T u)^T w are compared, for a random w and some random u:
    by chance one u in sixty sees no difference where there is one.

    Args:
      images: a batch of inputs; their values need not mean anything.
      strategy: the model's. Call this from outside of its replicas.
    """
    variables, numbers = passes.weights(network), np.random.default_rng(0)
    w = [numbers.normal(size=variable.shape) for variable in variables]

    def both(images):
        tangents = [tf.cast(values, variable.dtype) for values, variable in zip(w, variables)]
        seed = tf.zeros([2], tf.int32)
        with passes.averages_restored(network):
            with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
                tape.watch(variables)
                logits = passes.forward(network, images, seed)
            directions = [tf.random.stateless_normal(tf.shape(logits), [1, 2 + number],
                                                    dtype=logits.dtype)
                          for number in range(4)]
            backward = [tape.gradient(logits, variables, output_gradients=u,
                                      unconnected_gradients=tf.UnconnectedGradients.ZERO)
                        for u in directions]
        with passes.averages_restored(network):
            with tf.autodiff.ForwardAccumulator(variables, tangents) as accumulator:
                logits = passes.forward(network, images, seed)
            forward = accumulator.jvp(logits, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        dot = lambda u, one, other: tf.reduce_sum(tf.cast(tf.convert_to_tensor(one), u.dtype)
                                                  * tf.cast(other, u.dtype))
        return [(dot(u, u, forward), tf.add_n([dot(u, g, t) for g, t in zip(gradients, tangents)]),
                 tf.reduce_sum(tf.abs(u * forward))) for u, gradients in zip(directions, backward)]

    found = tf.function(lambda batch: strategy.run(both, args=(batch,)))(images)
    compared = [[float(strategy.experimental_local_results(value)[0]) for value in each]
                for each in found]
    return any(abs(forward - backward) > 0.02 * max(scale, abs(forward), abs(backward))
               for forward, backward, scale in compared)    # bfloat16 has 8 bits


def _floating(values):
    return [tensor for tensor in recording.tensors(values) if tensor.dtype.is_floating]


def _that_matter(calls, images):
    """Those of `calls` through which a gradient with respect to a weight goes.

    Not, then, what is done to the images before the first weight.
    """
    plain, weights = {id(images)}, False
    for call in calls:
        inputs = {id(tensor) for tensor in _floating((call.args, call.kwargs))}
        weights = weights or bool(call.layer.trainable_variables)
        if call.layer.trainable_variables or (weights and not inputs <= plain) or not inputs:
            yield call
        elif inputs <= plain:
            plain |= {id(tensor) for tensor in _floating(call.outputs)}

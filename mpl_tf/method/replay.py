"""Which layers draw random numbers, or keep a state, that a second pass or a resumed run lacks.

A network is passed through twice with the same seed, before the first step and apart from it, on a
few made-up images. Two things are looked at, layer by layer. In the graph, each operation that draws
random numbers belongs to the innermost layer that made it: that finds a layer which drops something
once in a hundred steps too. And the outputs of layers whose inputs were the same are compared, which
finds what no graph shows, such as a counter, or a generator in a Python function.

Layers of Keras's own are known, so that a network of nothing else costs nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import warnings
from concurrent import futures
from typing import List, Mapping, NamedTuple, Tuple, Union

import numpy as np
import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import derivatives, draws, passes, recording
from mpl_tf.networks import layers

IMAGES = 8      # of each replica


class Findings(NamedTuple):
    """Layers of a network, named for a message.

    Attributes:
      changing: layers whose outputs differ when the same pass is made once more.
      unsaved: layers whose random numbers no checkpoint holds, those of `changing` among them.
    """

    changing: List[str]
    unsaved: List[str]


def check_before_steps(model: tf.keras.Model, images: Union[tf.Tensor, tf.TensorSpec]) -> None:
    """Makes `check` of a base.TrainingModel, once for each `compile` and shape of images.

    What is traced later differs in nothing that is checked. Within replicas nothing is done.

    Args:
      images: a batch of images, or its specification; its shape and dtype count.
    """
    key = (None, *images.shape[1:]), images.dtype
    inside = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    if inside or key in model._checked:
        return
    with tf.init_scope():
        check(model._networks_and_inputs(*key), getattr(model, "meta_gradient", None) == "jvp",
              model.seed, model.distribute_strategy, model.run_eagerly, bool(model.jit_compile))
    model._checked.append(key)


def check(networks: Mapping[str, Tuple[tf.keras.Model, tf.TensorSpec]], replayed: bool,
          seed: int, strategy: tf.distribute.Strategy, eager: bool, compiled: bool) -> None:
    """Passes through each network twice, and compares; nothing of the networks is changed.

    A layer whose random numbers a resumed run would not have is named in a warning.

    Args:
      networks: {role: (network, the specification of a batch of its inputs)}.
      replayed: whether the steps replay passes.
      seed, strategy: those of the model. Call this from outside of the strategy's replicas.
      eager: whether the steps run without a graph.
      compiled: whether XLA compiles the steps.

    Raises:
      ValueError: in one line, if passes are replayed and a layer gives other outputs then.
    """
    for role, (network, images) in networks.items():
        changing, unsaved = findings(network, images, seed, strategy, eager, compiled,
                                     weights_kept=role == "student")
        if changing and replayed:
            raise ValueError(
                f'meta_gradient="jvp" replays passes, but {role} has {", ".join(changing)}, which '
                "gives other outputs when the same pass is made again (it draws random numbers, or "
                "keeps a state that is no weight): use mpl_tf.layers.ReplayableDropout or the seed "
                'mpl_tf.layers.layer_seed(name), or "nested_tape"')
        if replayed and role == "student" and not eager:
            _check_forward(role, network, images, strategy)
        if unsaved:
            warnings.warn(
                f'{role} has {", ".join(unsaved)}, whose random numbers or state are in no '
                "checkpoint: a run that is resumed will not have the numbers of one that was not "
                "interrupted; mpl_tf.layers.ReplayableDropout and numbers drawn from the seed "
                "mpl_tf.layers.layer_seed(name) are the same again", stacklevel=2)


def _check_forward(role, network, images, strategy):
    odd = [recording.name_of(layer, network) for layer in keras_seam.layers_of(network)
           if not _is_known(layer)]
    try:
        # In a thread of its own: in this one tf.init_scope lets no tape record.
        with futures.ThreadPoolExecutor(1) as thread:
            differs = odd and network.built and thread.submit(
                derivatives.forward_differs, network, _made_up(network, images), strategy).result()
    except Exception:       # the step, or `derivatives.explain`, will say what of it fails
        return
    if differs:
        raise ValueError(
            f'meta_gradient="jvp" differentiates {role} forwards, where TensorFlow gives another '
            f"derivative than backwards (one of {', '.join(odd)} has a tf.custom_gradient, which "
            'forward mode does not see): use "nested_tape"')


def _is_known(layer):
    return (getattr(layer, "replayable", False) or keras_seam.is_of_keras(layer)
            or type(layer) in _OWN)


class _Trace:
    """Two passes of one replica: their calls, and which calls can be compared.

    Attributes:
      pairs: the calls of both passes that lie side by side in one graph, or in none.
      compared: those of them whose outputs are not known to follow from their inputs.
      inner: those in graphs within it. A layer's tf.function makes them in the first pass alone.
      skipped: calls in which one pass called a layer that the other did not call.
    """

    def __init__(self, passes_, known):
        both = [calls.finished for calls in passes_]
        outer = [[call for call in each if call.graph is each[-1].graph] for each in both]
        inner = [[call for call in each if call.graph is not each[-1].graph] for each in both]
        self.pairs = _while_alike(*outer)
        self.compared = [pair for pair in self.pairs if pair[0].layer not in known] or self.pairs[-1:]
        self.inner = _while_alike(*inner)
        self.inner += [(call, call) for call in inner[0][len(self.inner):]]
        rest = [each[len(self.pairs)] for each in outer if len(each) > len(self.pairs)]
        self.skipped = [max(rest, key=lambda call: call.depth).parent] if rest and len(rest) == 2 else []

    def compare(self):
        """Bool [3, compared]: whether the inputs were the same, the outputs, and but for rounding."""
        return tf.stack([tf.stack([
            _same((one.args, one.kwargs), (other.args, other.kwargs)),
            _same(one.outputs, other.outputs), _same(one.outputs, other.outputs, rounded=True),
        ]) for one, other in self.compared], axis=1)


def _while_alike(first, second):
    """Pairs of calls, up to the first that are not of one layer."""
    return list(itertools.takewhile(lambda pair: pair[0].layer is pair[1].layer,
                                    zip(first, second)))


def _same(one, other, rounded=False):
    """Whether two nests of tensors of the present graph are the same, or are but for rounding."""
    here = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    lists = [[tensor for tensor in recording.tensors(values)
              if here is None or (hasattr(tensor, "op") and tensor.graph is here)]
             for values in (one, other)]
    if len(lists[0]) != len(lists[1]) or not all(
            one.dtype == other.dtype and one.shape.is_compatible_with(other.shape)
            for one, other in zip(*lists)):
        return tf.constant(False)
    equal = [_equal(*pair, rounded) for pair in zip(*lists)]
    return tf.reduce_all(tf.stack(equal)) if equal else tf.constant(True)


def _equal(one, other, rounded):
    if one.dtype in (tf.variant, tf.resource):
        return tf.constant(True)
    if not one.dtype.is_floating:
        return tf.reduce_all(tf.equal(one, other))
    if not rounded:
        return tf.reduce_all(tf.equal(one, other) | (tf.math.is_nan(one) & tf.math.is_nan(other)))
    limit = 2.0 ** -4 if one.dtype == tf.bfloat16 else float(
        np.sqrt(np.finfo(one.dtype.as_numpy_dtype).eps))
    one, other = (tf.cast(value, tf.float64) for value in (one, other))
    both_nan = tf.math.is_nan(one) & tf.math.is_nan(other)
    largest = tf.reduce_max(tf.abs(tf.where(tf.math.is_finite(one), one, 0.0)))
    close = tf.abs(one - other) <= limit * largest
    return tf.reduce_all(tf.equal(one, other) | both_nan | close)


def findings(network: tf.keras.Model, image: tf.TensorSpec, seed: int,
             strategy: tf.distribute.Strategy, eager: bool, compiled: bool,
             weights_kept: bool) -> Findings:
    """Finds the layers of `network` that a replayed pass, or a resumed run, would not repeat.

    Variables, generators and Python's and NumPy's random state are the same afterwards.

    Args:
      image: the specification of a batch of its inputs. Only their shape and dtype count.
      seed: the seed of the model.
      strategy: the passes are made on all its replicas; call this from outside of them.
      eager: whether the steps run without a graph.
      compiled: whether XLA compiles the steps.
      weights_kept: whether a step puts the trainable weights back too before it replays a pass.
    """
    every = keras_seam.layers_of(network)
    known = [layer for layer in every if _is_known(layer)]
    drawing = layers.not_replayable(network)
    if len(known) == len(every) or not network.built:
        return Findings(drawing, drawing)
    known = {layer for layer in known if set(keras_seam.layers_of(layer)) <= set(known)}
    with _python_state_kept(network), recording.observed():
        found = _Search(network, known, image, seed, strategy, eager, compiled,
                        weights_kept).findings()
    return Findings(*(list(dict.fromkeys([*drawing, *names])) for names in found))


_OWN = (layers.GaussianFeatures, layers.LogProbabilities)


class _Search:
    """The two passes of one network, in a graph and without one."""

    def __init__(self, network, known, image, seed, strategy, eager, compiled, weights_kept):
        self.network, self.known, self.strategy, self.eager = network, known, strategy, eager
        self.seed, self.weights_kept = seed, weights_kept
        # In a graph, two operations of one seed draw the same numbers, from a state of their own.
        self.seeds_hold = not (eager or compiled)
        self.images = _made_up(network, image)
        self.calls: List[recording.Calls] = []
        self.traces: List[_Trace] = []

    @keras_seam.as_written
    def _twice(self, images):
        both = []
        for _ in range(2):
            kept = (passes.weights_restored(passes.weights(self.network))
                    if self.weights_kept else contextlib.nullcontext())
            with recording.recorded() as calls, kept, passes.averages_restored(self.network):
                self.calls.append(calls)
                seed = passes.pass_seed(self.seed, 0, passes.STUDENT_UNLABELED)
                with passes.seeded(self.network, seed):
                    self.network(images, training=True)
            both.append(calls)
        trace = _Trace(both, self.known)
        self.traces.append(trace)
        return trace.compare()

    @keras_seam.as_written
    def _on_replicas(self, images):
        return self.strategy.run(self._twice, args=(images,))

    def findings(self):
        """(changing, unsaved), names of layers."""
        drawing, changing, function = [], [], None
        try:
            function = tf.function(self._on_replicas).get_concrete_function(
                tf.TensorSpec(self.images.shape, self.images.dtype))
        except Exception as error:
            self._not_done(error)
            if not self.eager:
                return [], []
        if function is not None:
            state = [part for variable in passes.averages(self.network)
                     for part in self.strategy.experimental_local_results(variable)]
            changing, drawing = draws.drawing(
                [trace.pairs + trace.inner for trace in self.traces], state, self.seeds_hold)
            changing += [call for trace in self.traces for call in trace.skipped]
        if not self.eager:
            with _variables_kept(function.graph.variables):
                changing += self._differing(function)
        elif not drawing:   # eager operations draw from a state that nothing can put back
            with _variables_kept([each for each in tf.train.TrackableView(self.network).descendants()
                                  if isinstance(each, tf.Variable)]):
                changing += self._differing(self._on_replicas)
        return [self._names(calls) for calls in (changing, changing + drawing)]

    def _differing(self, run):
        """The calls whose inputs are the same in both passes and whose outputs are not."""
        for images in (self.images, tf.zeros_like(self.images)):    # indices of something, it may be
            if self.eager:
                self.traces.clear()
            try:
                same = self.strategy.experimental_local_results(run(images))
            except Exception as error:  # made-up images need not be what a layer can do with
                reason = error
                continue
            return [trace.compared[number][0] for trace, flags in zip(self.traces, same)
                    for number in _first_that_differ(*np.asarray(flags))]
        self._not_done(reason)
        return []

    def _not_done(self, error):
        """Tells that the comparison failed, unless a layer did: the step will say that itself."""
        if not any(calls.failed for calls in self.calls):
            reason = (str(error).strip().splitlines() or [""])[-1].strip()
            warnings.warn(
                f"{self.network.name}: whether its layers repeat their numbers could not be looked at "
                f"({type(error).__name__}: {reason[:160]}), which a resumed run and "
                'meta_gradient="jvp" need; the run goes on', stacklevel=2)

    def _names(self, calls):
        outer = set()
        for call in calls:
            while call.parent is not None:
                call = call.parent
                outer.add(id(call))
        inner = {id(call.layer): recording.name_of(call.layer, self.network)
                 for call in calls if id(call) not in outer}
        return list(inner.values())


def _first_that_differ(inputs, outputs, rounded):
    """Numbers of the calls of equal inputs and other outputs, if any of them is more than rounding."""
    return np.flatnonzero(inputs & ~outputs) if np.any(inputs & ~rounded) else []


def _made_up(network, image):
    """A tensor of uniform numbers, [-1, 1) or 0 and 1, of the shape that `network` takes."""
    expected = getattr(network, "input_shape", None)
    expected = expected if isinstance(expected, tuple) else (None,) * image.shape.rank
    batch = expected[0] if expected and isinstance(expected[0], int) else IMAGES
    shape = [batch, *(size or 32 for size in image.shape[1:])]
    numbers = np.random.default_rng(0)
    if image.dtype.is_floating:
        return tf.cast(numbers.uniform(-1.0, 1.0, shape), image.dtype)
    return tf.cast(numbers.integers(0, 2, shape), image.dtype)


@contextlib.contextmanager
def _python_state_kept(network):
    """Puts the random state of Python, of NumPy and of Keras's layers back at the end."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    put_back = keras_seam.seeds_kept(network)
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        put_back()


@contextlib.contextmanager
def _variables_kept(variables):
    before = [(variable, tf.identity(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)

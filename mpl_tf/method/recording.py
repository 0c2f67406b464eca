"""Records the calls of layers that a pass through a network makes, in the order of their ends."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Iterator, List, Optional

import tensorflow as tf

from mpl_tf.common import keras_seam

_lock = threading.RLock()
_context = threading.local()    # MirroredStrategy traces each replica in a thread of its own


class Call:
    """One call of a layer.

    Attributes:
      layer, args, kwargs, outputs: what was called, with what, and what came of it.
      parent, depth: the Call that this one is part of, or None, and how many there are around it.
      graph: the graph that the call's operations are in, or None for an eager call.
      start, end: the call made the operations number start, ..., end - 1 of that graph.
    """

    def __init__(self, layer, args, kwargs, parent):
        self.layer, self.args, self.kwargs, self.parent = layer, args, kwargs, parent
        self.depth = 0 if parent is None else parent.depth + 1
        self.graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self.outputs, self.start, self.end = None, self._operations(), None

    def _operations(self):
        return len(self.graph.get_operations()) if self.graph is not None else 0

    def finish(self, outputs):
        self.outputs, self.end = outputs, self._operations()


class Calls:
    """The finished calls of a pass, and the layer in which the pass failed, or None."""

    def __init__(self) -> None:
        self.finished: List[Call] = []
        self.failed: Optional[tf.keras.layers.Layer] = None
        self.open: List[Call] = []


def tensors(values: Any) -> List[tf.Tensor]:
    """The dense tensors in a nest, in order."""
    return [value for value in tf.nest.flatten(values, expand_composites=True)
            if isinstance(value, tf.Tensor)]


def name_of(layer: tf.keras.layers.Layer, network: tf.keras.Model) -> str:
    """Names a layer of `network`, which may be the network itself, for a message."""
    kind = type(layer).__name__
    return f"operations between its layers (class {kind})" if layer is network else (
        f"{layer.name} ({kind})")


@contextlib.contextmanager
def observed() -> Iterator[None]:
    """Within this context `recorded` works, on every thread; one thread at a time opens it."""
    with _lock:
        undo = keras_seam.observe_calls(_observe)
        try:
            yield
        finally:
            undo()


@contextlib.contextmanager
def recorded() -> Iterator[Calls]:
    """Records the calls that this thread makes within the context."""
    previous, _context.calls = getattr(_context, "calls", None), Calls()
    try:
        yield _context.calls
    finally:
        _context.calls = previous


def _observe(call, layer, args, kwargs):
    calls = getattr(_context, "calls", None)
    if calls is None:
        return call(layer, *args, **kwargs)
    this = Call(layer, args, kwargs, calls.open[-1] if calls.open else None)
    calls.open.append(this)
    try:
        outputs = call(layer, *args, **kwargs)
    except Exception:
        calls.failed = calls.failed or layer
        raise
    finally:
        calls.open.pop()
    this.finish(outputs)
    calls.finished.append(this)
    return outputs

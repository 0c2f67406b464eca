"""The layers of this package's own: dropout that can be replayed, Gaussian features, logarithms.

A mask of ReplayableDropout is a function of (seed, step, pass, layer, replica). Keras's own Dropout
draws a new mask at every call, and its state is not in checkpoints. Here the training step sets the
seed of each pass by `random_seed`, and the layer folds in its own name and the replica. So a pass
can be replayed, which forward mode needs; a resumed run continues with the masks that it would have
had; and a pass that only some methods make does not change the masks of the others.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import zlib
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np
import tensorflow as tf

from mpl_tf.common import keras_seam, random_bits

_context = threading.local()    # MirroredStrategy traces each replica in a thread of its own


@contextlib.contextmanager
def random_seed(seed: tf.Tensor) -> Iterator[None]:
    """Within this context every replayable layer takes its masks from `seed`, int32 [2]."""
    previous = getattr(_context, "seed", None), getattr(_context, "calls", None)
    _context.seed, _context.calls = seed, collections.Counter()
    try:
        yield
    finally:
        _context.seed, _context.calls = previous


@contextlib.contextmanager
def rows(starts: Sequence[tf.Tensor], size: int) -> Iterator[None]:
    """Within this context a pass sees some rows of a larger batch, and their masks are those of it.

    Args:
      starts: int scalars, the first rows of runs of `size` rows each, which lie one after another in
        what the pass sees.
      size: the number of rows in a run.

    Raises:
      ValueError: in one line, at the end, if a layer asked for its seed: numbers that it draws from that
        are the same in every part of a batch.
    """
    previous = getattr(_context, "rows", None), getattr(_context, "asked", None)
    _context.rows, _context.asked = (list(starts), size), []
    try:
        yield
        asked = _context.asked
    finally:
        _context.rows, _context.asked = previous
    if asked:
        raise ValueError(f"layer {asked[0]!r} draws random numbers, and with microbatch_size they would be "
                         "the same for every slice of a batch: use mpl_tf.layers.ReplayableDropout, or "
                         "leave microbatch_size out")


def layer_seed(name: str) -> tf.Tensor:
    """The seed, int32 [2], of the layer called `name` in the current pass on this replica.

    Outside a training step of this package, as in a plain `student.fit`, there is no pass to
    replay, and the seed is drawn from TensorFlow's global generator.
    """
    if getattr(_context, "rows", None) is not None:
        _context.asked.append(name)
    return _layer_seed(name)


def _layer_seed(name):
    seed, before = getattr(_context, "seed", None), 0
    if seed is None:
        seed = tf.random.uniform([2], minval=tf.int32.min, maxval=tf.int32.max, dtype=tf.int32)
    else:       # counts calls: of this layer, or of one of its name in another model
        before = _context.calls[name]
        _context.calls[name] += 1
    if before:
        seed = random_bits.fold_in(seed, before)
    seed = random_bits.fold_in(seed, zlib.crc32(name.encode()) & 0x7FFFFFFF)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        seed = random_bits.fold_in(seed, tf.cast(replica.replica_id_in_sync_group, tf.int32))
    return seed


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class ReplayableDropout(tf.keras.layers.Layer):
    """Inverted dropout (Srivastava et al., 2014) that can be replayed, see the module's docstring.

    Keras has no class of this name. That matters because Keras, when it loads a layer whose class is
    not registered, silently takes its own class of the same name.

    Args:
      rate: the fraction of the inputs that are set to zero in training, in [0, 1).
      noise_shape: the mask's shape as Keras's Dropout takes it, with None for a dimension of the
        input. (None, 1, 1, 1) keeps or drops whole examples, as stochastic depth does. None stands
        for the input's shape.
      name: the layer's name, which has to be the same in every process. The masks depend on it, and
        on how often the layer has already been called in the pass.

    Raises:
      ValueError: in one line, for a rate outside [0, 1).
    """

    replayable = True

    def __init__(self, rate: float, noise_shape: Optional[Sequence[Optional[int]]] = None,
                 name: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"Dropout rate {rate} is outside [0, 1): give the fraction to drop")
        self.rate = rate
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    @keras_seam.as_written
    def call(self, inputs: tf.Tensor,
             training: Union[None, bool, int, tf.Tensor] = None) -> tf.Tensor:
        if training is None:
            training = keras_seam.default_training()
        if not self.rate or (isinstance(training, (bool, int)) and not training):
            return inputs
        if isinstance(training, (bool, int)):
            return self._drop(inputs)
        return tf.cond(tf.cast(training, tf.bool), lambda: self._drop(inputs), lambda: inputs)

    def _drop(self, inputs):
        # The bits are compared as integers, uniform on [-2^31, 2^31), because TensorFlow and XLA
        # make different floats of the same bits. So the masks are the same with and without XLA,
        # and in every precision.
        shape, by_row = tf.shape(inputs), True
        if self.noise_shape is not None:
            by_row = self.noise_shape[:1] == (None,)
            shape = [shape[axis] if size is None else size
                     for axis, size in enumerate(self.noise_shape)]
        bits = _bits(shape, _layer_seed(self.name), by_row)
        kept = tf.cast(bits, tf.float32) >= 2.0 ** 32 * (self.rate - 0.5)
        scaled = inputs / tf.cast(1.0 - self.rate, inputs.dtype)
        return tf.where(kept, scaled, tf.zeros_like(inputs))

    def get_config(self) -> Dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape}


def _bits(shape, seed, by_row):
    """Random int32 of `shape`; within `rows` those that the larger batch has in these rows.

    by_row: whether the first axis is that of the batch. One mask for all rows is the same in any part.
    """
    if getattr(_context, "rows", None) is None or not by_row:
        return random_bits.philox_bits(shape, seed)
    starts, size = _context.rows
    shape = tf.convert_to_tensor(shape)
    count = tf.reduce_prod(shape) // len(starts)
    of_row = tf.cast(count // size, tf.int64)
    parts = [random_bits.philox_part(tf.cast(start, tf.int64) * of_row, count, seed)
             for start in starts]
    return tf.reshape(tf.concat(parts, axis=0), shape)


# Its name in earlier versions, and in the files that they saved.
Dropout = ReplayableDropout
tf.keras.utils.get_custom_objects()["mpl_tf>Dropout"] = ReplayableDropout


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class FusedBatchNormalization(tf.keras.layers.BatchNormalization):
    """Batch norm by TensorFlow's fused operation, as Keras 2 has it and Keras 3 has not.

    In training Keras 3 computes it by a dozen operations, which take longer, and which TensorFlow's
    graph optimizer rearranges by what else the graph holds: a control would differ from its baseline
    by rounding. Float64, other axes and Keras 2 leave it to Keras.
    """

    replayable = True

    @keras_seam.as_written
    def call(self, inputs: tf.Tensor, training: Optional[bool] = None,
             mask: Optional[tf.Tensor] = None) -> tf.Tensor:
        fused = (keras_seam.IS_KERAS_3 and training and self.trainable and mask is None
                 and len(inputs.shape) == 4 and self.axis in (3, -1) and inputs.dtype != tf.float64
                 and self.scale and self.center)
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        scale, offset = (tf.cast(tf.convert_to_tensor(each), tf.float32)
                         for each in (self.gamma, self.beta))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=tf.zeros([0]), variance=tf.zeros([0]),
            epsilon=self.epsilon, is_training=True)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            before = tf.convert_to_tensor(moving)
            moving.assign(before - (before - value) * (1.0 - self.momentum))
        return outputs


def not_replayable(model: tf.keras.Model) -> List[str]:
    """The layers of `model` whose random numbers cannot be drawn again: "name (class)" of each."""
    return [f"{layer.name} ({type(layer).__name__})"
            for layer in keras_seam.random_layers(model) if _draws(layer)]


def _draws(layer):
    """False if the layer has rates and all of them are zero, as those of an LSTM without dropout."""
    rates = [getattr(layer, name) for name in ("rate", "stddev", "dropout", "recurrent_dropout")
             if hasattr(layer, name)]
    return not rates or any(rates)


MAX_CENTRES = 100_000
SMALLEST = 1e-7     # float16 stores nothing between 0 and 6e-8


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class GaussianFeatures(tf.keras.layers.Layer):
    """phi_c(x) = exp(-|x - c|^2 / 2 w^2) over a grid of centres c, scaled so that |phi(x)|^2 = 1.

    The layer takes points [B, D] to features [B, C]. It has no weights: the centres follow from its
    arguments.

    Args:
      low, high: opposite corners [D] of the grid. On each axis the centres go from `low` to the
        first one that is at or beyond `high`.
      width: w, which is the Gaussians' width and the spacing of the grid.

    Raises:
      ValueError: in one line, for corners or a width that make no grid, or one that is too large.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float], width: float,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = [float(v) for v in low], [float(v) for v in high]
        self.width = float(width)
        self.centres = grid(self.low, self.high, self.width)

    @keras_seam.as_written
    def call(self, points: tf.Tensor) -> tf.Tensor:
        centres = tf.constant(self.centres, points.dtype)
        squares = tf.reduce_sum((points[:, None, :] - centres) ** 2, axis=-1)
        # phi^2 = exp(-|x-c|^2/w^2) / sum_c' exp(-|x-c'|^2/w^2) is a softmax, which stays finite
        # for points so far outside the grid that every exp(...) is zero.
        return tf.exp(0.5 * tf.nn.log_softmax(-squares / self.width ** 2))

    def get_config(self) -> Dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high, "width": self.width}


def grid(low: Sequence[float], high: Sequence[float], width: float) -> np.ndarray:
    """A grid of points, float64 [C, D], `width` apart on each axis, from `low` to `high` or beyond."""
    if not width > 0.0:
        raise ValueError(f"width={width}: Gaussian features need a width above 0")
    if len(low) != len(high) or not all(l <= h for l, h in zip(low, high)):
        raise ValueError(f"low={low}, high={high}: expected opposite corners, low <= high, "
                         "with one number for each dimension")
    sizes = [math.ceil((h - l) / width) + 1 for l, h in zip(low, high)]
    if math.prod(sizes) > MAX_CENTRES:
        raise ValueError(f"Gaussian features with a grid of {'x'.join(map(str, sizes))} centres: "
                         f"at most {MAX_CENTRES} are supported, so use a larger width")
    axes = [l + width * np.arange(size) for l, size in zip(low, sizes)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sizes))


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class LogProbabilities(tf.keras.layers.Layer):
    """log max(p, 1e-7) of distributions p [B, K]: logits [B, K] whose softmax is p within 1e-7 K."""

    @keras_seam.as_written
    def call(self, probs: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(probs, tf.constant(SMALLEST, probs.dtype)))

"""Weak and strong views for data of any kind: images in their own range, or by a user's functions."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Sequence

import tensorflow as tf

from mpl_tf.common.random_bits import random_bits
from mpl_tf.data import augment

View = Callable[..., tf.Tensor]


class Views:
    """Makes the views of batches.

    Args:
      shape: of one example, such as (32, 32, 3).
      augment_: whether examples without a function of a user's get the views of images; otherwise
        the weak view is the example, and there is no strong one.
      weak, strong: a user's functions, or None: of a batch [B, ...], or of that and a seed, int32 [2].
        A Keras layer is called with training=True.
      padding, flip, layers, magnitude, operations, cutout: as of augment.strong_view; padding None is
        an eighth of the side, cutout None half of it.

    Raises:
      ValueError: in one line: there are no views of such examples, or an option is impossible.
    """

    def __init__(self, shape: Sequence[int], augment_: bool = True, weak: View | None = None,
                 strong: View | None = None, padding: int | None = None, flip: bool = False,
                 cutout: int | None = None, **policy: Any):
        for name, function in (("weak", weak), ("strong", strong)):
            if function is not None and not callable(function):
                raise ValueError(f"{name}={function!r}: expected a function of a batch [B, ...], or None")
        self._range, self._own = (0.0, 255.0), (weak, strong)
        self._made = (weak is None and augment_, strong is None and augment_)
        self.has_strong = strong is not None or augment_
        if any(self._made):
            check_images(shape)
            crop, cutout = augment.check_crops(min(shape[:2]), padding, cutout)
            augment.check_rand_augment(policy["layers"], policy["magnitude"], policy["operations"])
            self._crop, self._policy = dict(padding=crop, flip=flip), dict(policy, cutout=cutout)

    def values_lie_in(self, low: float, high: float) -> None:
        """Says which range the values of images have, 0 to 255 before; the views keep it."""
        self._range = low, high

    def of(self, batch: tf.Tensor, seed: int, step: tf.Tensor, examples: tf.Tensor, epochs: tf.Tensor,
           streams: Sequence[int]) -> dict[str, tf.Tensor]:
        """{"image": the weak view, "augmented": the strong one where `streams` has a second number}.

        Args:
          batch: [B, ...]. seed: Python int. step: int64, for functions of a user's.
          examples, epochs: int64 [B], which with the seed decide what is random in images' views.
          streams: Python ints, one for each view.
        """
        if batch.dtype.is_floating:
            batch = as_floats(batch)
        views = []
        for number, stream in enumerate(streams):
            if self._made[number]:
                make = (self._weak, self._strong)[number]
                made = make(batch, seed, examples, epochs, stream)
                views.append(tf.cast(made, tf.keras.backend.floatx()))
            elif self._own[number] is None:
                views.append(batch)
            else:
                bits = tf.bitcast(random_bits(seed, stream, step), tf.int32)
                views.append(_called(self._own[number], ("weak", "strong")[number], batch, bits))
        return dict(zip(("image", "augmented"), map(as_floats, views)))

    def _weak(self, batch, seed, examples, epochs, stream):
        u = augment.uniforms(seed, examples, epochs, 3, stream)
        return augment.weak(batch, u, **self._crop)

    def _strong(self, batch, seed, examples, epochs, stream):
        low, high = self._range
        levels = (tf.cast(batch, tf.float32) - low) * (255.0 / (high - low))
        levels = tf.clip_by_value(tf.round(levels), 0.0, 255.0)
        levels = augment.strong_view(levels, seed, examples, epochs, stream, **self._crop, **self._policy)
        return levels * ((high - low) / 255.0) + low


def check_images(shape: Sequence[int]) -> None:
    """Raises ValueError, in one line, unless `shape` is that of an image [H, W, C] with 1 or 3 channels."""
    if len(shape) == 3 and None not in shape and shape[2] in (1, 3):
        return
    remedy = "give augment=False, with strong=FUNCTION where the objective needs strong views"
    if len(shape) == 2:
        remedy = f"give images[..., np.newaxis] if these are grey images; otherwise {remedy}"
    elif len(shape) == 3:
        remedy = (f"resize or crop them to one size, with the channels last; or give weak= and strong=, "
                  f"or {remedy}")
    shown = ", ".join("?" if each is None else str(each) for each in shape)
    raise ValueError(f"examples have the shape [{shown}], but views by default are made of images [H, W, 1] "
                     f"or [H, W, 3]: {remedy}")


def as_floats(batch: tf.Tensor) -> tf.Tensor:
    """A batch as networks take it: pixels and floats as floatx, other whole numbers (tokens) as they are."""
    if batch.dtype.is_floating or batch.dtype in (tf.uint8, tf.bool):
        return tf.cast(batch, tf.keras.backend.floatx())
    return batch


def _called(function, name, batch, seed):
    """What a user's function makes of a batch, with as many examples."""
    try:
        if isinstance(function, tf.keras.layers.Layer):
            made = function(as_floats(batch), training=True)
        else:
            # As tf.data does, so that `if` and `for` over tensors work in it.
            traced, arguments = tf.function(function), (batch, seed)[:_required(function)]
            traced.get_concrete_function(*arguments)    # first, as predicted.logits_function says
            made = traced(*arguments)
        made = tf.convert_to_tensor(made)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        raise ValueError(
            f"{name}= fails for a batch {batch.dtype.name} {tuple(batch.shape)}, {type(error).__name__}: "
            f"{lines[-1][:200]}: expected a function of a batch [B, ...], or of a batch and a seed "
            "int32 [2], that gives a view [B, ...]") from error
    if made.shape.rank == 0 or not made.shape[:1].is_compatible_with(batch.shape[:1]):
        raise ValueError(f"{name}= makes {made.dtype.name} {tuple(made.shape)} of a batch "
                         f"{tuple(batch.shape)}: expected a view of each example, [{batch.shape[0]}, ...]")
    return tf.ensure_shape(made, [batch.shape[0], *made.shape[1:]]) if made.shape.rank else made


def _required(function):
    """2 for a function that has to be given two arguments, else 1."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):     # of a built-in function
        return 1
    needed = [each for each in parameters if each.default is each.empty and each.kind in (
        each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return 2 if len(needed) == 2 else 1

"""Batches for `model.fit` of two ordinary tf.data.Datasets, of (x, y) and of x."""

from __future__ import annotations

import math
from typing import Callable, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from mpl_tf.data import given, order
from mpl_tf.data.from_memory import check_steps
from mpl_tf.data.pipeline import on_this_worker
from mpl_tf.data.views import Views

ONE_HOT = "labels of the labeled dataset are neither class numbers nor exact one-hot rows"
BATCH = 64                      # the default of unbatched datasets
SHUFFLED_BYTES = 2 ** 28        # a buffer holds at most about as many, and 10,000 examples
PEEKED = 64                     # examples of each dataset by which the range of values is told


def from_datasets(labeled: tf.data.Dataset, unlabeled: tf.data.Dataset | None = None,
                  batch_size: int | None = None, unlabeled_batch_size: int | None = None, *,
                  shuffle: int | None = None, batched: bool | None = None, augment: bool = True,
                  weak: Callable[..., tf.Tensor] | None = None,
                  strong: Callable[..., tf.Tensor] | None = None, labeled_strong: bool = False,
                  value_range: tuple[float, float] | None = None, padding: int | None = None,
                  flip: bool = False, randaugment_layers: int = 2, randaugment_magnitude: float = 10.0,
                  randaugment_operations: str | Sequence[str] = "published",
                  cutout: int | None = None, seed: int = 0) -> tf.data.Dataset:
    """Makes training batches for `model.fit` of two datasets.

        train = mpl_tf.data.from_datasets(labeled, unlabeled)
        model.fit(train, epochs=10, steps_per_epoch=200, validation_data=test)

    Both datasets are taken apart into examples, shuffled, repeated without an end and batched. The
    views keep the range of the images' values. To tell this range and the sizes of batches, the
    first elements are read once, here.

    Args:
      labeled: of (x, y) or (x, y, sample_weight), batched or not, of any cardinality: y are class
        numbers from 0 on, or exact one-hot rows.
      unlabeled: of x, batched or not, in the same shape and range; None for baselines without any.
      batch_size, unlabeled_batch_size: examples of a step; None: the size of the dataset's own
        batches, or 64 where it has none (unlabeled_batch_size: batch_size).
      shuffle: how many examples the buffers hold in which order is mixed, 0 for none; None: all of a
        smaller dataset, at most 10,000 and about 256 MB.
      batched: whether the elements of `labeled` are batches, where shapes cannot tell.
      augment, weak, strong, labeled_strong, value_range, padding, flip, randaugment_layers,
        randaugment_magnitude, randaugment_operations, cutout: as of from_arrays.
      seed: decides the order of the examples and their views. How far an interrupted training had
        come in the datasets is not kept: from_arrays resumes at any step.

    Returns:
      An endless tf.data.Dataset of {"labeled": {"image", "label"[, "augmented", "sample_weight"]},
      "unlabeled": {"image"[, "augmented"]}}, for `fit` with steps_per_epoch.

    Raises:
      ValueError: in one line, for what does not fit or cannot be told.
    """
    check_steps(batch_size, unlabeled_batch_size)
    parts = [_labeled(labeled, batched, augment)]
    if unlabeled is not None:
        parts.append(_unlabeled(unlabeled, parts[0].x.shape))
    views = Views(parts[0].x.shape, augment, weak=weak, strong=strong, padding=padding, flip=flip,
                  layers=randaugment_layers, magnitude=randaugment_magnitude,
                  operations=randaugment_operations, cutout=cutout)
    sizes = [batch_size or _own_size(parts[0]) or BATCH]
    if unlabeled is not None:
        sizes.append(unlabeled_batch_size or _own_size(parts[1]) or sizes[0])
    if augment and strong is None:
        views.values_lie_in(*_value_range(parts, value_range))
    streams = [_stream(part, size, shuffle, seed + number)
               for number, (part, size) in enumerate(zip(parts, sizes))]

    def view(x, step, *numbers):
        examples = step * x.shape[0] + tf.range(x.shape[0], dtype=tf.int64)
        return views.of(x, seed, step, examples, tf.zeros_like(examples), numbers)

    @tf.autograph.experimental.do_not_convert
    def batch_of(step, first, *second):
        x, y, *weight = first
        strong_ones = [order.LABELED_STRONG] * bool(labeled_strong and views.has_strong)
        result = {"labeled": {**view(x, step, order.LABELED_WEAK, *strong_ones),
                              "label": _class_numbers(y), **dict(zip(["sample_weight"], weight))}}
        if second:
            strong_ones = [order.UNLABELED_STRONG] * views.has_strong
            result["unlabeled"] = view(second[0][0], step, order.UNLABELED_WEAK, *strong_ones)
        return result

    zipped = tf.data.Dataset.zip((tf.data.Dataset.range(tf.int64.max), *streams))
    batches = zipped.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return on_this_worker(batches.prefetch(tf.data.AUTOTUNE))


class _Part(NamedTuple):
    """A dataset of tuples, and what is known of it: its name, one example's x, whether it is batched."""
    name: str
    dataset: tf.data.Dataset
    x: tf.TensorSpec
    batched: bool


def _labeled(dataset, batched, augment):
    spec = _spec(dataset, "labeled")
    if not isinstance(spec, tuple) or len(spec) not in (2, 3) or not all(
            isinstance(each, tf.TensorSpec) for each in spec):
        hint = "; give as_supervised=True to tfds.load" if isinstance(spec, dict) else ""
        raise ValueError(f"the labeled dataset yields {_words(spec)}, expected tuples (x, y) of tensors: "
                         f"map it to (image, label){hint}")
    x, y = spec[:2]
    if x.shape.rank is None or y.shape.rank is None:
        raise ValueError("the labeled dataset does not know the rank of x or y: set it by "
                         "tf.ensure_shape in its map")
    if batched is None:
        batched = _is_batched(x.shape, y.shape, augment, y.dtype.is_integer)
    if y.shape.rank - batched not in (0, 1) or x.shape.rank < batched:
        raise ValueError(f"the labeled dataset yields labels of shape {y.shape} beside x of shape {x.shape}, "
                         "expected class numbers or one-hot rows, of one example or of a batch")
    return _Part("labeled", dataset, tf.TensorSpec(x.shape[int(batched):], x.dtype), batched)


def _is_batched(x, y, augment, whole):
    """Whether elements of the shapes `x` and `y` are batches; ValueError if that cannot be told.

    whole: whether y are whole numbers, as one-hot rows seldom are.
    """
    if y.rank in (0, 2):
        return y.rank == 2
    if augment and x.rank in (3, 4):        # images
        return x.rank == 4
    if y[0] is None:
        return True
    if not x.rank or x[0] != y[0]:
        return False
    if x.rank > 1 and (whole or y[0] == 1):
        return True
    raise ValueError(f"the labeled dataset yields x of shape {x} and y of shape {y}: whether these are "
                     "batches cannot be told; give batched=True or batched=False")


def _unlabeled(dataset, shape):
    spec = _spec(dataset, "unlabeled")
    if isinstance(spec, tuple) and len(spec) == 2:
        raise ValueError("the unlabeled dataset yields tuples of 2, expected x alone: take labels out by "
                         "unlabeled.map(lambda x, y: x)")
    if isinstance(spec, tf.TensorSpec):
        dataset, spec = dataset.map(lambda x: (x,)), (spec,)
    if not isinstance(spec, tuple) or len(spec) != 1 or not isinstance(spec[0], tf.TensorSpec):
        raise ValueError(f"the unlabeled dataset yields {_words(spec)}, expected x alone, a tensor: map it "
                         "to the image")
    x = spec[0].shape
    for batched in (True, False):
        if x.rank is not None and x.rank == shape.rank + batched and (
                x[int(batched):].is_compatible_with(shape)):
            return _Part("unlabeled", dataset, tf.TensorSpec(x[int(batched):], spec[0].dtype), batched)
    raise ValueError(f"the unlabeled dataset yields x of shape {x}, but labeled examples have the shape "
                     f"{shape}: bring both to one shape")


def _spec(dataset, name):
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"the {name} dataset is a {type(dataset).__name__}, expected a tf.data.Dataset: "
                         "give arrays to mpl_tf.data.from_arrays")
    if dataset.cardinality() == 0:
        raise ValueError(f"the {name} dataset is empty: give at least one example")
    return dataset.element_spec


def _words(spec):
    if isinstance(spec, dict):
        return f"dicts of {', '.join(map(str, spec))}"[:200]
    return f"tuples of {len(spec)}" if isinstance(spec, tuple) else type(spec).__name__


def _first(part, count):
    """The first x of a dataset, up to `count` elements, as a list of arrays."""
    taken = [element[0].numpy() for element in part.dataset.take(count)]
    if not taken:
        raise ValueError(f"the {part.name} dataset is empty: give at least one example")
    return taken


def _own_size(part):
    """How many examples the dataset's own batches have; None for one without batches."""
    if not part.batched:
        return None
    known = part.dataset.element_spec[0].shape[0]
    return known or len(_first(part, 1)[0])


def _value_range(parts, value_range):
    if value_range is not None:
        return given.pair(value_range)
    firsts = {f"the {part.name} dataset": _first(part, 1 if part.batched else PEEKED) for part in parts}
    return given.value_range({name: given.examples(np.stack(arrays), name)
                              for name, arrays in firsts.items()})


def _stream(part, size, shuffle, seed):
    """Endless batches of `size` examples of a dataset, in an order by `seed`."""
    dataset = part.dataset.unbatch() if part.batched else part.dataset
    if shuffle is None:
        bytes_ = part.x.dtype.size * math.prod(each or 256 for each in part.x.shape)
        shuffle = min(10_000, max(SHUFFLED_BYTES // max(bytes_, 1), 2 * size))
        count = int(dataset.cardinality())
        shuffle = min(shuffle, count) if count > 0 else shuffle
    if shuffle:
        dataset = dataset.shuffle(shuffle, seed=seed, reshuffle_each_iteration=True)
    return dataset.repeat().batch(size, drop_remainder=True)


def _class_numbers(y):
    """Labels int64 [B] of class numbers [B] or [B, 1], or of one-hot rows [B, K], checked in the step."""
    if y.shape.rank == 2 and y.shape[1] != 1:
        fits = tf.reduce_all(((y == 0) | (y == 1))) & tf.reduce_all(
            tf.math.count_nonzero(y, axis=1) == 1)
        numbers = tf.argmax(y, axis=1)
    else:
        y = tf.reshape(y, [y.shape[0]])
        numbers = tf.cast(y, tf.int64)
        fits = tf.reduce_all(tf.cast(numbers, y.dtype) == y)
    with tf.control_dependencies([tf.debugging.Assert(fits, [ONE_HOT])]):
        return tf.identity(numbers)

"""Batches for `model.fit` of arrays in memory, without a word about layouts."""

from __future__ import annotations

import functools
from typing import Any, Callable, Sequence

import tensorflow as tf

from mpl_tf.data import given, order
from mpl_tf.data.pipeline import on_this_worker
from mpl_tf.data.views import Views
from mpl_tf.datasets.images import ArrayImages

# Streams of both views of each part.
_LABELED = (order.LABELED_WEAK, order.LABELED_STRONG)
_UNLABELED = (order.UNLABELED_WEAK, order.UNLABELED_STRONG)


def from_arrays(images: Any, labels: Any, unlabeled: Any = None, batch_size: int = 64,
                unlabeled_batch_size: int | None = None, *, sample_weight: Any = None,
                labeled_sampling: str = "uniform", augment: bool = True,
                weak: Callable[..., tf.Tensor] | None = None,
                strong: Callable[..., tf.Tensor] | None = None, labeled_strong: bool = False,
                value_range: tuple[float, float] | None = None, padding: int | None = None,
                flip: bool = False, randaugment_layers: int = 2, randaugment_magnitude: float = 10.0,
                randaugment_operations: str | Sequence[str] = "published",
                cutout: int | None = None, seed: int = 0, start_step: int = 0,
                train_steps: int | None = None) -> tf.data.Dataset:
    """Makes training batches for `model.fit` of NumPy arrays.

        train = mpl_tf.data.from_arrays(images, labels, unlabeled, batch_size=64)
        model.fit(train, epochs=10, steps_per_epoch=200, validation_data=(x_test, y_test))

    Every batch is a function of (seed, step): labeled and unlabeled examples are shuffled perfectly,
    and repeat without an end. Views keep the range of the values that the images have, so networks
    see in training what they see in `evaluate` and `predict`: uint8 images come as floats 0..255.

    Args:
      images: labeled examples [N, ...]: images [N, H, W, C] of 1 or 3 channels, uint8 or floats, with
        values 0..255, 0..1 or -1..1; with augment=False anything.
      labels: class numbers from 0 on, [N] or [N, 1], or exact one-hot rows [N, K].
      unlabeled: unlabeled examples [M, ...] in the same shape and range, or None for baselines that
        use none. The labeled ones are not added: np.concatenate([unlabeled, images]) adds them.
      batch_size, unlabeled_batch_size: examples of a step; a smaller set repeats within a batch.
      sample_weight: a number for each labeled example, [N], or None.
      labeled_sampling: "uniform", each labeled example equally often, or "balanced", each class.
      augment: whether examples are images, which get views by default: a moved crop is the weak one,
        and RandAugment with Cutout the strong one. False: examples stay as they are, and have no
        strong view unless `strong` makes it.
      weak, strong: functions of your own in place of these views, of a batch of examples as they are
        in the array: function(images) or function(images, seed), with a seed int32 [2] for
        tf.image.stateless_... and the like, which makes it a function of (seed, step) too. A Keras
        layer is called with training=True. They are traced, as in Dataset.map.
      labeled_strong: whether labeled images have a strong view too, as objectives.RandAugment needs.
      value_range: (low, high) of images whose range cannot be told by their values.
      padding, flip: by how many pixels crops move at most (None: an eighth of the side), and whether
        images are mirrored, which would turn some digits and letters into others.
      randaugment_layers, randaugment_magnitude, randaugment_operations, cutout: as of train_dataset.
      seed: decides the order of the examples and their views.
      start_step, train_steps: the first step, and that before which the dataset ends (None: never).

    Returns:
      An endless tf.data.Dataset of {"labeled": {"image", "label"[, "augmented", "sample_weight"]},
      "unlabeled": {"image"[, "augmented"]}}, for `fit` with steps_per_epoch.

    Raises:
      ValueError: in one line, for what does not fit or cannot be told.
    """
    check_steps(batch_size, unlabeled_batch_size, start_step, train_steps)
    parts = {"images": given.examples(images, "images")}
    numbers = given.class_numbers(labels, len(parts["images"]))
    if sample_weight is not None:
        sample_weight = given.weights(sample_weight, len(numbers))
    if unlabeled is not None:
        parts["unlabeled"] = given.examples(unlabeled, "unlabeled")
        shapes = [array.shape[1:] for array in parts.values()]
        if shapes[0] != shapes[1]:
            raise ValueError(f"images have the shape {shapes[0]} each and unlabeled ones {shapes[1]}: "
                             "bring them to one shape")
    ordered = order.labeled_order(numbers, seed, labeled_sampling)
    views = Views(parts["images"].shape[1:], augment, weak=weak, strong=strong, padding=padding,
                  flip=flip, layers=randaugment_layers, magnitude=randaugment_magnitude,
                  operations=randaugment_operations, cutout=cutout)
    if augment and strong is None:      # only RandAugment has to know what white is
        views.values_lie_in(*given.value_range(parts, value_range))
    held = {name: ArrayImages(array.astype(tf.keras.backend.floatx(), copy=False)
                              if array.dtype.kind == "f" else array) for name, array in parts.items()}
    with tf.device("CPU:0"):    # captured by the map below, so not constants of its graph
        of_labeled = {"label": tf.constant(numbers, tf.int64)}
        if sample_weight is not None:
            of_labeled["sample_weight"] = tf.constant(sample_weight)

    def part(name, step, size, order_, streams):
        positions = step * size + tf.range(size, dtype=tf.int64)
        examples, epochs = order_(positions)
        raw = held[name].evaluation_views(examples)
        return views.of(raw, seed, step, examples, epochs, streams), examples

    @tf.autograph.experimental.do_not_convert
    def batch_of(step):
        labeled, examples = part("images", step, batch_size, ordered,
                                 _LABELED[:1 + (labeled_strong and views.has_strong)])
        labeled.update({name: tf.gather(values, examples) for name, values in of_labeled.items()})
        if "unlabeled" not in held:
            return {"labeled": labeled}
        at = functools.partial(order.examples_at, num_examples=len(held["unlabeled"]), seed=seed,
                               stream=order.UNLABELED_ORDER)
        return {"labeled": labeled, "unlabeled": part(
            "unlabeled", step, unlabeled_batch_size or batch_size, at,
            _UNLABELED[:1 + views.has_strong])[0]}

    end = tf.int64.max if train_steps is None else train_steps
    steps = tf.data.Dataset.range(start_step, end)
    batches = steps.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return on_this_worker(batches.prefetch(tf.data.AUTOTUNE))


def check_steps(batch_size: int | None, unlabeled_batch_size: int | None, start_step: int = 0,
                train_steps: int | None = None) -> None:
    """Raises ValueError, in one line, for impossible sizes of batches or numbers of steps."""
    for name, size in (("batch_size", batch_size), ("unlabeled_batch_size", unlabeled_batch_size)):
        if size is not None and (isinstance(size, bool) or not hasattr(size, "__index__") or size < 1):
            raise ValueError(f"{name}={size!r}: expected how many examples a step has, such as 64")
    if start_step < 0 or (train_steps is not None and train_steps <= start_step):
        raise ValueError(f"start_step {start_step} and train_steps {train_steps}: start_step must lie "
                         "between 0 and train_steps")

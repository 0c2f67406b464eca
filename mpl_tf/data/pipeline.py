"""tf.data pipelines for training and evaluation; a training batch depends on (seed, step) alone.

The examples form an endless stream (order.py), of which the batch of step t holds positions t*B to
(t+1)*B - 1. So there is no state to save: to resume at step t, the range of steps begins there, and
no epoch is replayed. Images in memory and images in shards are used through one
interface, datasets/images.py.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Sequence

import numpy as np
import tensorflow as tf

from mpl_tf.common.random_bits import uniforms
from mpl_tf.data import augment
from mpl_tf.data.order import (LABELED_STRONG, LABELED_WEAK, UNLABELED_ORDER, UNLABELED_STRONG,
                               UNLABELED_WEAK, examples_at, labeled_order)
from mpl_tf.datasets.images import as_images

if TYPE_CHECKING:
    from mpl_tf.datasets import Dataset, Split

_CROP, _COLOR = 16, 32      # added to a view's stream: the streams of its Inception crop and colour


def train_dataset(dataset: Dataset, batch_size: int = 64, unlabeled_batch_size: int | None = None,
                  unlabeled: bool = True, strong: bool = True, labeled_strong: bool = False,
                  seed: int = 0, start_step: int = 0, train_steps: int | None = None,
                  padding: int | None = None, flip: bool | None = None, randaugment_layers: int = 2,
                  randaugment_magnitude: float = 10.0,
                  randaugment_operations: str | Sequence[str] = "published",
                  cutout: int | None = None, color: str = "none", num_replicas: int = 1,
                  replica_offset: int = 0, local_replicas: int = 1,
                  labeled_sampling: str = "uniform") -> tf.data.Dataset:
    """Makes training batches for `model.fit`, endless or up to `train_steps`.

        train = mpl_tf.data.train_dataset(mpl_tf.datasets.load("digits"), batch_size=50)

    Args:
      dataset: a datasets.Dataset.
      batch_size: labeled examples of one step, over all replicas. A smaller labeled set repeats.
      unlabeled_batch_size: unlabeled examples of one step, over all replicas; None: batch_size.
      unlabeled: False: leaves the unlabeled part out, for baselines that do not use it; the labeled
        batches stay the same.
      strong: also makes a strong view of the unlabeled images ("augmented"), on which the student
        then learns. Points have none.
      labeled_strong: also makes a strong view of the labeled images.
      seed: decides the order of the examples and their views.
      start_step: the first step, counted from 0; a resumed run gives its own.
      train_steps: the step before which the dataset ends; None: it does not end.
      padding: by how many pixels the weak view's crop moves at most; None: an eighth of the image's
        side, or 0 where Inception crops are taken.
      flip: whether images are mirrored at random; None: dataset.flip.
      randaugment_layers, randaugment_magnitude, randaugment_operations: see augment.rand_augment.
      cutout: side in pixels of the strong view's Cutout, 0 for none; None: half of the image's
        side.
      color: "none", or "inception" to distort the weak views' colours, see
        augment.inception_color.
      num_replicas, replica_offset, local_replicas: for tf.distribute: there are num_replicas
        replicas, and this worker has local_replicas of them, from number replica_offset on. Element
        e is then the batch of its replica e % local_replicas at step e // local_replicas: a slice
        of the same global batch, so that all replicas together see what one device would.
      labeled_sampling: "uniform", each labeled example equally often, or "balanced", each class
        equally often and within it each example; see order.py.

    Returns:
      tf.data.Dataset of {"labeled": {"image", "label"[, "augmented"]}, "unlabeled": {"image"[,
      "augmented"]}}: images float32 [B, H, W, C] in [-1, 1] or unchanged points [B, 2], labels
      int64 [B]; B is per replica and static. Where the data set has stored distributions, also
      "teacher_probs" float32 [B, K] of the same examples, each divided by its sum.

    Raises:
      ValueError: in one line: the arguments do not fit each other or the data.
    """
    unlabeled_batch_size = unlabeled_batch_size or batch_size
    _check(dataset, batch_size, unlabeled_batch_size if unlabeled else 0, strong and unlabeled,
           labeled_strong, start_step, train_steps, num_replicas, replica_offset, local_replicas)
    crop, policy = _view_options(
        dataset, padding, flip, cutout, color, layers=randaugment_layers,
        magnitude=randaugment_magnitude, operations=randaugment_operations)
    labeled_images, unlabeled_images = map(as_images, (dataset.labeled.images, dataset.unlabeled))
    with tf.device("CPU:0"):    # captured by the map below, so not a constant of its graph
        labels = tf.constant(dataset.labeled.labels, tf.int64)
        labeled_probs, unlabeled_probs = (_distributions(probs) for probs in (
            dataset.labeled_probs, dataset.unlabeled_probs if unlabeled else None))

    of_labeled = labeled_order(dataset.labeled.labels, seed, labeled_sampling)
    of_unlabeled = functools.partial(examples_at, num_examples=len(unlabeled_images), seed=seed,
                                     stream=UNLABELED_ORDER)

    def part(images, step, replica, size, order, *streams):
        local = size // num_replicas
        positions = step * size + replica * local + tf.range(local, dtype=tf.int64)
        examples, epochs = order(positions)
        return _views(images, examples, epochs, seed, streams, crop, policy, color)

    @tf.autograph.experimental.do_not_convert    # there is nothing to convert, and it takes seconds
    def batch_of(element):
        step = element // local_replicas
        replica = replica_offset + element % local_replicas
        labeled, examples = part(labeled_images, step, replica, batch_size, of_labeled,
                                 LABELED_WEAK, *[LABELED_STRONG] * bool(labeled_strong))
        batch = {"labeled": {**labeled, **labeled_probs(examples),
                             "label": tf.gather(labels, examples)}}
        if unlabeled:
            result, examples = part(
                unlabeled_images, step, replica, unlabeled_batch_size, of_unlabeled,
                UNLABELED_WEAK, *[UNLABELED_STRONG] * bool(strong))
            batch["unlabeled"] = {**result, **unlabeled_probs(examples)}
        return batch

    end = tf.int64.max if train_steps is None else train_steps * local_replicas
    batches = tf.data.Dataset.range(start_step * local_replicas, end).map(
        batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return on_this_worker(batches.prefetch(tf.data.AUTOTUNE))


def _view_options(dataset, padding, flip, cutout, color, **policy):
    """Fills in the defaults of the views' arguments and checks them.

    Returns:
      (crop, policy): keyword arguments of augment.weak_view, and the further ones of strong_view.
    """
    if dataset.unlabeled.ndim == 4:
        if padding is None and as_images(dataset.labeled.images).random_crops:
            padding = 0
        padding, cutout = augment.check_crops(min(dataset.unlabeled.shape[1:3]), padding, cutout)
        if color not in ("none", "inception"):
            raise ValueError(f"color {color!r} is unknown: use 'none' or 'inception'")
        augment.check_rand_augment(policy["layers"], policy["magnitude"], policy["operations"])
    crop = dict(padding=padding, flip=dataset.flip if flip is None else flip)
    return crop, dict(policy, cutout=cutout)


def _views(images, examples, epochs, seed, streams, crop, policy, color):
    """Makes ({"image"[, "augmented"]}, examples): a weak view, and a strong one of a 2nd stream."""
    raw, used = images.training_views(
        examples, epochs, seed, [stream + _CROP for stream in streams])
    if images.ndim != 4:
        return dict(zip(("image", "augmented"), raw)), used
    weak = augment.weak_view(raw[0], seed, examples, epochs, streams[0], **crop)
    if color == "inception":
        weak = augment.inception_color(weak, uniforms(
            seed, examples, epochs, 4, streams[0] + _COLOR))
    result = {"image": augment.normalize(weak)}
    if len(streams) > 1:
        result["augmented"] = augment.normalize(augment.strong_view(
            raw[1], seed, examples, epochs, streams[1], **crop, **policy))
    return result, used


def eval_dataset(split: Split, batch_size: int = 500) -> tf.data.Dataset:
    """Makes evaluation batches that hold every example of `split` once, in order.

    Args:
      split: a datasets.Split of N examples.
      batch_size: examples of a batch; the last batch may be smaller.

    Returns:
      tf.data.Dataset of (images, labels): float32 [<= batch_size, ...] in [-1, 1], or unchanged
      points, and int64 [<= batch_size].

    Raises:
      ValueError: batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"the evaluation batch size {batch_size} is not positive: give 1 or more")
    count, images = len(split.labels), as_images(split.images)
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def batch_of(start):
        end = start + batch_size
        batch = images.evaluation_views(tf.range(start, tf.minimum(end, count)))
        return augment.normalize(batch) if images.ndim == 4 else batch, labels[start:end]

    result = tf.data.Dataset.range(0, count, batch_size)
    result = result.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return on_this_worker(result.prefetch(tf.data.AUTOTUNE))


def _distributions(probs):
    """Function: int64 [B] examples -> {"teacher_probs": float32 [B, K], rows of sum 1}, or {}."""
    if probs is None:
        return lambda examples: {}
    if isinstance(probs, np.memmap):    # may be larger than memory: rows are read when needed
        rows = lambda examples: tf.ensure_shape(
            tf.numpy_function(lambda chosen: np.asarray(probs[chosen]), [examples], probs.dtype),
            [*examples.shape, probs.shape[1]])
    else:
        held = tf.constant(probs)
        rows = lambda examples: tf.gather(held, examples)

    def distributions(examples):
        values = tf.cast(rows(examples), tf.float32)
        return {"teacher_probs": values / tf.reduce_sum(values, axis=1, keepdims=True)}

    return distributions


def on_this_worker(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset`, which tf.distribute must not cut into shares of workers."""
    # Each replica is given its slice above; tf.distribute must not cut the data once more.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def _check(dataset, batch_size, unlabeled_batch_size, strong, labeled_strong, start_step,
           train_steps, num_replicas, replica_offset, local_replicas):
    """Raises ValueError where arguments do not fit; unlabeled_batch_size 0: no unlabeled part."""
    if batch_size < 1 or unlabeled_batch_size < 0:
        raise ValueError(f"batch sizes {batch_size} labeled and {unlabeled_batch_size} unlabeled: "
                         "both must be positive")
    if unlabeled_batch_size > len(dataset.unlabeled):
        raise ValueError(
            f"unlabeled batch size {unlabeled_batch_size} is more than the {len(dataset.unlabeled)}"
            f" unlabeled examples of {dataset.name}: give --unlabeled_batch_size="
            f"{len(dataset.unlabeled)} or less")
    if batch_size % num_replicas or unlabeled_batch_size % num_replicas:
        raise ValueError(
            f"batch sizes {batch_size} labeled and {unlabeled_batch_size} unlabeled cannot be "
            f"shared by {num_replicas} replicas: give multiples of {num_replicas}")
    if not (local_replicas >= 1 and 0 <= replica_offset <= num_replicas - local_replicas):
        raise ValueError(f"replicas {replica_offset} to {replica_offset + local_replicas - 1} are "
                         f"not among {num_replicas}: correct replica_offset or local_replicas")
    for part, probs, count in (
            ("labeled", dataset.labeled_probs, len(dataset.labeled.labels)),
            ("unlabeled", dataset.unlabeled_probs, len(dataset.unlabeled))):
        if probs is not None and probs.shape != (count, dataset.num_classes):
            raise ValueError(
                f"{part}_probs of {dataset.name} has shape {tuple(probs.shape)}, but a distribution "
                f"for each example has {(count, dataset.num_classes)}: predict again")
    if start_step < 0 or (train_steps is not None and train_steps < start_step):
        raise ValueError(f"start_step {start_step} and train_steps {train_steps}: start_step must "
                         "lie between 0 and train_steps")
    stored = getattr(dataset.unlabeled, "stored_views", 0)
    if (strong or labeled_strong) and dataset.unlabeled.ndim != 4 and not stored:
        raise ValueError(f"{dataset.name} has points, which have no strong view: give "
                         "strong=False and labeled_strong=False")

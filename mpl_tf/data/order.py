"""Which examples a batch holds: a function of their positions in an endless stream, without a state.

    uniform     position p belongs to epoch p // n and is example shuffle(p % n) of that epoch
    balanced    position p belongs to round p // K, in which each of the K classes comes once, in an
                order of that round; the r-th example of a class is the r-th of its own uniform stream
"""

from __future__ import annotations

import functools
from typing import Callable

import numpy as np
import tensorflow as tf

from mpl_tf.common.random_bits import random_bits

SAMPLINGS = ("uniform", "balanced")
# Streams of random numbers, see random_bits.uniforms: of orders, of views, of balanced orders.
LABELED_ORDER, UNLABELED_ORDER = 1, 2
LABELED_WEAK, LABELED_STRONG, UNLABELED_WEAK, UNLABELED_STRONG = 3, 4, 5, 6
_CLASSES, _MEMBERS = 7, 8


def examples_at(positions: tf.Tensor, num_examples: int, seed: int,
                stream: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the examples at given positions of the endless stream.

    Args:
      positions: int64 [B].
      num_examples: n; the positions k n to (k + 1) n - 1, epoch k, hold each example once.
      seed, stream: Python ints; each pair of them gives another order.

    Returns:
      (examples, epochs), int64 [B] each.
    """
    epochs = positions // num_examples
    counts = tf.fill(tf.shape(positions), tf.constant(num_examples, tf.int64))
    examples = _shuffled(positions % num_examples, counts, random_bits(seed, stream, epochs))
    return examples, epochs


def balanced_at(positions: tf.Tensor, members: tf.Tensor, counts: tf.Tensor,
                seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the examples at given positions of a stream in which all classes are equally frequent.

    Args:
      positions: int64 [B].
      members: int64 [N], the examples sorted by class. counts: int64 [K], how many each of the
        classes has, none of them 0.
      seed: Python int.

    Returns:
      (examples, epochs), int64 [B] each; an epoch is one pass through the example's class.
    """
    classes = tf.size(counts, tf.int64)
    rounds = positions // classes
    number = _shuffled(positions % classes, tf.fill(tf.shape(positions), classes),
                       random_bits(seed, _CLASSES, rounds))
    count = tf.gather(counts, number)
    epochs = rounds // count
    inside = _shuffled(rounds % count, count, random_bits(seed, _MEMBERS, number, epochs))
    start = tf.gather(tf.cumsum(counts, exclusive=True), number)
    return tf.gather(members, start + inside), epochs


def labeled_order(labels: np.ndarray, seed: int,
                  sampling: str) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The function int64 [B] positions -> (examples, epochs) of labeled examples.

    Args:
      labels: int64 [N]. seed: Python int.
      sampling: "uniform" or "balanced"; a class without examples is never drawn.

    Raises:
      ValueError: in one line, for another sampling.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"labeled_sampling {sampling!r} is unknown: use 'uniform' or 'balanced'")
    if sampling == "uniform":
        return functools.partial(examples_at, num_examples=len(labels), seed=seed,
                                 stream=LABELED_ORDER)
    _, counts = np.unique(labels, return_counts=True)
    with tf.init_scope(), tf.device("CPU:0"):       # captured by a pipeline, not constants of its graph
        members, counts = (tf.constant(values, tf.int64) for values in (
            np.argsort(labels, kind="stable"), counts))
    return functools.partial(balanced_at, members=members, counts=counts, seed=seed)


def _shuffled(index, counts, bits):
    """Where each of `index` lies in a permutation of its own 0..counts - 1, chosen by `bits`."""
    low = tf.bitwise.bitwise_and(bits, tf.constant(2 ** 32 - 1, tf.uint64))
    high = tf.bitwise.right_shift(bits, tf.constant(32, tf.uint64))
    key = tf.cast(tf.stack([low, high, tf.zeros_like(low)], axis=1), tf.uint32)
    # tf.random.experimental.index_shuffle takes one seed only; its operation one for each index.
    shuffled = tf.raw_ops.RandomIndexShuffle(index=index, seed=key, rounds=8, max_index=counts - 1)
    return tf.reshape(shuffled, tf.shape(index))

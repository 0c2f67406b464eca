"""Split, a part of a data set, and the choice of the examples that keep their labels.

The choice depends on its arguments alone, so that it is the same on every machine.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from mpl_tf.datasets.images import Images


@dataclasses.dataclass(frozen=True)
class Split:
    """N labeled examples.

    Attributes:
      images: an array of images uint8 [N, H, W, C] or points float32 [N, D], or what has the
        interface of images.Images, such as shards.images.ShardImages.
      labels: int64 [N].
    """
    images: np.ndarray | Images
    labels: np.ndarray


def official_order(ids) -> np.ndarray:
    """Returns int64 [N] such that images[official_order(ids)] are in the official order.

    Args:
      ids: the id of each example, str or bytes, as TensorFlow Datasets and data_prep name them:
        "train_00042".

    Raises:
      ValueError: the numbers in the ids are not 0 to N - 1, each once.
    """
    digits = [re.findall(r"\d+$", i.decode() if isinstance(i, bytes) else i) for i in ids]
    numbers = np.array([int(found[0]) if found else -1 for found in digits])
    order = np.argsort(numbers)
    if not np.array_equal(numbers[order], np.arange(len(numbers))):
        raise ValueError(f"the ids of {len(numbers)} examples are not numbered 0-{len(numbers) - 1}"
                         ": examples are missing or doubled; prepare the data set again")
    return order


def class_rounds(labels: np.ndarray, seed: int) -> np.ndarray:
    """Indices of all examples in a random order in which every stretch is balanced over classes."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def select(labels: np.ndarray, count: int, selection: str, seed: int, num_classes: int,
           holdout: int) -> np.ndarray:
    """Chooses the examples that keep their labels.

    Args:
      labels: int64 [N] of all training examples.
      count: how many have labels, those held out included. holdout: how many are held out.
      selection: "first" or "random" (by `seed`, balanced over the classes).

    Returns:
      Indices, int64 [count]; the last `holdout` of them are held out.

    Raises:
      ValueError: there are fewer than `count` examples, or fewer than num_classes would remain.
    """
    if count > len(labels):
        raise ValueError(f"labeled_examples {count} is more than the {len(labels)} training "
                         f"examples that may have labels: ask for at most {len(labels)}")
    if holdout < 0 or count - holdout < num_classes:
        raise ValueError(
            f"labeled_examples {count} less holdout {holdout} leaves {max(count - holdout, 0)} "
            f"labeled examples for {num_classes} classes: leave at least {num_classes}")
    if selection == "first":
        return np.arange(count)
    return class_rounds(labels, seed)[:count]


def check_labels(split: Split, num_classes: int, source: str) -> None:
    """Raises ValueError unless there is one label in 0..num_classes-1 for each image."""
    if len(split.images) != len(split.labels):
        raise ValueError(f"{source}: {len(split.images)} images but {len(split.labels)} labels: "
                         "the data are damaged, get them again")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= num_classes))
    if len(wrong):
        raise ValueError(f"{source}: label {split.labels[wrong[0]]} of example {wrong[0]} is "
                         f"outside 0-{num_classes - 1}: correct the data")


def check_sizes(splits, sizes, source: str):
    """Returns the dict `splits` as it is.

    Raises:
      ValueError: a split does not have the published number of examples, given in `sizes`.
    """
    wrong = [f"{len(part.labels)} {name} examples instead of {sizes[name]}"
             for name, part in splits.items() if len(part.labels) != sizes[name]]
    if wrong:
        raise ValueError(f"{source}: {', '.join(wrong)}: get it again, into an empty folder")
    return splits

"""Parts of a data set, and which examples of it have labels. A split is a function of its arguments."""

import dataclasses
import re

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """N examples.

    Attributes:
      images: uint8 [N, H, W, C], float32 points [N, D], or shards.images.ShardImages.
      labels: int64 [N].
    """
    images: np.ndarray
    labels: np.ndarray


def official_order(ids):
    """int64 [N]: images[official_order(ids)] are in the official order of the data set.

    Args:
      ids: of each example, str or bytes, as TensorFlow Datasets and data_prep name them:
        "train_00042".

    Raises:
      ValueError: the numbers are not 0 to N - 1, each once.
    """
    digits = [re.findall(r"\d+$", i.decode() if isinstance(i, bytes) else i) for i in ids]
    numbers = np.array([int(found[0]) if found else -1 for found in digits])
    order = np.argsort(numbers)
    if not np.array_equal(numbers[order], np.arange(len(numbers))):
        raise ValueError(f"the ids of {len(numbers)} examples are not numbered 0-{len(numbers) - 1}"
                         ": examples are missing or doubled, so prepare the data set again")
    return order


def class_rounds(labels, seed):
    """Indices of all examples in a random order, any stretch of which is balanced over classes."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def select(labels, count, selection, seed, num_classes, holdout):
    """Indices of the labeled examples, those held out last.

    Args:
      labels: int64 [N] of all training examples.
      count: how many have labels, those held out included. holdout: how many are held out.
      selection: "first" or "random" (by `seed`, balanced over the classes).

    Returns:
      int64 [count].
    """
    if count > len(labels):
        raise ValueError(f"labeled_examples {count} is more than the {len(labels)} training "
                         f"examples there are: ask for at most {len(labels)}")
    if holdout < 0 or count - holdout < num_classes:
        raise ValueError(
            f"labeled_examples {count} less holdout {holdout} leaves {max(count - holdout, 0)} "
            f"labeled examples for {num_classes} classes: leave at least {num_classes}")
    if selection == "first":
        return np.arange(count)
    return class_rounds(labels, seed)[:count]


def check_labels(split, num_classes, source):
    """Raises ValueError unless there is one label in 0..num_classes-1 for each image."""
    if len(split.images) != len(split.labels):
        raise ValueError(f"{source}: {len(split.images)} images but {len(split.labels)} labels: "
                         "the data are damaged, get them again")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= num_classes))
    if len(wrong):
        raise ValueError(f"{source}: label {split.labels[wrong[0]]} of example {wrong[0]} is "
                         f"outside 0-{num_classes - 1}: correct the data")


def check_sizes(splits, sizes, source):
    """The dict of Splits as it is; ValueError unless each has as many examples as was published."""
    wrong = [f"{len(part.labels)} {name} examples instead of {sizes[name]}"
             for name, part in splits.items() if len(part.labels) != sizes[name]]
    if wrong:
        raise ValueError(f"{source}: {', '.join(wrong)}: delete what is there and get it again")
    return splits

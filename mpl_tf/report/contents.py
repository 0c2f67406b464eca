"""What a report is made of: a finished run's results, what its networks say, and its images."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from mpl_tf.common import command
from mpl_tf.datasets.images import as_images
from mpl_tf.report import statistics
from mpl_tf.run import curves

log = logging.getLogger("mpl_tf")
MOST_UNLABELED = 2000       # unlabeled images that the networks look at
LISTED = 100                # of them, in the list of what to label next


@dataclasses.dataclass(frozen=True)
class Unlabeled:
    """Unlabeled images that the networks have looked at.

    Attributes:
      images: with the interface images.Images. positions: int [M], which of them.
      probabilities: {role: [M, K]}. total: how many unlabeled images there are.
      next: positions in the M arrays of those to label next, the most uncertain first.
      names: of the images in `next`.
    """
    images: Any
    positions: np.ndarray
    probabilities: dict[str, np.ndarray]
    total: int
    next: np.ndarray
    names: list[str]


@dataclasses.dataclass(frozen=True)
class Contents:
    """All that a page says of one run.

    Attributes:
      config: the Config. results: as in results.json. class_names: list of str.
      predicted: the run's predicted.Predicted. probabilities: {role: [N, K]} for the test images.
      test: the test images, with the interface images.Images, or None where they are not at hand.
      unlabeled: Unlabeled, or None. views: arrays in [-1, 1], the weak views first, or None.
      withheld: whether images are left out because the run's flags ask for it.
    """
    config: Any
    results: dict
    class_names: list[str]
    predicted: Any
    probabilities: dict[str, np.ndarray]
    test: Any = None
    unlabeled: Unlabeled | None = None
    views: Any = None
    withheld: bool = False


def gather(config, results, class_names, predicted, dataset=None, functions=None, views=None):
    """Makes the Contents.

    Args:
      dataset: the datasets.Dataset, or None where it is not at hand.
      functions: {role: predicted.logits_function}, or None.
      views: see Contents.
    """
    probabilities = {role: statistics.probabilities(logits)
                     for role, logits in predicted.logits.items()}
    looked = None
    if dataset is not None and functions:
        try:
            looked = look_at_unlabeled(dataset, functions, config.eval_batch_size)
        except Exception as error:      # a damaged record that training skipped stops an evaluation
            log.warning("the report does not say what to label next (%s)",
                        " ".join(command.readable(error).split())[:200])
    return Contents(config, results, list(class_names), predicted, probabilities,
                    as_images(dataset.test.images) if dataset is not None else None, looked, views)


def look_at_unlabeled(dataset, functions, batch_size):
    """Has networks look at unlabeled images, at most MOST_UNLABELED; returns Unlabeled.

    Those that are labeled ones too, or copies of them, are not asked for again.
    """
    from mpl_tf import data, datasets
    images = as_images(dataset.unlabeled)
    total = len(images)
    positions = np.sort(np.random.default_rng(0).choice(total, min(total, MOST_UNLABELED), replace=False))
    split = datasets.Split(images.subset(positions), np.full(len(positions), -1, np.int64))
    batches = data.eval_dataset(split, batch_size)
    found = {role: statistics.probabilities(function(batches)) for role, function in functions.items()}
    order = np.argsort(-statistics.entropy(found["student"]), kind="stable")
    chosen = _not_labeled(images, positions, order, dataset)
    return Unlabeled(images, positions, found, total, chosen, names_of(images, positions[chosen]))


def _not_labeled(images, positions, order, dataset):
    """The first LISTED of `order` whose images are no labeled or held-out ones."""
    if not hasattr(images, "keys"):
        return order[:LISTED]
    known = set()
    for split in (dataset.labeled, dataset.holdout):
        if split is not None:
            known.update(as_images(split.images).keys(np.arange(len(split.labels))))
    keys = images.keys(positions[order])
    return np.array([i for i, key in zip(order, keys) if key not in known][:LISTED], np.int64)


def names_of(images, positions):
    """The names of the images at int [n] positions, for people."""
    if images is None or not hasattr(images, "names"):
        return [f"example {i}" for i in positions]
    try:
        return images.names(positions)
    except (ValueError, OSError):       # a record that cannot be read any more
        return [f"example {i}" for i in positions]


def confident_mistakes(contents, most, role="student"):
    """Positions of test images that `role` gets wrong, those of which it is surest first."""
    wrong = np.flatnonzero(~contents.predicted.right(role))
    sure = contents.probabilities[role][wrong].max(axis=1)
    return wrong[np.argsort(-sure, kind="stable")][:most]


def disagreements(contents, most):
    """Positions of test images of which student and teacher think differently, the surest first."""
    if "teacher" not in contents.probabilities:
        return np.zeros(0, np.int64)
    found = np.flatnonzero(contents.predicted.classes("student") != contents.predicted.classes("teacher"))
    sure = sum(contents.probabilities[role][found].max(axis=1) for role in ("student", "teacher"))
    return found[np.argsort(-sure, kind="stable")][:most]


def signal(results):
    """The meta signal over time, {"cosine" and "ratio": [(step, value)]}, as far as it was logged.

    The ratio is without meta_weight, and of before a relative scale.
    """
    found = {"cosine": [], "ratio": []}
    for entry in results.get("diagnostics") or ():
        for name, value in (("cosine", entry.get("gradient_cosine")), ("ratio", curves.signal_ratio(entry))):
            if value is not None:
                found[name].append((entry["step"], value))
    return {name: values for name, values in found.items() if values}

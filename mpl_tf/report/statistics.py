"""What can be said of accuracies, and how surely: intervals, tests, calibration; plain NumPy.

All intervals are of 95 %. Shares are fractions, 0 to 1.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Sequence

import numpy as np

LEVEL = 0.95
BINS = 10
_Z = statistics.NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclasses.dataclass(frozen=True)
class Share:
    """`right` of `count` examples, with Wilson's interval from `low` to `high`."""
    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; NaN of no examples."""
        return self.right / self.count if self.count else float("nan")


def share(right: int, count: int) -> Share:
    """The Share of `right` in `count`; of no examples anything is possible."""
    if not count:
        return Share(0, 0, 0.0, 1.0)
    value, z = right / count, _Z ** 2 / count
    middle = (value + z / 2) / (1 + z)
    half = _Z * (value * (1 - value) / count + z / (4 * count)) ** 0.5 / (1 + z)
    return Share(int(right), int(count), max(middle - half, 0.0) if right else 0.0,
                 min(middle + half, 1.0) if right < count else 1.0)


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two classifiers on the same examples.

    Attributes:
      count: of examples. first_only, second_only: how many one of the two alone gets right.
      difference: share right of the first minus that of the second; low, high: its interval, of
        Bonett and Price (2012), which also holds for few examples.
      p_value: of McNemar's exact test that both are right equally often.
    """
    count: int
    first_only: int
    second_only: int
    difference: float
    low: float
    high: float
    p_value: float


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compares two classifiers by bool [N] each, N above 0: whether they get an example right."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} examples: expected the same ones, at least one")
    count = len(first)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    p, q = (b + 1) / (count + 2), (c + 1) / (count + 2)
    half = _Z * ((p + q - (p - q) ** 2) / (count + 2)) ** 0.5
    return Paired(count, b, c, (b - c) / count, max(p - q - half, -1.0), min(p - q + half, 1.0),
                  mcnemar(b, c))


def mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided p value of McNemar's exact test."""
    from scipy.special import bdtr
    count, least = first_only + second_only, min(first_only, second_only)
    return min(1.0, 2 * float(bdtr(least, count, 0.5))) if count else 1.0


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds with its interval, which is endless for one seed."""
    value: float
    low: float
    high: float
    count: int
    above: int      # how many are above 0


def mean(values: Sequence[float]) -> Mean:
    """The Mean of one value a seed, at least one, with Student's interval."""
    count, value = len(values), statistics.fmean(values)
    half = float("inf")
    if count > 1:
        from scipy.special import stdtrit
        half = float(stdtrit(count - 1, 0.5 + LEVEL / 2)) * statistics.stdev(values) / count ** 0.5
    return Mean(value, value - half, value + half, count, sum(each > 0 for each in values))


def mean_difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray], same: bool) -> Mean:
    """The Mean, over seeds, of two classifiers' difference in the share that is right.

    Seeds that agree say nothing of other images, and images nothing of other seeds. So half its interval is
    sqrt(s^2 + i^2): half of Student's interval over seeds, and half of Bonett and Price's over images, of what
    each image has on average over the seeds. Seeds with images of their own count these twice, so that two
    such seeds that agree by chance have an interval all the same.

    Args:
      first, second: of each seed whether an example is right, bool [N]; N examples, the same in both.
      same: whether the seeds have the same examples.
    """
    differences = [np.asarray(one, float) - np.asarray(other, float) for one, other in zip(first, second)]
    over_seeds = mean([float(each.mean()) for each in differences])
    of_images = np.mean(differences, axis=0) if same else np.concatenate(differences)
    count = len(of_images) + 2          # one more that only the first has right, and one that only the second
    middle = of_images.sum() / count
    half = _Z * ((np.square(of_images).sum() + 2) / count - middle ** 2) ** 0.5 / count ** 0.5
    if over_seeds.count > 1:
        half = math.hypot(half, over_seeds.high - over_seeds.value)
        return dataclasses.replace(over_seeds, low=max(over_seeds.value - half, -1.0),
                                   high=min(over_seeds.value + half, 1.0))
    return over_seeds


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of [N, K], float64."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def entropy(distributions: np.ndarray) -> np.ndarray:
    """Entropy in nats [N] of distributions [N, K]."""
    safe = np.where(distributions > 0, distributions, 1.0)
    return -(distributions * np.log(safe)).sum(axis=1) + 0.0


def by_class(labels: np.ndarray, right: np.ndarray, classes: int) -> list[Share]:
    """The Share that is right of each class's examples: of labels int [N], right bool [N]."""
    counts = np.bincount(labels, minlength=classes)
    return [share(int(found), int(count)) for found, count in zip(
        np.bincount(labels[right], minlength=classes), counts)]


def balanced(shares: Sequence[Share]) -> float:
    """The mean of the accuracies of those classes that have examples."""
    return statistics.fmean(each.value for each in shares if each.count)


@dataclasses.dataclass(frozen=True)
class Bin:
    """Examples whose confidence lies from `low` to `high`: how many, mean confidence, share right."""
    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[Bin]:
    """The Bins, equally wide over 0..1, that have examples; a confidence on an edge is below it."""
    number = np.clip(np.ceil(np.asarray(confidence) * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for k in np.unique(number):
        inside = number == k
        found.append(Bin(k / bins, (k + 1) / bins, int(inside.sum()),
                         float(np.mean(confidence[inside])), float(np.mean(right[inside]))))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: the mean over examples of |confidence - accuracy| of a bin."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / total

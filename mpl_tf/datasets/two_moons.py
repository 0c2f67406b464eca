"""The two moons of Section 5.1: 2,000 points in the plane."""

import numpy as np

from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split

_POINTS = 2000


@source("two_moons", "2,000 points, which are the test set too (Section 5.1)", labeled_examples=6,
        labeled_selection="random", objective="supervised", student_network="rbf",
        class_names=("upper", "lower"), sizes={"train": _POINTS, "test": _POINTS})
def two_moons(noise, split_seed):
    """Draws {"train": Split, "test": Split}: the same points in both, float32 [2000, 2].

    Args:
      noise: standard deviation of the points about the moons.
      split_seed: seed of the points.
    """
    from sklearn.datasets import make_moons
    if noise < 0:
        raise ValueError(f"noise {noise} is negative: it is a standard deviation; give 0.05, for example")
    points, labels = make_moons(_POINTS, noise=noise, random_state=split_seed)
    moons = Split(points.astype(np.float32), labels.astype(np.int64))
    return {"train": moons, "test": moons}

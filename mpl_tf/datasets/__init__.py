"""The data sets: read, checked, and split into labeled, unlabeled and test parts. No TensorFlow."""

from mpl_tf.datasets.loading import DEFAULTS, IMAGE_SIZE, Dataset, describe, load
from mpl_tf.datasets.splits import Split

__all__ = ["DEFAULTS", "IMAGE_SIZE", "Dataset", "Split", "describe", "load"]

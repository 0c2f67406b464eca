"""Reads data sets by name and splits them into labeled, unlabeled and test parts.

Importing this package does not import TensorFlow. To add a data set, write a function that reads
it, in a file of this folder, and decorate the function with `source`:

    @source("shapes", "drawn shapes", labeled_examples=50, labeled_selection="random",
            objective="uda", student_network="small_conv", class_names=("round", "square"),
            sizes={"train": 1000, "test": 200}, image_size=16)
    def shapes(split_seed):
        ...
        return {"train": Split(images, labels), "test": Split(test_images, test_labels)}
"""

import sys

from mpl_tf.common.lazy import import_all
from mpl_tf.datasets.loading import Dataset, describe, load
from mpl_tf.datasets.sources import FAMILIES, SOURCES, Source, find, known, source, takers
from mpl_tf.datasets.splits import Split

import_all(sys.modules[__name__])

__all__ = ["FAMILIES", "SOURCES", "Dataset", "Source", "Split", "describe", "find", "known", "load",
           "source", "takers"]

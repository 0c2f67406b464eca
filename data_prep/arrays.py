"""Turns small images in memory into the items of a plan, and those into records."""

import hashlib

import numpy as np

from data_prep.shards import Plan, SplitPlan
from data_prep.sources import shards_for
from mpl_tf.shards.image_files import encode_png
from mpl_tf.shards.schema import Record


class ArrayItems:
    """The examples of an mpl_tf Split as a sequence of (name, label, image uint8 [H, W, 3]).

    The names are "train_00000", "train_00001" and so on.
    """

    def __init__(self, name, split):
        self._name, self._split = name, split

    def __len__(self):
        return len(self._split.labels)

    def __getitem__(self, chosen):
        return [(f"{self._name}_{i:05d}", int(self._split.labels[i]), self._split.images[i])
                for i in range(*chosen.indices(len(self)))]

    def digest(self):
        """sha256, in hexadecimal, of all images and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self._split.labels, "<i8"))
        digest.update(np.ascontiguousarray(self._split.images))
        return digest.hexdigest()


def plan(name, splits, class_names, seed, flip):
    """Returns a Plan for {split: Split} that keeps the official order and every pixel."""
    return Plan(name, name, seed, class_names=list(class_names), flip=flip, splits=tuple(
        SplitPlan(split, shards_for(len(part.labels), part.images.nbytes),
                  ArrayItems(split, part), order="the official one")
        for split, part in splits.items()))


def make_record(class_names, item):
    """Makes a Record with a PNG from an item (name, label, image)."""
    name, label, image = item
    encoded = encode_png(image)
    return Record(encoded=encoded.encoded, filename=name, label=label, text=class_names[label],
                  height=encoded.height, width=encoded.width, format=encoded.format)

"""A user's own images, read from the shards that data_prep.image_folder wrote."""

import numpy as np

from mpl_tf.datasets import prepared, shard_sets
from mpl_tf.datasets.sources import source
from mpl_tf.shards import record_index


@source("image_folder", "your own images, prepared by data_prep.image_folder", labeled_examples=0,
        labeled_selection="random", objective="uda", student_network="wrn-28-2", image_size=64,
        in_shards=True, flip=True, photographs=True)
def image_folder(data_dir, image_size=64, labeled_examples=0, labeled_selection="random",
                 split_seed=0, holdout=0, skip_corrupt=False):
    """Reads the parts of a user's own images.

    Arguments and result are those of `imagenet`. The unlabeled images are those of unlabeled/ and,
    without their labels, the training images of labeled/.
    """
    folder = shard_sets.folder(data_dir, "image_folder", "`python -m data_prep.image_folder --help`")
    sidecar = prepared.read_sidecar(folder)
    names = shard_sets.class_names(sidecar)
    if not names:
        raise ValueError(f"{folder} has no {prepared.SIDECAR} with class names: expected a folder "
                         "that `python -m data_prep.image_folder` wrote; prepare one with it")
    prepared.check_listed(folder, sidecar, ("train", "unlabeled", "test"))
    train = shard_sets.read_index(folder, "train", len(names), skip_corrupt=skip_corrupt)
    prepared.require_classes(folder, names, train.label)
    labeled = np.ones(len(train), bool)
    if "unlabeled" in sidecar["splits"]:
        others = shard_sets.read_unlabeled(folder, "unlabeled", skip_corrupt)
        train = record_index.joined([train, others])
        labeled = np.arange(len(train)) < len(labeled)
    parts = shard_sets.parts(train, labeled, np.zeros(len(train), bool), len(names), labeled_examples,
                   labeled_selection, split_seed, holdout)
    test = shard_sets.read_index(folder, "test", len(names))
    return names, *shard_sets.as_images(train, *parts, test, image_size, skip_corrupt)

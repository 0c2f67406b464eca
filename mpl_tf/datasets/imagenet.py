"""ImageNet, read from shards in the format of Szegedy et al."""

import logging

import numpy as np

from mpl_tf.datasets import prepared, shard_sets
from mpl_tf.datasets.sources import source
from mpl_tf.shards import tfrecord

log = logging.getLogger("mpl_tf")
NUM_CLASSES = 1000      # of a folder without a dataset.json that names the classes


@source("imagenet", "shards of ILSVRC 2012", labeled_examples=0, labeled_selection="first",
        objective="uda", student_network="resnet-50", image_size=224, in_shards=True, flip=True,
        photographs=True, per_class=12_800)
def imagenet(data_dir, image_size=224, labeled_shards=0, holdout_shards=0, labeled_examples=0,
             labeled_selection="first", split_seed=0, holdout=0, skip_corrupt=False):
    """Reads ImageNet's parts from `train-00000-of-01024`, `validation-00000-of-00128` and so on.

    Args:
      data_dir: folder of shards. image_size: side in pixels of the images that the networks get.
      labeled_shards: how many of the first shards have labels (102 of 1,024 are the paper's 10 %,
        Section 4.1); 0: all but those held out.
      holdout_shards: how many of the last shards are held out (40 in Section 4.2).
      labeled_examples: how many examples of the labeled shards have labels; 0: all.
      labeled_selection, split_seed: which of them, see `datasets.load`.
      holdout: how many labeled examples are held out besides (12,800 in C.1).
      skip_corrupt: leaves out training records that cannot be used, and logs them. A test set with
        such a record is always refused.

    Returns:
      (class_names, labeled Split, unlabeled ShardImages, validation Split, holdout Split or None).
    """
    folder = shard_sets.folder(data_dir, "imagenet", "`python -m data_prep.imagenet --help`")
    sidecar = prepared.read_sidecar(folder)
    names = shard_sets.class_names(sidecar) or tuple(str(label) for label in range(NUM_CLASSES))
    shards = len(tfrecord.find_shards(folder, "train"))
    if labeled_shards + holdout_shards > shards:
        raise ValueError(f"labeled_shards {labeled_shards} and holdout_shards {holdout_shards} are "
                         f"more than the {shards} training shards of {folder}: use fewer")
    number = np.arange(shards)
    held_shards = number >= shards - holdout_shards
    labeled = ~held_shards & (number < (labeled_shards or shards))
    train = shard_sets.read_index(folder, "train", len(names), labeled | held_shards, skip_corrupt)
    found = len(np.unique(train.label[train.label >= 0]))
    if found < len(names) and not shard_sets.class_names(sidecar):
        log.warning("%s has labels of %d of ImageNet's %d classes: for other classes than ImageNet's "
                    "prepare the images with `python -m data_prep.image_folder`, and train with "
                    "--dataset=image_folder", folder, found, len(names))
    if shard_sets.class_names(sidecar) and (labeled | held_shards).all():
        prepared.require_classes(folder, names, train.label)
    parts = shard_sets.parts(train, labeled[train.shard], held_shards[train.shard], len(names),
                   labeled_examples, labeled_selection, split_seed, holdout)
    test = shard_sets.read_index(folder, "validation", len(names))
    return names, *shard_sets.as_images(train, *parts, test, image_size, skip_corrupt)

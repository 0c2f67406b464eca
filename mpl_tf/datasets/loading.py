"""`load` reads a data set and splits it; `describe` identifies what was loaded.

How a data set is split depends on the arguments alone. The unlabeled part holds the labeled images
too, without their labels. Images are NumPy arrays, or are decoded from shards on demand
(shards.images.ShardImages); datasets.images.as_images gives both one interface.
TensorFlow is not imported here, and TensorFlow Datasets only to download.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os

import numpy as np

from mpl_tf.datasets import (prediction_files, predictions, prepared, selection as selections,
                             shard_sets, sources)
from mpl_tf.datasets.features import Made
from mpl_tf.datasets.images import Images, as_images
from mpl_tf.datasets.splits import Split, check_labels, select

log = logging.getLogger("mpl_tf")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split.

    Attributes:
      name, num_classes: "digits" and 10, for example.
      class_names: the K names.
      labeled: Split. test, holdout: Split, or None where none was asked for.
      unlabeled: all training images but the held-out ones, shaped like labeled.images [N, ...]: an
        array, or what has the interface of images.Images.
      flip: whether the mirror image of an example still belongs to its class.
      made: None, or how the examples were made of images by a backbone, a features.Made.
      labeled_probs, unlabeled_probs: None, or stored distributions over the classes, float16 or
        float32 [N, K], one for each of labeled.images and unlabeled (Section 3.2's q_large). A
        np.memmap is read from disk in use.
    """
    name: str
    num_classes: int
    class_names: tuple[str, ...]
    labeled: Split
    unlabeled: np.ndarray | Images
    test: Split | None
    holdout: Split | None = None
    flip: bool = False
    labeled_probs: np.ndarray | None = None
    unlabeled_probs: np.ndarray | None = None
    made: Made | None = None


def load(name: str, data_dir: str | os.PathLike[str] | None = None,
         labeled_examples: int | None = None, labeled_selection: str | None = None,
         split_seed: int = 0, holdout: int = 0, noise: float = 0.05, extra_unlabeled: bool = False,
         image_size: int = 0, labeled_shards: int = 0, holdout_shards: int = 0,
         unlabeled_dir: str | os.PathLike[str] | None = None, skip_corrupt: bool = False,
         predictions_dir: str | os.PathLike[str] | None = None,
         selection: str | os.PathLike[str] | None = None, train_split: str = "",
         test_split: str = "", unlabeled_split: str = "", feature_components: int = 0,
         feature_unit_length: bool = False, test: bool = True, download: bool = True) -> Dataset:
    """Reads a data set and splits it.

    Args:
      name: one of `datasets.SOURCES`: "digits", "two_moons", "cifar10", "svhn", "imagenet",
        "image_folder", "features"; or "tfds:NAME[/CONFIG][:VERSION]" of TensorFlow Datasets.
      data_dir: the folder of the files.
        cifar10: the folder with `cifar-10-python.tar.gz` or `cifar-10-batches-py/`, or the latter
        itself. svhn: the folder with `train_32x32.mat` and `test_32x32.mat`. Either may also be a
        folder that data_prep wrote; where it is none of these, TensorFlow Datasets reads or
        downloads the data set there (None: in its own default folder).
        imagenet, image_folder: the folder of shards. features: the folder of features. tfds:
          TensorFlow Datasets' folder.
      labeled_examples: how many training examples have labels, those held out included; 0: all of
        them, for data sets in shards or of tfds; None: the data set's default, see its Source.
      labeled_selection: which examples have labels. "first": the first ones in the official order.
        "random": drawn by split_seed, equally many of each class (the remainder falls on classes
        drawn at random); for the same seed a smaller set is part of a larger one. None: the data
        set's default.
      split_seed: decides what is random in the split, and two_moons' points.
      holdout: how many labeled examples are kept out of training, also out of its unlabeled part,
        for choosing settings (Section 4.2, C.1). They are the last ones of the labeled set, so that
        random ones are balanced over the classes too.
      noise: standard deviation of two_moons' noise.
      extra_unlabeled: adds svhn's 531,131 `extra` images to the unlabeled ones (Section 4.2); they
        take 1.6 GB of memory, and as much again while they are read.
      image_size: for data sets in shards or of tfds, the side in pixels of the images that the
        networks get; 0: the data set's default.
      labeled_shards, holdout_shards: for imagenet, see imagenet.imagenet.
      unlabeled_dir: folder of shards whose images replace the data set's own unlabeled ones
        (Section 4.2).
      skip_corrupt: leaves out records that cannot be used, and logs them, instead of refusing them.
      predictions_dir: folder that data_prep.predict wrote, with predictions of the labeled and the
        unlabeled images: they become labeled_probs and unlabeled_probs.
      selection: folder that data_prep.select wrote: only its examples are unlabeled ones, without
        those that are held out. They are of unlabeled_dir if that is given, else of the data set.
      train_split, test_split, unlabeled_split: for data sets of tfds, see `tfds_sets.tfds_set`.
      feature_components, feature_unit_length: for features, see feature_transform.fit.
      test: False drops the test examples, so that nothing chosen by this Dataset can have seen them.
      download: False reads what is there already, and downloads and prepares nothing.

    Returns:
      A Dataset.

    Raises:
      ValueError: the split is impossible, or files are not the published ones.
      FileNotFoundError: there are no files, and none could be downloaded.
    """
    source = sources.find(name)
    options = dict(
        labeled_examples=source.labeled_examples if labeled_examples is None else labeled_examples,
        labeled_selection=labeled_selection or source.labeled_selection, split_seed=split_seed,
        holdout=holdout)
    if options["labeled_selection"] not in ("first", "random"):
        raise ValueError(f"labeled_selection {labeled_selection!r} is unknown: use 'first' or "
                         "'random'")
    own = dict(name=name, noise=noise, extra_unlabeled=extra_unlabeled, labeled_shards=labeled_shards,
               holdout_shards=holdout_shards, train_split=train_split, test_split=test_split,
               unlabeled_split=unlabeled_split, feature_components=feature_components,
               feature_unit_length=feature_unit_length, download=download)
    if extra_unlabeled and "extra_unlabeled" not in source.options:
        raise ValueError(f"extra_unlabeled with {name}: only svhn has extra images; leave it out")
    own.update(data_dir=data_dir, image_size=image_size or source.image_size,
               skip_corrupt=skip_corrupt, **options)
    own = {option: value for option, value in own.items() if option in source.options}
    others = dict(unlabeled_dir=unlabeled_dir, skip_corrupt=skip_corrupt,
                  predictions_dir=predictions_dir, selection=selection)
    if source.in_shards:
        dataset = _from_records(source, data_dir, image_size or source.image_size, own, **others)
        return _told(dataset, test)
    splits = source.read(**own)
    if not source.class_names:
        class_names, splits = splits
        source = dataclasses.replace(source, class_names=tuple(class_names),
                                     image_size=splits["train"].images.shape[1])
    for part in splits.values():
        check_labels(part, len(source.class_names), name)
    return _told(_from_arrays(source, splits, **options, **others), test)


def _told(dataset, test):
    """The same Dataset, without its test examples unless `test`.

    It warns of classes that the choice of labeled examples has left without any.
    """
    absent = sorted(set(range(dataset.num_classes)) - set(np.unique(dataset.labeled.labels).tolist()))
    if absent:
        log.warning("%d of %d classes have no labeled example to train on, such as %r",
                    len(absent), dataset.num_classes, dataset.class_names[absent[0]])
    return dataset if test else dataclasses.replace(dataset, test=None)


def _from_arrays(source, splits, labeled_examples, labeled_selection, split_seed, holdout,
                 unlabeled_dir, skip_corrupt, predictions_dir, selection):
    """Splits a data set in memory; `splits` has "train" and "test", and may have "extra"."""
    train, class_names = splits["train"], source.class_names
    extra = [splits["extra"]] if "extra" in splits else []
    if unlabeled_dir and train.images.shape[-1] != 3:
        raise ValueError(f"--unlabeled_dir={unlabeled_dir} with {source.name}, whose images have "
                         f"{train.images.shape[-1]} channel: expected a data set of photographs; leave "
                         "it out")
    labeled_examples = labeled_examples or len(train.labels)
    chosen = select(train.labels, labeled_examples, labeled_selection, split_seed,
                    len(class_names), holdout)
    held, labeled = chosen[len(chosen) - holdout:], chosen[:len(chosen) - holdout]
    counts = {"train": len(train.labels), **{"extra": len(part.labels) for part in extra}}
    own = {split: predictions.load_for_arrays(
        predictions_dir, split, count, len(class_names), class_names)
        for split, count in counts.items() if split == "train" or not unlabeled_dir
    } if predictions_dir else {}
    if unlabeled_dir:
        unlabeled, unlabeled_probs = _chosen(shard_sets.load_unlabeled(
            unlabeled_dir, source.image_size, "whole", skip_corrupt), class_names,
            predictions_dir, selection)
    else:
        unlabeled = np.concatenate([train.images, extra[0].images]) if extra else train.images
        unlabeled_probs = np.concatenate(list(own.values())) if own else None
        keep = np.ones(len(unlabeled), bool)
        keep[held] = False
        if selection or holdout:
            rows = selections.positions_in_arrays(
                selection, counts, keep, _plan(predictions_dir)) if selection else keep
            unlabeled, unlabeled_probs = unlabeled[rows], unlabeled_probs[rows] if own else None
    return Dataset(
        name=source.name, num_classes=len(class_names), class_names=class_names,
        test=splits["test"], flip=source.flip, unlabeled=unlabeled, unlabeled_probs=unlabeled_probs,
        labeled=Split(train.images[labeled], train.labels[labeled]),
        labeled_probs=own["train"][labeled] if own else None,
        holdout=Split(train.images[held], train.labels[held]) if holdout else None)


def _chosen(unlabeled, class_names, predictions_dir, selection):
    """(ShardImages, their stored distributions or None) of all, or the selected, `unlabeled` ones."""
    if selection:
        unlabeled = unlabeled.subset(selections.positions(
            selection, unlabeled.index, _plan(predictions_dir)))
    probs = predictions.load(predictions_dir, unlabeled.index, len(class_names),
                             class_names) if predictions_dir else None
    return unlabeled, probs


def _plan(predictions_dir):
    return prediction_files.read_plan(predictions_dir) if predictions_dir else None


def describe(dataset: Dataset) -> dict[str, str]:
    """Counts and digests that tell a Dataset from any other, but do not depend on its path."""
    parts = {"labeled": (dataset.labeled.images, dataset.labeled.labels),
             "unlabeled": (dataset.unlabeled, ())}
    for name, split in (("test", dataset.test), ("holdout", dataset.holdout)):
        if split is not None:
            parts[name] = split.images, split.labels
    described: dict[str, str] = {}
    for name, (images, labels) in parts.items():
        digest = as_images(images).digest()
        digest.update(np.ascontiguousarray(np.asarray(labels, np.int64)).data)
        described[name] = f"{len(images)} examples ({digest.hexdigest()})"
    described.setdefault("test", "none")
    names = "\0".join(dataset.class_names).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(names, digest_size=8).hexdigest()
    described["classes"] = f"{dataset.num_classes} names ({digest})"
    for name, probs in (("labeled_probs", dataset.labeled_probs),
                        ("unlabeled_probs", dataset.unlabeled_probs)):
        if probs is not None:       # may be larger than memory: a thousand rows are enough
            rows = np.linspace(0, len(probs) - 1, min(len(probs), 1000)).astype(np.int64)
            digest = hashlib.blake2b(np.ascontiguousarray(probs[rows]).data, digest_size=8)
            described[name] = f"{len(probs)} distributions ({digest.hexdigest()})"
    return described


def _from_records(source, data_dir, image_size, options, unlabeled_dir, skip_corrupt,
                  predictions_dir, selection):
    """Makes the Dataset of images that are decoded from shards; `options` are source.read's."""
    class_names, labeled, unlabeled, test, holdout = source.read(**options)
    if unlabeled_dir:
        unlabeled = shard_sets.load_unlabeled(
            unlabeled_dir, image_size, "inception", skip_corrupt)
    unlabeled, unlabeled_probs = _chosen(unlabeled, class_names, predictions_dir, selection)
    labeled_probs = predictions.load(predictions_dir, labeled.images.index, len(class_names),
                                     class_names) if predictions_dir else None
    return Dataset(name=source.name, num_classes=len(class_names), class_names=class_names,
                   labeled=labeled, labeled_probs=labeled_probs, unlabeled=unlabeled,
                   unlabeled_probs=unlabeled_probs, test=test, holdout=holdout,
                   made=getattr(unlabeled, "made", None),
                   flip=(prepared.read_sidecar(data_dir) or {}).get("flip", source.flip))

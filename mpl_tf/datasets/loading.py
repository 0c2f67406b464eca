"""The data sets: read, checked, and split into labeled, unlabeled and test parts.

A split is a function of its arguments alone. The unlabeled part holds the labeled images too,
without their labels. Images are NumPy arrays, or stay in their shards (record_images.RecordImages).
No TensorFlow here; TensorFlow Datasets is imported only to download.
"""

import dataclasses
import hashlib

import numpy as np

from mpl_tf.datasets import (cifar10, prediction_files, predictions, prepared,
                             selection as selections, shard_sets, svhn, tfds)
from mpl_tf.datasets.splits import Split, check_labels, check_sizes, class_rounds, select

# name: (labeled examples, how they are selected) where the caller does not say
DEFAULTS = {"digits": (50, "random"), "two_moons": (6, "random"), "cifar10": (4000, "first"),
            "svhn": (1000, "first"), "imagenet": (0, "first"), "image_folder": (0, "random")}
IMAGE_SIZE = {"digits": 8, "cifar10": 32, "svhn": 32}       # of what is an array
_DIGITS_TEST, _DIGITS_TEST_SEED = 500, 20200310    # the same images for every split_seed
_TWO_MOONS_POINTS = 2000


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split.

    Attributes:
      name, num_classes: "digits" and 10, for one.
      class_names: tuple of str, one per class.
      labeled, test: Split. holdout: Split, or None where none was asked for.
      unlabeled: images like labeled.images [N, ...]: all of training but the holdout. An array,
        or RecordImages.
      flip: whether the mirror image of an example still belongs to its class.
      labeled_probs, unlabeled_probs: None, or stored distributions over the classes, float16 or
        float32 [N, K], one for each of labeled.images and unlabeled (Section 3.2's q_large). A
        np.memmap stays on disk.
    """
    name: str
    num_classes: int
    class_names: tuple
    labeled: Split
    unlabeled: np.ndarray
    test: Split
    holdout: Split = None
    flip: bool = False
    labeled_probs: np.ndarray = None
    unlabeled_probs: np.ndarray = None


def load(name, data_dir=None, labeled_examples=None, labeled_selection=None, split_seed=0,
         holdout=0, noise=0.05, extra_unlabeled=False, image_size=0, labeled_shards=0,
         holdout_shards=0, unlabeled_dir=None, skip_corrupt=False, predictions_dir=None,
         selection=None):
    """Reads a data set and splits it.

    Args:
      name: "digits" (scikit-learn's 1,797 images of 8x8x1, scaled to 0..255; 500 of them, 50 a
        class and always the same, are the test set), "two_moons" (2,000 points, which are the
        test set too; Section 5.1), "cifar10", "svhn", "imagenet" or "image_folder".
      data_dir: for cifar10, the folder that has `cifar-10-batches-py/` or
        `cifar-10-python.tar.gz`, or is the former; for svhn, the one that has `train_32x32.mat`
        and `test_32x32.mat`; for either, one that data_prep wrote; without any of these
        TensorFlow Datasets reads or downloads there (None: its own default folder). For imagenet
        and image_folder, the folder of shards.
      labeled_examples: how many training examples have labels, those held out included. None: 50,
        6, 4,000, 1,000 and, of imagenet and image_folder, all.
      labeled_selection: "first": the first ones in the official order. "random": drawn by
        split_seed, equally many of each class (the remainder falls on classes drawn at random);
        of one seed, a smaller set is part of a larger. None: "first" for cifar10, svhn and
        imagenet, else "random".
      split_seed: decides what is random in the split, and two_moons' points.
      holdout: labeled examples kept away from training, labeled and unlabeled, for choosing
        settings (Section 4.2, C.1): the last ones of the labeled set, so that random ones are
        balanced over the classes too.
      noise: standard deviation of two_moons' noise.
      extra_unlabeled: adds svhn's 531,131 `extra` images to the unlabeled ones (Section 4.2); they
        take 1.6 GB, and as much again while they are read.
      image_size: of imagenet and image_folder, side of what the networks get; 0: 224 and 64.
      labeled_shards, holdout_shards: of imagenet, see record_datasets.load_imagenet.
      unlabeled_dir: folder of shards whose images are the unlabeled ones, in place of the data
        set's own (Section 4.2).
      skip_corrupt: records that cannot be used are left out, and told, instead of refused.
      predictions_dir: folder that data_prep.predict wrote, of the labeled and the unlabeled images;
        gives the Dataset labeled_probs and unlabeled_probs.
      selection: folder that data_prep.select wrote: the unlabeled images are its examples, of
        unlabeled_dir or of the data set's own, those that are held out left out.

    Returns:
      A Dataset.

    Raises:
      ValueError: an impossible split, or files that are not the published ones.
      FileNotFoundError: no files, and none could be downloaded.
    """
    if name not in DEFAULTS:
        raise ValueError(f"data set {name!r} is unknown: use one of {', '.join(DEFAULTS)}")
    if extra_unlabeled and name != "svhn":
        raise ValueError(f"extra_unlabeled with {name}: only svhn has extra images; leave it out")
    count, chosen = DEFAULTS[name]
    options = dict(
        labeled_examples=count if labeled_examples is None else labeled_examples,
        labeled_selection=labeled_selection or chosen, split_seed=split_seed, holdout=holdout)
    if options["labeled_selection"] not in ("first", "random"):
        raise ValueError(f"labeled_selection {labeled_selection!r} is unknown: use 'first' or "
                         "'random'")
    others = dict(unlabeled_dir=unlabeled_dir, skip_corrupt=skip_corrupt,
                  predictions_dir=predictions_dir, selection=selection)
    if name == "imagenet":
        options.update(labeled_shards=labeled_shards, holdout_shards=holdout_shards)
    if name in ("imagenet", "image_folder"):
        return _from_records(name, data_dir, image_size, options, **others)
    extra = []
    if name == "digits":
        class_names, (train, test) = tuple("0123456789"), _digits()
    elif name == "two_moons":
        class_names, (train, test) = ("upper", "lower"), _two_moons(noise, split_seed)
    elif name == "cifar10":
        class_names, (train, test) = cifar10.CLASSES, _cifar10(data_dir)
    else:
        class_names, (train, test, *extra) = svhn.CLASSES, _svhn(data_dir, extra_unlabeled)
    for part in (train, test, *extra):
        check_labels(part, len(class_names), name)
    return _from_arrays(name, class_names, train, test, extra, **options, **others)


def _from_arrays(name, class_names, train, test, extra, labeled_examples, labeled_selection,
                 split_seed, holdout, unlabeled_dir, skip_corrupt, predictions_dir, selection):
    """The Dataset of Splits in memory; `extra` is a list of one or none."""
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
            unlabeled_dir, IMAGE_SIZE.get(name, 0), "whole", skip_corrupt), class_names, predictions_dir,
            selection)
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
        name=name, num_classes=len(class_names), class_names=class_names, test=test,
        flip=name == "cifar10", unlabeled=unlabeled, unlabeled_probs=unlabeled_probs,
        labeled=Split(train.images[labeled], train.labels[labeled]),
        labeled_probs=own["train"][labeled] if own else None,
        holdout=Split(train.images[held], train.labels[held]) if holdout else None)


def _chosen(unlabeled, class_names, predictions_dir, selection):
    """(RecordImages, their distributions or None): all of `unlabeled`, or those selected."""
    if selection:
        unlabeled = unlabeled.subset(selections.positions(
            selection, unlabeled.index, _plan(predictions_dir)))
    probs = predictions.load(predictions_dir, unlabeled.index, len(class_names),
                             class_names) if predictions_dir else None
    return unlabeled, probs


def _plan(predictions_dir):
    return prediction_files.read_plan(predictions_dir) if predictions_dir else None


def describe(dataset):
    """What tells a Dataset from others, wherever its files lie: a dict of counts and digests."""
    parts = {"labeled": (dataset.labeled.images, dataset.labeled.labels),
             "unlabeled": (dataset.unlabeled, ()), "test": (dataset.test.images,
                                                            dataset.test.labels)}
    described = {}
    for name, (images, labels) in parts.items():
        digest = hashlib.blake2b(digest_size=8)
        index = getattr(images, "index", None)      # of images that stay in their shards
        arrays = [images] if index is None else [index.shard, index.offset, index.length]
        for array in (*arrays, np.asarray(labels, np.int64)):
            digest.update(np.ascontiguousarray(array).data)
        described[name] = f"{len(images)} examples ({digest.hexdigest()})"
    for name, probs in (("labeled_probs", dataset.labeled_probs),
                        ("unlabeled_probs", dataset.unlabeled_probs)):
        if probs is not None:       # may be larger than memory: a thousand rows tell
            rows = np.linspace(0, len(probs) - 1, min(len(probs), 1000)).astype(np.int64)
            digest = hashlib.blake2b(np.ascontiguousarray(probs[rows]).data, digest_size=8)
            described[name] = f"{len(probs)} distributions ({digest.hexdigest()})"
    return described


def _from_records(name, data_dir, image_size, options, unlabeled_dir, skip_corrupt,
                  predictions_dir, selection):
    """The Dataset of images that stay in their shards; `options` are record_datasets'."""
    load_parts = {"imagenet": shard_sets.load_imagenet,
                  "image_folder": shard_sets.load_image_folder}[name]
    image_size = image_size or {"imagenet": 224, "image_folder": 64}[name]
    class_names, labeled, unlabeled, test, holdout = load_parts(
        data_dir, image_size, skip_corrupt=skip_corrupt, **options)
    if unlabeled_dir:
        unlabeled = shard_sets.load_unlabeled(
            unlabeled_dir, image_size, "inception", skip_corrupt)
    unlabeled, unlabeled_probs = _chosen(unlabeled, class_names, predictions_dir, selection)
    labeled_probs = predictions.load(predictions_dir, labeled.images.index, len(class_names),
                                     class_names) if predictions_dir else None
    return Dataset(name=name, num_classes=len(class_names), class_names=class_names,
                   labeled=labeled, labeled_probs=labeled_probs, unlabeled=unlabeled,
                   unlabeled_probs=unlabeled_probs, test=test, holdout=holdout,
                   flip=(prepared.read_sidecar(data_dir) or {}).get("flip", True))


def _digits():
    from sklearn.datasets import load_digits
    digits = load_digits()
    images = np.round(digits.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    test[class_rounds(labels, _DIGITS_TEST_SEED)[:_DIGITS_TEST]] = True
    return Split(images[~test], labels[~test]), Split(images[test], labels[test])


def _two_moons(noise, seed):
    from sklearn.datasets import make_moons
    if noise < 0:
        raise ValueError(f"noise {noise} is negative: it is a standard deviation, 0.05 for one")
    points, labels = make_moons(_TWO_MOONS_POINTS, noise=noise, random_state=seed)
    moons = Split(points.astype(np.float32), labels.astype(np.int64))
    return moons, moons


def _cifar10(data_dir):
    """[train, test] in the official order."""
    splits = ("train", "test")
    found = (prepared.read_arrays(data_dir, "cifar10", splits) or cifar10.read(data_dir)
             or tfds.read("cifar10", data_dir, splits, cifar10.URL))
    return check_sizes(found, cifar10.SIZES, f"cifar10 in {data_dir}")


def _svhn(data_dir, extra):
    """[train, test] or [train, test, extra] in the official order."""
    splits = ("train", "test", "extra") if extra else ("train", "test")
    found = (prepared.read_arrays(data_dir, "svhn", splits) or svhn.read(data_dir, splits)
             or tfds.read("svhn_cropped", data_dir, splits,
                                svhn.URL + svhn.file_name("train")))
    return check_sizes(found, svhn.SIZES, f"svhn in {data_dir}")

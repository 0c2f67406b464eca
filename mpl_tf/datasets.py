"""The data sets as NumPy arrays: read, checked, and split into labeled, unlabeled and test parts.

A split is a function of its arguments alone. The unlabeled part holds the labeled images too,
without their labels. No TensorFlow here; TensorFlow Datasets is imported only to download.
"""

import dataclasses

import numpy as np

from mpl_tf import cifar10_files
from mpl_tf import prepared
from mpl_tf import svhn_files
from mpl_tf import tfds_files
from mpl_tf.splits import Split, check_labels, class_rounds, select

# name: (labeled examples, how they are selected) where the caller does not say
DEFAULTS = {"digits": (50, "random"), "two_moons": (6, "random"), "cifar10": (4000, "first"),
            "svhn": (1000, "first")}
_DIGITS_TEST, _DIGITS_TEST_SEED = 500, 20200310    # the same images for every split_seed
_TWO_MOONS_POINTS = 2000


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, split.

    Attributes:
      name, num_classes: "digits" and 10, for one.
      class_names: tuple of str, one per class.
      labeled, test: Split. holdout: Split, or None where none was asked for.
      unlabeled: images like labeled.images [N, ...]: all of training but the holdout.
      flip: whether the mirror image of an example still belongs to its class.
    """
    name: str
    num_classes: int
    class_names: tuple
    labeled: Split
    unlabeled: np.ndarray
    test: Split
    holdout: Split = None
    flip: bool = False


def load(name, data_dir=None, labeled_examples=None, labeled_selection=None, split_seed=0,
         holdout=0, noise=0.05, extra_unlabeled=False):
    """Reads a data set and splits it.

    Args:
      name: "digits" (scikit-learn's 1,797 images of 8x8x1, scaled to 0..255; 500 of them, 50 a
        class and always the same, are the test set), "two_moons" (2,000 points, which are the
        test set too; Section 5.1), "cifar10" or "svhn".
      data_dir: for cifar10, the folder that has `cifar-10-batches-py/` or
        `cifar-10-python.tar.gz`, or is the former; for svhn, the one that has `train_32x32.mat`
        and `test_32x32.mat`; for either, one that data_prep wrote; without any of these
        TensorFlow Datasets reads or downloads there (None: its own default folder).
      labeled_examples: how many training examples have labels, those held out included. None: 50,
        6, 4,000 and 1,000.
      labeled_selection: "first": the first ones in the official order. "random": drawn by
        split_seed, equally many of each class (the remainder falls on classes drawn at random);
        of one seed, a smaller set is part of a larger. None: "first" for cifar10 and svhn, else
        "random".
      split_seed: decides what is random in the split, and two_moons' points.
      holdout: labeled examples kept away from training, labeled and unlabeled, for choosing
        settings (Section 4.2, C.1): the last ones of the labeled set, so that random ones are
        balanced over the classes too.
      noise: standard deviation of two_moons' noise.
      extra_unlabeled: adds svhn's 531,131 `extra` images to the unlabeled ones (Section 4.2); they
        take 1.6 GB, and as much again while they are read.

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
    count, selection = DEFAULTS[name]
    count = count if labeled_examples is None else labeled_examples
    selection = selection if labeled_selection is None else labeled_selection
    if selection not in ("first", "random"):
        raise ValueError(f"labeled_selection {selection!r} is unknown: use 'first' or 'random'")
    extra = []
    if name == "digits":
        class_names, (train, test) = tuple("0123456789"), _digits()
    elif name == "two_moons":
        class_names, (train, test) = ("upper", "lower"), _two_moons(noise, split_seed)
    elif name == "cifar10":
        class_names, (train, test) = cifar10_files.CLASSES, _cifar10(data_dir)
    else:
        class_names, (train, test, *extra) = svhn_files.CLASSES, _svhn(data_dir, extra_unlabeled)
    for part in (train, test, *extra):
        check_labels(part, len(class_names), name)
    chosen = select(train.labels, count, selection, split_seed, len(class_names), holdout)
    held, labeled = chosen[len(chosen) - holdout:], chosen[:len(chosen) - holdout]
    unlabeled = np.delete(train.images, held, axis=0) if holdout else train.images
    return Dataset(
        name=name, num_classes=len(class_names), class_names=class_names, test=test,
        flip=name == "cifar10",
        labeled=Split(train.images[labeled], train.labels[labeled]),
        unlabeled=np.concatenate([unlabeled, extra[0].images]) if extra else unlabeled,
        holdout=Split(train.images[held], train.labels[held]) if holdout else None)


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
    found = (prepared.read_arrays(data_dir, "cifar10", splits) or cifar10_files.read(data_dir)
             or tfds_files.read("cifar10", data_dir, splits, cifar10_files.URL))
    return check_sizes(found, cifar10_files.SIZES, f"cifar10 in {data_dir}")


def _svhn(data_dir, extra):
    """[train, test] or [train, test, extra] in the official order."""
    splits = ("train", "test", "extra") if extra else ("train", "test")
    found = (prepared.read_arrays(data_dir, "svhn", splits) or svhn_files.read(data_dir, splits)
             or tfds_files.read("svhn_cropped", data_dir, splits,
                                svhn_files.URL + svhn_files.file_name("train")))
    return check_sizes(found, svhn_files.SIZES, f"svhn in {data_dir}")


def check_sizes(splits, sizes, source):
    """The Splits of a dict, a list; ValueError unless each has as many examples as was published."""
    wrong = [f"{len(part.labels)} {name} examples instead of {sizes[name]}"
             for name, part in splits.items() if len(part.labels) != sizes[name]]
    if wrong:
        raise ValueError(f"{source}: {', '.join(wrong)}: delete what is there and get it again")
    return list(splits.values())

"""The data sets as NumPy arrays: read, checked, and split into labeled, unlabeled and test parts.

A split is a function of its arguments alone. The unlabeled part holds the labeled images too,
without their labels. No TensorFlow here; TensorFlow Datasets is imported only to download.
"""

import contextlib
import dataclasses
import hashlib
import io
import pathlib
import pickle
import re
import tarfile
import urllib.error
import urllib.request
import zlib

import numpy as np

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                   "truck")
CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# name: (labeled examples, how they are selected) where the caller does not say
DEFAULTS = {"digits": (50, "random"), "two_moons": (6, "random"), "cifar10": (4000, "first")}
_DIGITS_TEST, _DIGITS_TEST_SEED = 500, 20200310    # the same images for every split_seed
_TWO_MOONS_POINTS = 2000


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples: images uint8 [N, H, W, C], or float32 points [N, 2]; labels int64 [N]."""
    images: np.ndarray
    labels: np.ndarray


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
         holdout=0, noise=0.05):
    """Reads a data set and splits it.

    Args:
      name: "digits" (scikit-learn's 1,797 images of 8x8x1, scaled to 0..255; 500 of them, 50 a
        class and always the same, are the test set), "two_moons" (2,000 points, which are the
        test set too; Section 5.1) or "cifar10".
      data_dir: for cifar10, the folder that has `cifar-10-batches-py/` or
        `cifar-10-python.tar.gz`, or is the former; without them TensorFlow Datasets reads or
        downloads there (None: its own default folder).
      labeled_examples: how many training examples have labels, those held out included. None: 50,
        6 and 4,000.
      labeled_selection: "first": the first ones in the official order. "random": drawn by
        split_seed, equally many of each class (the remainder falls on classes drawn at random);
        of one seed, a smaller set is part of a larger. None: "first" for cifar10, else "random".
      split_seed: decides what is random in the split, and two_moons' points.
      holdout: labeled examples kept away from training, labeled and unlabeled, for choosing
        settings (Section 4.2, C.1): the last ones of the labeled set, so that random ones are
        balanced over the classes too.
      noise: standard deviation of two_moons' noise.

    Returns:
      A Dataset.

    Raises:
      ValueError: an impossible split, or files that are not the published ones.
      FileNotFoundError: no files, and none could be downloaded.
    """
    if name not in DEFAULTS:
        raise ValueError(f"data set {name!r} is unknown: use one of {', '.join(DEFAULTS)}")
    count, selection = DEFAULTS[name]
    count = count if labeled_examples is None else labeled_examples
    selection = selection if labeled_selection is None else labeled_selection
    if selection not in ("first", "random"):
        raise ValueError(f"labeled_selection {selection!r} is unknown: use 'first' or 'random'")
    flip = name == "cifar10"
    if name == "digits":
        class_names, (train, test) = tuple("0123456789"), _digits()
    elif name == "two_moons":
        class_names, (train, test) = ("upper", "lower"), _two_moons(noise, split_seed)
    else:
        class_names, (train, test) = CIFAR10_CLASSES, _cifar10(data_dir)
    for part in (train, test):
        check_labels(part, len(class_names), name)
    chosen = _select(train.labels, count, selection, split_seed, len(class_names), holdout)
    held, labeled = chosen[len(chosen) - holdout:], chosen[:len(chosen) - holdout]
    return Dataset(
        name=name, num_classes=len(class_names), class_names=class_names, test=test, flip=flip,
        labeled=Split(train.images[labeled], train.labels[labeled]),
        unlabeled=np.delete(train.images, held, axis=0) if holdout else train.images,
        holdout=Split(train.images[held], train.labels[held]) if holdout else None)


def class_rounds(labels, seed):
    """Indices of all examples in a random order, any stretch of which is balanced over classes."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def _select(labels, count, selection, seed, num_classes, holdout):
    """Indices of the labeled examples, those held out last."""
    if count > len(labels):
        raise ValueError(f"labeled_examples {count} is more than the {len(labels)} training "
                         f"examples there are: ask for at most {len(labels)}")
    if holdout < 0 or count - holdout < num_classes:
        raise ValueError(
            f"labeled_examples {count} less holdout {holdout} leaves {max(count - holdout, 0)} "
            f"labeled examples for {num_classes} classes: leave at least {num_classes}")
    if selection == "first":
        return np.arange(count)
    return class_rounds(labels, seed)[:count]


def check_labels(split, num_classes, source):
    """Raises ValueError unless there is one label in 0..num_classes-1 for each image."""
    if len(split.images) != len(split.labels):
        raise ValueError(f"{source}: {len(split.images)} images but {len(split.labels)} labels: "
                         "the data are damaged, get them again")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= num_classes))
    if len(wrong):
        raise ValueError(f"{source}: label {split.labels[wrong[0]]} of example {wrong[0]} is "
                         f"outside 0-{num_classes - 1}: correct the data")


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
    """(train, test) in the official order, from the python files or TensorFlow Datasets."""
    where, contents = _cifar10_files(data_dir)
    if contents is None:
        splits = read_tfds("cifar10", data_dir)
        train, test = splits["train"], splits["test"]
    else:
        for name, md5 in CIFAR10_MD5.items():
            check_file(contents.get(name), md5, f"{name} in {where}")
        *batches, test = [unpickle_batch(contents.pop(name), name) for name in CIFAR10_MD5]
        train = Split(np.concatenate([batch.images for batch in batches]),
                      np.concatenate([batch.labels for batch in batches]))
    if (len(train.labels), len(test.labels)) != (50000, 10000):
        raise ValueError(f"cifar10 in {data_dir}: {len(train.labels)} training and "
                         f"{len(test.labels)} test examples instead of 50000 and 10000: delete "
                         "what is there and run again to download it")
    return train, test


def _cifar10_files(data_dir):
    """(where, name -> bytes) of the official files; the second is None where there are none."""
    if data_dir is None:
        return None, None
    folder = pathlib.Path(data_dir)
    for candidate in (folder, folder / CIFAR10_FOLDER):
        files = [candidate / name for name in CIFAR10_MD5 if (candidate / name).is_file()]
        if files:
            return candidate, {file.name: file.read_bytes() for file in files}
    archive = folder / pathlib.PurePosixPath(CIFAR10_URL).name
    if not archive.is_file():
        return None, None
    try:
        with tarfile.open(archive) as tar:    # in memory: nothing in it is written anywhere
            files = {pathlib.PurePosixPath(m.name).name: m for m in tar if m.isfile()}
            return archive, {name: tar.extractfile(member).read()
                             for name, member in files.items() if name in CIFAR10_MD5}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive} cannot be read ({error}): it is truncated or damaged; get it "
                         f"again from {CIFAR10_URL}") from error


def check_file(contents, md5, source):
    """Raises unless the bytes `contents` (None: no such file) have the published md5."""
    if contents is None:
        raise FileNotFoundError(f"there is no {source}: get all files from {CIFAR10_URL}")
    found = hashlib.md5(contents).hexdigest()
    if found != md5:
        raise ValueError(f"{source} ({len(contents)} bytes) has md5 {found} instead of the "
                         f"published {md5}: it is truncated or changed; get it again from "
                         f"{CIFAR10_URL}")


class _Unpickler(pickle.Unpickler):
    """Builds arrays and Python's own containers, numbers and strings; calls nothing else."""

    def find_class(self, module, name):
        reconstruct = np.empty(0).__reduce__()[0]    # its module's name differs between NumPys
        allowed = {("numpy.core.multiarray", "_reconstruct"): reconstruct,
                   ("numpy._core.multiarray", "_reconstruct"): reconstruct,
                   ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return allowed[module, name]


def unpickle_batch(contents, source):
    """One of CIFAR-10's python batches -> Split; ValueError, naming `source`, if it is not one.

    `contents` is a pickle of a dict: b"data" uint8 [N, 3072] by channel, b"labels" a list of N.
    """
    try:
        batch = _Unpickler(io.BytesIO(contents), encoding="bytes").load()
        images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return Split(np.ascontiguousarray(images, np.uint8), np.array(batch[b"labels"], np.int64))
    except Exception as error:    # a damaged pickle can raise nearly anything
        raise ValueError(f"{source} is not a CIFAR-10 python batch ({error}): get it from "
                         f"{CIFAR10_URL}") from error


def official_order(ids):
    """int64 [N]: images[official_order(ids)] are in the official order of the data set.

    `ids` is TFDS's `id` feature of each example, str or bytes: "train_00042".
    """
    digits = [re.findall(r"\d+$", i.decode() if isinstance(i, bytes) else i) for i in ids]
    numbers = np.array([int(found[0]) if found else -1 for found in digits])
    order = np.argsort(numbers)
    if not np.array_equal(numbers[order], np.arange(len(numbers))):
        raise ValueError(f"the ids of {len(numbers)} examples are not numbered 0-{len(numbers) - 1}"
                         ": examples are missing or doubled, so prepare the data set again")
    return order


def _require_network(url):
    """Raises OSError at once where the server of `url` cannot be reached."""
    with contextlib.suppress(urllib.error.HTTPError):    # then it has answered
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20).close()


def read_tfds(name, data_dir=None):
    """{"train": Split, "test": Split} from TensorFlow Datasets, in the official order.

    TFDS writes examples in the order of a hash and keeps the official one only in `id`.
    """
    try:
        import tensorflow_datasets as tfds
        builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
        if not pathlib.Path(builder.data_dir).exists():
            _require_network(CIFAR10_URL)    # TFDS itself would try again for minutes
        builder.download_and_prepare()
        parts = builder.as_dataset(split=["train", "test"], shuffle_files=False)
        parts = [list(tfds.as_numpy(part)) for part in parts]
    except Exception as error:    # no network, no disk, a changed download: TFDS raises anything
        reason = " ".join(str(error).split())[:120]
        raise FileNotFoundError(
            f"no {name} files in data_dir={data_dir}, and TensorFlow Datasets could not download "
            f"them ({type(error).__name__}: {reason}): get {CIFAR10_URL} and put it into data_dir"
        ) from error
    splits = {}
    for split, examples in zip(("train", "test"), parts):
        order = official_order([example["id"] for example in examples])
        splits[split] = Split(np.stack([examples[i]["image"] for i in order]),
                              np.array([examples[i]["label"] for i in order], np.int64))
    return splits

"""SVHN from .mat files and TensorFlow Datasets, in the official order, and damaged files."""

import numpy as np
import pytest

from mpl_tf import datasets
from mpl_tf.datasets import svhn, tfds as tfds_files
from tests.datasets.test_loading import same


SMALL = {"train": 40, "test": 12, "extra": 25}


def write_mat(folder, split, images, labels):
    """As the official files are: X [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    from scipy.io import savemat
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": y},
            do_compression=True)


@pytest.fixture
def small_svhn(tmp_path, monkeypatch):
    """(folder with small .mat files, {split: Split}) where those are what was published."""
    generator, splits = np.random.default_rng(0), {}
    (tmp_path / "mat").mkdir()
    for split, count in SMALL.items():
        splits[split] = datasets.Split(
            generator.integers(0, 256, [count, 32, 32, 3]).astype(np.uint8),
            np.arange(count) * 3 % 10)
        write_mat(tmp_path / "mat", split, splits[split].images, splits[split].labels)
    monkeypatch.setattr(svhn, "SIZES", SMALL)
    monkeypatch.setattr(svhn, "SHA256", {})
    return tmp_path / "mat", splits


def test_svhn(small_svhn):
    folder, splits = small_svhn
    data = datasets.load("svhn", folder, labeled_examples=20)
    assert same(data.labeled, datasets.Split(splits["train"].images[:20],
                                             splits["train"].labels[:20]))
    np.testing.assert_array_equal(data.unlabeled, splits["train"].images)
    assert same(data.test, splits["test"]) and data.labeled.labels[:4].tolist() == [0, 3, 6, 9]
    assert not data.flip and data.class_names == tuple("0123456789")
    data = datasets.load("svhn", folder, labeled_examples=20, holdout=5, extra_unlabeled=True)
    np.testing.assert_array_equal(data.unlabeled, np.concatenate(
        [splits["train"].images[:15], splits["train"].images[20:], splits["extra"].images]))
    assert same(data.holdout, datasets.Split(splits["train"].images[15:20],
                                             splits["train"].labels[15:20]))
    with pytest.raises(ValueError, match="labeled_examples 1000 is more than the 40"):
        datasets.load("svhn", folder)


def test_the_first_svhn_images_through_a_mat_file(shared_data, tmp_path):
    stored = np.load(shared_data / "svhn-partial" / "svhn_train_first1083.npz")
    labels = np.load(shared_data / "svhn-partial" / "svhn_all_labels_in_order.npz")
    official = next(labels[key] for key in labels if len(labels[key]) == svhn.SIZES["train"])
    write_mat(tmp_path, "train", stored["X"], stored["y"].astype(np.int64))
    split = svhn.read_mat(tmp_path / "train_32x32.mat", 1083)
    np.testing.assert_array_equal(split.images, stored["X"])
    assert split.labels.tolist() == (official[:1083].reshape(-1) % 10).tolist()


@pytest.mark.parametrize("damage, error, words", [
    ("missing", FileNotFoundError, "there is no .*test_32x32.mat: get it from http"),
    ("truncated", ValueError, "test_32x32.mat is not a file of SVHN's"),
    ("garbage", ValueError, "test_32x32.mat is not a file of SVHN's"),
    ("labels", ValueError, "labels outside 1-10"),
    ("shape", ValueError, r"X is uint8 \[32, 32, 3, 11\] and y has 12"),
    ("size", ValueError, "test_32x32.mat has 11 images instead of 12"),
    ("checksum", ValueError, "train_32x32.mat .* sha256 .*instead of the published 00"),
])
def test_damaged_svhn_is_refused(damage, error, words, small_svhn, monkeypatch):
    folder, splits = small_svhn
    path, test = folder / "test_32x32.mat", splits["test"]
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "garbage":
        path.write_bytes(bytes(range(256)) * 10)
    elif damage == "labels":
        write_mat(folder, "test", test.images, test.labels + 5)
    elif damage == "shape":
        write_mat(folder, "test", test.images[:11], test.labels)
    elif damage == "size":
        write_mat(folder, "test", test.images[:11], test.labels[:11])
    else:
        monkeypatch.setattr(svhn, "SHA256", {"train": "00"})
    with pytest.raises(error, match=words) as caught:
        datasets.load("svhn", folder, labeled_examples=20)
    assert "\n" not in str(caught.value)


def test_svhn_by_tfds_is_in_the_official_order(small_svhn, tmp_path, monkeypatch):
    folder, splits = small_svhn
    import tensorflow_datasets as tfds
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, urls: {
        split: str(folder / f"{split}_32x32.mat") for split in urls})
    monkeypatch.setattr(tfds_files, "require_network", lambda url: None)
    assert tfds_files.read("svhn_cropped", tmp_path / "tfds", download=False) is None
    data = datasets.load("svhn", tmp_path / "tfds", labeled_examples=40, extra_unlabeled=True)
    assert same(data.labeled, splits["train"]) and same(data.test, splits["test"])
    np.testing.assert_array_equal(data.unlabeled[40:], splits["extra"].images)
    assert tfds_files.read("svhn_cropped", tmp_path / "tfds", download=False) is not None

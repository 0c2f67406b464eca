"""Splits, the official CIFAR-10 files against TensorFlow Datasets, and every kind of bad data."""

import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from mpl_tf import datasets
from mpl_tf.datasets import cifar10, splits, tfds as tfds_files


def same(a, b):
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)


def rows(images):
    return {image.tobytes() for image in images}


def test_digits_split():
    data = datasets.load("digits", labeled_examples=50, split_seed=3)
    assert data.labeled.images.shape == (50, 8, 8, 1) and data.labeled.images.dtype == np.uint8
    assert data.unlabeled.shape == (1297, 8, 8, 1) and data.unlabeled.max() == 255
    assert np.bincount(data.labeled.labels).tolist() == [5] * 10
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    assert rows(data.labeled.images) <= rows(data.unlabeled)
    assert not rows(data.test.images) & rows(data.unlabeled)
    from sklearn.datasets import load_digits
    original = {image.tobytes(): label for image, label in zip(
        np.round(load_digits().images * 255 / 16).astype(np.uint8), load_digits().target)}
    for split in (data.labeled, data.test):
        assert [original[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_splits_are_functions_of_their_arguments():
    first, again, other = (datasets.load("digits", split_seed=s) for s in (0, 0, 1))
    assert same(first.labeled, again.labeled) and not same(first.labeled, other.labeled)
    assert same(first.test, other.test)
    larger = datasets.load("digits", labeled_examples=103)
    assert rows(first.labeled.images) <= rows(larger.labeled.images)
    assert sorted(np.bincount(larger.labeled.labels)) == [10] * 7 + [11] * 3
    official = datasets.load("digits", labeled_selection="first", labeled_examples=20)
    np.testing.assert_array_equal(official.labeled.images, official.unlabeled[:20])


def test_holdout_leaves_labeled_and_unlabeled():
    whole = datasets.load("digits", labeled_examples=100)
    data = datasets.load("digits", labeled_examples=100, holdout=40)
    assert len(data.labeled.labels) == 60 and len(data.unlabeled) == 1257
    assert np.bincount(data.holdout.labels).tolist() == [4] * 10
    assert not rows(data.holdout.images) & rows(data.unlabeled)
    assert same(whole.labeled, datasets.Split(
        np.concatenate([data.labeled.images, data.holdout.images]),
        np.concatenate([data.labeled.labels, data.holdout.labels])))
    assert whole.holdout is None


def test_two_moons():
    from sklearn.datasets import make_moons
    data = datasets.load("two_moons", split_seed=104, noise=0.15)
    points, labels = make_moons(2000, noise=0.15, random_state=104)
    np.testing.assert_array_equal(data.unlabeled, points.astype(np.float32))
    np.testing.assert_array_equal(data.test.labels, labels)
    assert np.bincount(data.labeled.labels).tolist() == [3, 3]
    for point, label in zip(data.labeled.images, data.labeled.labels):
        assert labels[(data.unlabeled == point).all(axis=1)].tolist() == [label]


@pytest.mark.parametrize("arguments, words", [
    (dict(name="cifar11"), "cifar11.*unknown.*cifar10"),
    (dict(name="digits", labeled_selection="last"), "last.*'first' or 'random'"),
    (dict(name="digits", labeled_examples=9), "9 labeled examples for 10 classes.*at least 10"),
    (dict(name="digits", labeled_examples=50, holdout=41), "50 less holdout 41 leaves 9"),
    (dict(name="digits", labeled_examples=50, holdout=60), "holdout 60 leaves 0"),
    (dict(name="digits", holdout=-1), "holdout -1"),
    (dict(name="digits", labeled_examples=1298), "1298 is more than the 1297"),
    (dict(name="two_moons", noise=-1.0), "noise -1.0 is negative"),
    (dict(name="digits", extra_unlabeled=True), "extra_unlabeled with digits: only svhn"),
])
def test_impossible_splits_are_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        datasets.load(**arguments)
    assert "\n" not in str(caught.value)


def test_labels_are_checked():
    images = np.zeros([3, 2, 2, 1], np.uint8)
    splits.check_labels(datasets.Split(images, np.array([0, 9, 1])), 10, "x")
    for labels, words in (([0, 10, 1], "x: label 10 of example 1 is outside 0-9"),
                          ([0, 0, -1], "label -1 of example 2"), ([0, 1], "3 images but 2 labels")):
        with pytest.raises(ValueError, match=words):
            splits.check_labels(datasets.Split(images, np.array(labels)), 10, "x")


# ------------------------------------------------------------------------------------ CIFAR-10

def test_cifar10_is_the_official_files_in_order(shared_data):
    folder = shared_data / cifar10.FOLDER
    data = datasets.load("cifar10", shared_data, holdout=400)
    with open(folder / "data_batch_1", "rb") as file:
        batch = pickle.load(file, encoding="bytes")
    assert data.labeled.labels.tolist() == batch[b"labels"][:3600]
    assert data.holdout.labels.tolist() == batch[b"labels"][3600:4000]
    for image, row in zip(data.labeled.images[:50], batch[b"data"]):
        np.testing.assert_array_equal(image, np.stack(np.split(row, 3), 1).reshape(32, 32, 3))
    assert data.unlabeled.shape == (49600, 32, 32, 3) and data.test.images.shape[0] == 10000
    with open(folder / "batches.meta", "rb") as file:
        names = pickle.load(file)["label_names"]
    assert data.class_names == tuple(names) and data.flip


@pytest.mark.parametrize("damage, error, words", [
    ("missing", FileNotFoundError, "there is no data_batch_3.*cifar-10-python.tar.gz"),
    ("truncated", ValueError, "data_batch_3.*1000 bytes.*md5.*truncated or changed"),
    ("archive", ValueError, "cifar-10-python.tar.gz cannot be read.*truncated, damaged"),
])
def test_damaged_cifar10_is_refused(damage, error, words, shared_data, tmp_path):
    source = shared_data / cifar10.FOLDER
    if damage == "archive":
        with tarfile.open(tmp_path / "whole.tar.gz", "w:gz", compresslevel=0) as tar:
            tar.add(source / "test_batch", "cifar-10-batches-py/test_batch")
        whole = (tmp_path / "whole.tar.gz").read_bytes()
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(whole[:len(whole) // 2])
    else:
        for name in cifar10.MD5:
            os.symlink(source / name, tmp_path / name)
        (tmp_path / "data_batch_3").unlink()
        if damage == "truncated":
            (tmp_path / "data_batch_3").write_bytes((source / "data_batch_3").read_bytes()[:1000])
    with pytest.raises(error, match=words) as caught:
        datasets.load("cifar10", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_archive_and_folder_give_the_same(shared_data, tmp_path):
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(shared_data / cifar10.FOLDER, cifar10.FOLDER)
    packed = datasets.load("cifar10", tmp_path)
    plain = datasets.load("cifar10", shared_data / cifar10.FOLDER)
    assert same(packed.labeled, plain.labeled) and same(packed.test, plain.test)
    np.testing.assert_array_equal(packed.unlabeled, plain.unlabeled)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_a_pickle_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    good = {b"data": images, b"labels": [3, 5], b"batch_label": b"one"}
    for protocol in (3, 4):
        split = cifar10.unpickle_batch(pickle.dumps(good, protocol), "a")
        assert split.labels.tolist() == [3, 5]
        assert split.images[1, 0, 1, 2] == images[1, 2 * 1024 + 1]
    attacks = {**good, b"x": Attack()}, Attack(), {**good, b"x": os.system}
    for bad in (*attacks, {b"data": images}, 5):
        with pytest.raises(ValueError, match="a is not a CIFAR-10 python batch"):
            cifar10.unpickle_batch(pickle.dumps(bad), "a")
    assert not (tmp_path / "attacked").exists()
    with pytest.raises(ValueError, match="not a CIFAR-10 python batch"):
        cifar10.unpickle_batch(pickle.dumps(good)[:500], "a")


def test_official_order():
    ids = [b"train_00002", "train_00000", b"train_00003", b"train_00001"]
    np.testing.assert_array_equal(splits.official_order(ids), [1, 3, 0, 2])
    for wrong in (ids[:3] + ids[:1], ids[:1], ["a", "train_00000"]):
        with pytest.raises(ValueError, match="not numbered 0-"):
            splits.official_order(wrong)


def prepare_tfds(monkeypatch, folder, source, per_batch):
    """Lets TFDS's own builder find the binary version of the first examples, without a network."""
    import tensorflow_datasets as tfds
    binary = folder / "cifar-10-batches-bin"
    binary.mkdir(parents=True)
    for name in cifar10.MD5:
        with open(source / name, "rb") as file:
            batch = pickle.load(file, encoding="bytes")
        records = np.concatenate([np.array(batch[b"labels"], np.uint8)[:, None], batch[b"data"]], 1)
        (binary / f"{name}.bin").write_bytes(records[:per_batch].tobytes())
    shutil.copy(source / "batches.meta", binary / "batches.meta.txt")
    (binary / "batches.meta.txt").write_text("\n".join(cifar10.CLASSES) + "\n")
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract",
                        lambda self, url: folder)
    monkeypatch.setattr(tfds_files, "require_network", lambda url: None)


@pytest.mark.slow
def test_tfds_gives_the_official_order(shared_data, tmp_path, monkeypatch):
    source = shared_data / cifar10.FOLDER
    prepare_tfds(monkeypatch, tmp_path / "raw", source, per_batch=60)
    splits = tfds_files.read("cifar10", tmp_path / "tfds")
    official = datasets.load("cifar10", source)
    first = np.concatenate([np.arange(60) + 10000 * i for i in range(5)])
    np.testing.assert_array_equal(splits["train"].images, official.unlabeled[first])
    assert splits["train"].labels[:60].tolist() == official.labeled.labels[:60].tolist()
    assert same(splits["test"], datasets.Split(official.test.images[:60],
                                               official.test.labels[:60]))
    import tensorflow_datasets as tfds    # without the ids the order would not be the official one
    stored = tfds.as_numpy(tfds.load("cifar10", split="train", data_dir=str(tmp_path / "tfds")))
    assert [e["label"] for e in stored] != splits["train"].labels.tolist()
    with pytest.raises(ValueError, match="300 train examples instead of 50000, 60 test examples instead of 10000"):
        datasets.load("cifar10", tmp_path / "tfds")


@pytest.mark.slow
def test_all_of_cifar10_by_tfds_is_the_same_split(shared_data, tmp_path, monkeypatch):
    source = shared_data / cifar10.FOLDER
    prepare_tfds(monkeypatch, tmp_path / "raw", source, per_batch=10000)
    ours, theirs = datasets.load("cifar10", source), datasets.load("cifar10", tmp_path / "tfds")
    assert same(ours.labeled, theirs.labeled) and same(ours.test, theirs.test)
    np.testing.assert_array_equal(ours.unlabeled, theirs.unlabeled)


def test_without_files_or_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(url):
        raise OSError("no route\nto host")
    monkeypatch.setattr(tfds_files, "require_network", unreachable)
    words = "no route to host.*cifar-10-python.tar.gz"
    with pytest.raises(FileNotFoundError, match=words) as caught:
        datasets.load("cifar10", tmp_path / "empty")
    assert "\n" not in str(caught.value) and str(tmp_path / "empty") in str(caught.value)
    assert not (tmp_path / "empty").exists()

"""The same bytes in several places of a folder of images."""

import json
import shutil

import pytest

from data_prep import duplicates, image_folder, unlabeled
from mpl_tf.shards import schema, tfrecord
from tests.data_prep.test_programs import images_of
from tests.data_prep.test_records_made import error_of, prepare
from tests.prep import jpeg, put


def make(root, **places):
    """Writes {place: {name: seed of its picture, or bytes}} under root."""
    for place, files in places.items():
        for name, data in files.items():
            put(str(root / place / name), jpeg(data) if isinstance(data, int) else data)
    return root


@pytest.fixture
def own(tmp_path):
    return make(tmp_path / "own", labeled={f"{c}/{i}.jpg": 10 * k + i for k, c in
                                           enumerate(("cat", "dog")) for i in range(4)},
                unlabeled={f"{i}.jpg": 100 + i for i in range(3)},
                test={"cat/a.jpg": 200, "dog/b.jpg": 201})


def test_only_files_of_equal_size_and_end_are_read(tmp_path, monkeypatch):
    end = b"e" * 5000
    make(tmp_path, d={"a": b"x" + end, "b": b"y" + end, "c": b"x" + end, "short": b"x",
                      "z": b"x" + end[:-1] + b"f"})
    read = []
    digest = duplicates.storage.sha256
    monkeypatch.setattr(duplicates.storage, "sha256", lambda path: read.append(path) or digest(path))
    same = duplicates.same_files(tmp_path / "d", ["a", "b", "c", "short", "z", "absent"])
    assert sorted(same) == ["a", "c"] and same["a"] == same["c"]
    assert len(read) == 3


@pytest.mark.parametrize("places, words", [
    (dict(labeled={"dog/x.jpg": 0}), ("labeled/cat/0.jpg and labeled/dog/x.jpg",
                                      "1 labeled in two classes")),
    (dict(labeled={"dog/x.jpg": 0, "cat/x.jpg": 12}, test={"dog/x.jpg": 11}),
     ("2 labeled in two classes, 1 both to train on and to test with",)),
    (dict(test={"dog/x.jpg": 13}), ("labeled/dog/3.jpg and test/dog/x.jpg",)),
    (dict(test={"dog/x.jpg": 1}), ("labeled/cat/1.jpg and test/dog/x.jpg", "in two classes")),
    (dict(test={"dog/x.jpg": 200}), ("test/cat/a.jpg and test/dog/x.jpg", "in two classes"))])
def test_an_image_in_two_places_is_refused_unless_kept(places, words, own, tmp_path, capsys):
    make(own, **places)
    assert prepare(own, tmp_path / "out", module=image_folder) == 2
    error = error_of(capsys)
    assert all(word in error for word in words) and "--duplicates=keep" in error, error
    assert not (tmp_path / "out").exists()
    if len(places) == 2:
        assert prepare(own, tmp_path / "out", "--duplicates=keep", module=image_folder) == 0
        assert "used as they lie: 2 images in two classes, 1 in labeled/ and test/" in (
            capsys.readouterr().out)
        assert {"labeled/dog/x.jpg", "labeled/cat/x.jpg"} <= set(images_of(tmp_path / "out", "train"))


def test_empty_files_are_no_equal_images(own, tmp_path, capsys):
    """Downloads that failed are alike, and no images: those who cannot be read are named."""
    make(own, labeled={"cat/e.jpg": b"", "dog/e.jpg": b""}, test={"dog/e.jpg": b""})
    assert prepare(own, tmp_path / "out", module=image_folder) == 2
    assert "3 images cannot be read: " in error_of(capsys)


def test_test_images_are_no_unlabeled_ones(own, tmp_path, capsys):
    make(own, unlabeled={"deep/t.jpg": 200, "u.jpg": 2, "v.jpg": 100}, labeled={"cat/copy.jpg": 3})
    assert prepare(own, tmp_path / "out", module=image_folder) == 0
    out = capsys.readouterr().out
    assert "1 unlabeled image is a test image too, byte for byte, such as unlabeled/deep/t.jpg (" \
        "test/cat/a.jpg): left out" in out
    assert "1 unlabeled image is a labeled one too" in out
    assert "2 images are copies of another of the same class or of unlabeled/" in out
    assert sorted(images_of(tmp_path / "out", "unlabeled")) == [
        *(f"unlabeled/{i}.jpg" for i in range(3)), "unlabeled/u.jpg", "unlabeled/v.jpg"]
    sidecar = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert sidecar["test_images_left_out_of_unlabeled"] == 1
    assert sidecar["splits"]["unlabeled"]["examples"] == 5
    shutil.rmtree(own / "unlabeled")
    make(own, unlabeled={"t.jpg": 200})
    assert prepare(own, tmp_path / "none", module=image_folder) == 2
    assert "unlabeled has only images that are test images too" in error_of(capsys)


def test_an_image_that_is_set_aside_takes_its_copies_along(own, tmp_path, capsys):
    """Out of the labeled and the unlabeled images alike."""
    shutil.rmtree(own / "test")
    make(own, labeled={f"{c}/{i}-again.jpg": 10 * k + i for k, c in enumerate(("cat", "dog"))
                       for i in range(4)},
         unlabeled={f"l{i}.jpg": i for i in range(4)})
    assert prepare(own, tmp_path / "out", "--test_fraction=0.3", module=image_folder) == 0
    train, test, others = ({record.encoded for record in images_of(tmp_path / "out", split).values()}
                           for split in ("train", "test", "unlabeled"))
    assert len(train) == 6 and len(test) == 2 and len(others) == 6
    assert not test & (train | others)
    make(own, labeled={"fox/1.jpg": 50, "fox/2.jpg": 50})
    assert prepare(own, tmp_path / "fox", module=image_folder) == 2
    assert "labeled/fox has 1 image in 2 copies: expected at least 2" in error_of(capsys)
    for contents in (b"", b"no image"):
        for i in (1, 2):
            (own / "labeled" / "fox" / f"{i}.jpg").write_bytes(contents)
        assert prepare(own, tmp_path / "fox", "--skip_corrupt", module=image_folder) == 2
        assert "labeled/fox has 2 equal files, which are no images that can be read: expected" in (
            error_of(capsys))


def test_unlabeled_leaves_out_the_test_images_of_a_folder(tmp_path, capsys):
    make(tmp_path, source={f"{i}.jpg": i for i in range(5)}, files={"a/x.jpg": 4, "b.txt": b""})
    for split, seed in (("train", 1), ("test", 2), ("validation", 3)):
        (tmp_path / "shards").mkdir(exist_ok=True)
        tfrecord.write(tmp_path / "shards" / f"{split}-00000-of-00001", [schema.encode(
            schema.Record(jpeg(seed), f"{split}.jpg", label=0))])
    for folder, left in (("shards", "014"), ("files", "0123")):
        assert prepare(tmp_path / "source", tmp_path / f"out-{folder}",
                       f"--exclude_dir={tmp_path / folder}", module=unlabeled) == 0
        out = 5 - len(left)
        assert f"{out} test image{(out != 1) * 's'} of " in capsys.readouterr().out
        assert sorted(images_of(tmp_path / f"out-{folder}", "unlabeled")) == [
            f"{i}.jpg" for i in left]
    for folder, words in (("absent", "--exclude_dir="), ("none", "has no test images: expected")):
        (tmp_path / "none").mkdir(exist_ok=True)
        assert prepare(tmp_path / "source", tmp_path / "no", f"--exclude_dir={tmp_path / folder}",
                       module=unlabeled) == 2
        assert words in error_of(capsys)

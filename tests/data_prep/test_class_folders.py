"""Folders of classes whose names are written otherwise, and what lies in none of them."""

import os
import unicodedata

import pytest

from data_prep import class_folders, folders, image_folder, imagenet
from tests.data_prep.test_equal_images import make, own  # noqa: F401  (a fixture)
from tests.data_prep.test_programs import images_of, sidecar_of
from tests.data_prep.test_records_made import error_of, prepare
from tests.prep import jpeg, put, small_imagenet

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))


def test_names_that_read_the_same():
    assert COMPOSED != DECOMPOSED
    assert class_folders.labels("t", [COMPOSED, "b"], ["a", "b", DECOMPOSED]) == {
        COMPOSED: 2, "b": 1}
    for name, others, expected in (("Cat ", ["cat", "dog"], "cat"), ("dgo", ["cat", "dog"], None),
                                   ("unlabelled", folders.FOLDERS, "unlabeled"),
                                   ("Test", folders.FOLDERS, "test"),
                                   ("notes", folders.FOLDERS, None)):
        assert class_folders.like(name, others) == expected


def test_a_composed_name_in_test_is_the_decomposed_one_in_labeled(own, tmp_path):  # noqa: F811
    make(own, labeled={f"{DECOMPOSED}/1.jpg": 60}, test={f"{COMPOSED}/2.jpg": 61})
    assert prepare(own, tmp_path / "out", module=image_folder) == 0
    sidecar = sidecar_of(tmp_path / "out")
    assert sidecar["class_names"] == [DECOMPOSED, "cat", "dog"]
    assert sidecar["splits"]["test"]["class_histogram"] == [1, 1, 1]
    record = images_of(tmp_path / "out", "test")[f"test/{COMPOSED}/2.jpg"]
    assert record.encoded == jpeg(61) and record.text == DECOMPOSED


@pytest.mark.parametrize("places, words", [
    (dict(test={"Cat/1.jpg": 60}), "test/Cat: there is no such class in labeled/; is 'cat' meant "
                                   "instead of 'Cat'? Then rename it"),
    (dict(test={"cat /1.jpg": 60}), "is 'cat' meant instead of 'cat '?"),
    (dict(test={"fox/1.jpg": 60}), "fox: there is no such class in labeled/; correct its name, or"),
    (dict(labeled={f"{COMPOSED}/1.jpg": 60, f"{DECOMPOSED}/1.jpg": 61}),
     "there are two folders of this name, whose accents are written in different bytes"),
    (dict(labeled={"fox/.1.jpg": 60}), "fox has no images (1 hidden file or folder is left out, "
                                       "such as .1.jpg: rename what")])
def test_refusals(places, words, own, tmp_path, capsys):  # noqa: F811
    make(own, **places)
    assert prepare(own, tmp_path / "out", module=image_folder) == 2
    assert words in error_of(capsys) and not (tmp_path / "out").exists()


def test_what_is_left_out_is_told(own, tmp_path, capsys):  # noqa: F811
    make(own, labeled={"loose.jpg": 60, "Thumbs.db": b"x", "dog/old/er/1.jpg": 61, "dog/._0.jpg": b"x",
                       "Dog_/1.jpg": 66},
         test={"loose2.jpg": 62}, unlabeled={"notes.txt": b"x"}, unlabelled={"1.jpg": 63},
         validation={"cat/1.jpg": 64})
    put(str(own / "top.png"), jpeg(65))
    put(str(own / ".DS_Store"), "x")
    put(str(own / "labeled" / ".DS_Store"), "x")
    os.symlink(own / "absent", own / "labeled" / "fox")
    os.symlink(own / "labeled" / "cat", own / "unlabeled" / "cats")
    assert prepare(own, tmp_path / "out", module=image_folder) == 0
    out = capsys.readouterr().out
    for line in ("unlabelled is not used: only labeled/, unlabeled/ and test/ are; is unlabeled/ "
                 "meant?", "validation is not used: only labeled/, unlabeled/ and test/ are\n",
                 "1 image lies directly in labeled/, such as labeled/loose.jpg, and is left out: put",
                 "1 image lies directly in test/, such as test/loose2.jpg",
                 f"1 image lies directly in {own}, such as top.png",
                 "1 image lies deeper than in a class folder, such as labeled/dog/old/er/1.jpg: its class "
                 "is the uppermost folder, here 'dog'",
                 "has the classes 'Dog_' and 'dog', whose names differ only in case or spaces",
                 "test/ has no images of 1 class, such as 'Dog_'",
                 "2 files that are no images by their name are left out, such as labeled/Thumbs.db\n",
                 "3 hidden files or folders are left out, such as .DS_Store: rename",
                 "1 link leads nowhere, such as labeled/fox",
                 "4 unlabeled images are labeled ones too"):
        assert line in out, line
    assert "unlabeled/cats/0.jpg" in images_of(tmp_path / "out", "unlabeled")


def test_a_linked_class_folder_is_another_class_of_the_same_images(own, tmp_path, capsys):  # noqa: F811
    os.symlink(own / "labeled" / "cat", own / "labeled" / "fox")
    assert prepare(own, tmp_path / "out", module=image_folder) == 2
    assert "labeled/cat/0.jpg and labeled/fox/0.jpg are the same image" in error_of(capsys)


@pytest.mark.parametrize("name", ["test", "unlabeled"])
def test_a_link_to_a_disk_that_is_not_there(name, own, tmp_path, capsys):  # noqa: F811
    os.rename(own / name, own / "x")
    os.symlink(own / "absent", own / name)
    assert prepare(own, tmp_path / "out", module=image_folder) == 2
    assert f"{name} is a link that leads nowhere: expected a folder" in error_of(capsys)


def test_images_in_no_class_at_all(tmp_path, capsys):
    make(tmp_path / "in", labeled={"1.jpg": 1, "2.jpg": 2})
    assert prepare(tmp_path / "in", tmp_path / "out", module=image_folder) == 2
    assert "has 0 folders with classes: expected at least 2, each with its images (2 images lie " \
        "directly in labeled/" in error_of(capsys)
    os.rename(tmp_path / "in" / "labeled", tmp_path / "in" / "Labelled")
    assert prepare(tmp_path / "in", tmp_path / "out", module=image_folder) == 2
    assert "is 'Labelled' meant? Then rename it" in error_of(capsys)


def test_imagenet_tells_it_too(tmp_path, capsys):
    root = small_imagenet(tmp_path / "in")
    put(str(root / "train" / "loose.JPEG"), jpeg(1))
    put(str(root / "val" / "n01440764" / ".x.JPEG"), jpeg(1))
    os.symlink(tmp_path / "absent", root / "val" / "n9")
    assert prepare(root, tmp_path / "out", "--train_shards=1", "--validation_shards=1",
                   module=imagenet) == 0
    out = capsys.readouterr().out
    for line in ("1 image lies directly in train/, such as train/loose.JPEG",
                 "1 hidden file or folder is left out, such as val/n01440764/.x.JPEG",
                 "1 link leads nowhere, such as val/n9"):
        assert line in out, line

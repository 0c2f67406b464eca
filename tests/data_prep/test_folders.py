"""Folders and tar files of images, labeled and not, to shards."""

import io
import os
import re
import shlex
import shutil
import tarfile

import pytest
from PIL import Image

from data_prep import command
from data_prep import features, image_folder
from data_prep import unlabeled
from mpl_tf import config
from tests.conftest import ROOT
from tests.prep import jpeg, picture, put, saved
from tests.data_prep.test_records_made import error_of, prepare
from tests.data_prep.test_programs import classic, images_of, sidecar_of


def make_tar(path, names, mode="w", links=True):
    with tarfile.open(path, mode) as tar:
        for i, name in enumerate(names):
            data = jpeg(i)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, kind, target in (("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
                                   ("hard.jpg", tarfile.LNKTYPE, names[0]),
                                   ("device.jpg", tarfile.CHRTYPE, "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            if links:
                tar.addfile(member)


def test_a_tar_and_a_folder_give_the_same(tmp_path, capsys, monkeypatch):
    names = [f"a/b{i}.jpg" for i in range(6)] + ["./c.PNG"]
    make_tar(tmp_path / "x.tar", [*names, "../out.jpg", "/abs.jpg", "notes.txt", "a/.hidden.jpg"])
    for i, name in enumerate(names):
        put(str(tmp_path / "in" / name), jpeg(i))
    assert prepare(tmp_path / "x.tar", tmp_path / "tar", "--image_size=8") == 0
    assert "6 files that are no images by their name are left out" in capsys.readouterr().out
    assert prepare(tmp_path / "in", tmp_path / "folder", "--image_size=8") == 0
    tar, plain = (images_of(tmp_path / name, "unlabeled") for name in ("tar", "folder"))
    assert tar == plain and sorted(tar) == sorted([*names[:-1], "c.PNG"])
    assert all((r.height, r.width, r.format) == (8, 8, "PNG") for r in tar.values())
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize("damage, words", [
    ("gzip", "is not a whole, uncompressed tar file"), ("cut", "unexpected end of data"),
    ("garbage", "is not a whole, uncompressed tar"), ("doubled", "has 'a.jpg' twice"),
    ("none", "no images are there .1 other file")])
def test_tars_that_cannot_be_used(damage, words, tmp_path, capsys):
    path = tmp_path / "x.tar"
    names = {"doubled": ["a.jpg", "b.jpg", "a.jpg"], "none": ["a.txt"]}.get(damage, ["a.jpg"])
    make_tar(path, names, "w:gz" if damage == "gzip" else "w", links=False)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:900])
    elif damage == "garbage":
        path.write_bytes(b"no tar" * 1000)
    assert prepare(path, tmp_path / "out") == 2
    assert re.search(words, error_of(capsys))


def test_tiny_imagenet(shared_data, tmp_path):
    source = shared_data / "tiny-imagenet-32x32-unlabeled-10k.tar"
    items, others = unlabeled.sources.list_tar(source)
    assert len(items) == 10000 and others == 0
    with tarfile.open(source) as tar:
        by_name = {os.path.normpath(m.name): m for m in tar.getmembers()}
        for item in items[::2000]:
            record = unlabeled.make_record(source, None, item)
            original = tar.extractfile(by_name[item[0]]).read()
            with Image.open(io.BytesIO(original)) as image:
                assert (record.encoded == original) == (image.mode == "RGB")
            assert (record.height, record.width) == (32, 32)


# ------------------------------------------------------------------------------------ image_folder

@pytest.fixture
def own(tmp_path):
    for c, name in enumerate(("cat", "dog", "eel")):
        for i in range(5):
            put(str(tmp_path / "own" / "labeled" / name / f"{i}.jpg"), jpeg(10 * c + i))
    for i in range(4):
        put(str(tmp_path / "own" / "unlabeled" / "deep" / f"{i}.png"),
            saved(picture(200 + i), "PNG"))
    put(str(tmp_path / "own" / "labeled" / "cat" / "Thumbs.db"), "x")
    return tmp_path / "own"


def test_image_folder_sets_a_test_set_aside(own, tmp_path, capsys):
    assert prepare(own, tmp_path / "out", module=image_folder) == 0
    assert "1 file that is no image by its name is left out, such as labeled/cat/Thumbs.db\n" in (
        capsys.readouterr().out)
    sidecar = sidecar_of(tmp_path / "out")
    assert sidecar["class_names"] == ["cat", "dog", "eel"] and sidecar["num_classes"] == 3
    assert "0.2 of each class's labeled images" in sidecar["test"]
    assert {name: split["class_histogram"] for name, split in sidecar["splits"].items()} == {
        "train": [4, 4, 4], "test": [1, 1, 1], "unlabeled": None}
    train, test = (classic(tmp_path / "out", name) for name in ("train", "test"))
    names = [each["image/filename"].decode() for each in (*train, *test)]
    assert len(set(names)) == 15
    for each in (*train, *test):
        _, class_name, _ = each["image/filename"].decode().split("/")
        assert each["image/class/text"].decode() == class_name
        assert each["image/class/label"] == ["cat", "dog", "eel"].index(class_name) + 1
    assert sorted(images_of(tmp_path / "out", "unlabeled")) == [
        f"unlabeled/deep/{i}.png" for i in range(4)]
    assert prepare(own, tmp_path / "half", "--test_fraction=0.5", module=image_folder) == 0
    assert sidecar_of(tmp_path / "half")["splits"]["test"]["class_histogram"] == [2, 2, 2]


def test_image_folder_ends_with_the_command_that_trains(own, tmp_path, capsys):
    out = tmp_path / "out of $5"
    assert prepare(own, out, module=image_folder) == 0
    few, train, without_gpu = capsys.readouterr().out.splitlines()[-3:]
    options = features.parse(shlex.split(few.partition("python -m data_prep.features ")[2]))
    assert options.sources == [str(out)] and options.backbone == "efficientnet-lite0"
    arguments = shlex.split(train.partition("python -m mpl_tf.train ")[2])
    assert config.parse(arguments).data_dir == str(out)
    small = without_gpu.partition("add: ")[2].partition(" (about 20 minutes")[0].split()
    assert config.parse([*arguments, *small]).train_steps == 2000
    readme = " ".join((ROOT / "README.md").read_text().replace("\\\n", " ").split())
    assert " ".join(small) in readme


def test_a_name_with_a_line_end_ends_no_line(own, tmp_path, capsys):
    for name in ("a\nb.png", "labeled/cat/a\nb.txt", "unlabeled/.a\nb"):
        put(str(own / name), saved(picture(7), "PNG"))
    os.rename(own / "labeled" / "eel", own / "labeled" / "e\nel")
    out = tmp_path / "o\nut"
    assert prepare(own, out, module=image_folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and all(r"a\nb" in line for line in lines[:1] + lines[2:3])
    assert r"o\nut: 12 examples" in lines[3] and r"o\nut" in lines[4]
    assert prepare(own, out, module=image_folder) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_image_folder_with_a_test_folder(own, tmp_path):
    for i, name in enumerate(("dog", "eel")):
        put(str(own / "test" / name / "t.jpg"), jpeg(300 + i))
    shutil.rmtree(own / "unlabeled")
    assert prepare(own, tmp_path / "out", module=image_folder) == 0
    splits = sidecar_of(tmp_path / "out")["splits"]
    assert {name: split["class_histogram"] for name, split in splits.items()} == {
        "train": [5, 5, 5], "test": [0, 1, 1]}


@pytest.mark.parametrize("change, flags, words", [
    (lambda s: os.rename(s / "labeled", s / "x"), (), "own: nothing is at labeled/ in it; expected there a folder for each class, with its images\n"),
    (lambda s: os.mkdir(s / "labeled" / "fox"), (), "fox has no images: put some there, or remove"),
    (lambda s: [os.mkdir(s / "labeled" / f"f{n}") for n in range(3)], (),
     "labeled/f1 has no images; "),
    (lambda s: [os.mkdir(s / "labeled" / f"f{n}") for n in range(8)], (),
     "f4 has no images; and 3 more: put some there, or remove"),
    (lambda s: put(str(s / "test" / "fox" / "1.jpg"), "x"), (), "fox: there is no such class in"),
    (lambda s: os.mkdir(s / "test"), (), "test has no folders with classes"),
    (lambda s: put(str(s / "labeled" / "fox" / "1.jpg"), "x"), (), "fox has 1 image: expected at"),
    (lambda s: [os.rename(s / "labeled" / n, s / n) for n in ("cat", "dog")], (),
     "has 1 folder with a class: expected at least 2"),
])
def test_image_folder_refuses(change, flags, words, own, tmp_path, capsys):
    change(own)
    assert prepare(own, tmp_path / "out", *flags, module=image_folder) == 2
    assert words in error_of(capsys) and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        command.main(image_folder.run, ["--source_dir=a", "--output_dir=b", "--test_fraction=1"])

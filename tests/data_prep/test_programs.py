"""What each program of data_prep writes, read back without schema.py where others read it too."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep import cifar10
from data_prep import imagenet
from data_prep import svhn
from mpl_tf import datasets
from mpl_tf.datasets import cifar10 as cifar10_files, prepared
from mpl_tf.shards import record_index, schema, tfrecord
from tests.prep import jpeg, picture, put, saved, small_imagenet
from tests.data_prep.test_records_made import error_of, prepare
from tests.shards.test_schema import CLASSIC
from tests.datasets.test_svhn import small_svhn  # noqa: F401  (a fixture)

SYNSETS = ["n01440764", "n02084071", "n15075141"]


def classic(out, split):
    """All examples of a split as parse_single_example gives them, dicts of NumPy values."""
    files = sorted(str(path) for path in out.glob(f"{split}-*"))
    parsed = [tf.io.parse_single_example(each, CLASSIC) for each in tf.data.TFRecordDataset(files)]
    return [{key: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor)
                   else value).numpy() for key, value in each.items()} for each in parsed]


def images_of(out, split):
    return {r.filename: r for r in (schema.decode(each.numpy(), "", labels=False)
            for each in tf.data.TFRecordDataset(sorted(str(p) for p in out.glob(f"{split}-*"))))}


def sidecar_of(out):
    return json.loads((out / "dataset.json").read_text())


# -------------------------------------------------------------------------------------- ImageNet

@pytest.fixture
def source(tmp_path):
    root = small_imagenet(tmp_path / "in")
    put(str(root / "train" / SYNSETS[0] / "png.JPEG"), saved(picture(50), "PNG"))
    put(str(root / "train" / SYNSETS[1] / "cmyk.JPEG"),
        saved(Image.fromarray(picture(51)).convert("CMYK"), "JPEG"))
    put(str(root / "train" / SYNSETS[2] / "gray.JPEG"), saved(picture(52)[..., 0], "JPEG"))
    return root


SMALL_FLAGS = ("--train_shards=4", "--validation_shards=2")


def test_imagenet_has_the_well_known_layout(source, tmp_path):
    out = tmp_path / "out"
    put(str(tmp_path / "names.txt"), "\n".join(
        f"{s}\t{text}" for s, text in zip(SYNSETS, ("tench, Tinca tinca", "dog", "tissue"))))
    put(str(tmp_path / "boxes.csv"), f"{SYNSETS[1]}_2.JPEG,0.1,0.2,0.5,0.75\n"
        f"{SYNSETS[1]}_2.JPEG,0,0,1,1\nn99_1.JPEG,0,0,1,1\n")
    assert prepare(source, out, *SMALL_FLAGS, f"--synset_names={tmp_path / 'names.txt'}",
                   f"--bounding_boxes={tmp_path / 'boxes.csv'}", module=imagenet) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset.json", *(f"train-0000{i}-of-00004" for i in range(4)), "train.index.npz",
        *(f"validation-0000{i}-of-00002" for i in range(2)), "validation.index.npz"]
    train = {each["image/filename"].decode(): each for each in classic(out, "train")}
    assert len(train) == 15
    for name, each in train.items():
        path = next((source / "train").glob(f"*/{name}"))
        synset = path.parent.name
        assert each["image/class/synset"].decode() == synset
        assert each["image/class/label"] == SYNSETS.index(synset) + 1
        assert (each["image/height"], each["image/width"]) == (24, 32)
        assert each["image/colorspace"] == b"RGB" and each["image/channels"] == 3
        assert each["image/format"] == b"JPEG"
        original = path.read_bytes()
        awkward = name in ("png.JPEG", "cmyk.JPEG", "gray.JPEG")
        assert (each["image/encoded"] == original) != awkward
        pixels = tf.io.decode_jpeg(each["image/encoded"]).numpy()
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB")).astype(float)
        assert pixels.shape == (24, 32, 3) and np.abs(pixels - expected).mean() < 4
    boxed = train[f"{SYNSETS[1]}_2.JPEG"]
    assert boxed["image/class/text"] == b"dog"
    assert boxed["image/object/bbox/label"].tolist() == [2, 2]
    for side, values in (("xmin", [0.1, 0]), ("ymin", [0.2, 0]), ("xmax", [0.5, 1]),
                         ("ymax", [0.75, 1])):
        np.testing.assert_allclose(boxed[f"image/object/bbox/{side}"], values, rtol=1e-6)
    assert not len(train["png.JPEG"]["image/object/bbox/xmin"])
    validation = classic(out, "validation")
    assert [each["image/class/label"] for each in validation] == [1, 2, 3]
    sidecar = sidecar_of(out)
    assert sidecar["class_names"][0] == "tench, Tinca tinca" and sidecar["synsets"] == SYNSETS
    assert sidecar["splits"]["train"]["class_histogram"] == [5, 5, 5]
    index, skipped = record_index.build_index(tfrecord.find_shards(out, "train"), 3)
    stored = record_index.load_index(prepared.index_path(out, "train"))
    assert index.label.tolist() == stored.label.tolist() and not skipped


def flatten(source):
    for i, path in enumerate(sorted((source / "val").glob("*/*"))):
        os.rename(path, source / "val" / path.name)
        os.rmdir(path.parent)


def test_a_flat_val_with_either_list(source, tmp_path):
    flatten(source)
    names = sorted(path.name for path in (source / "val").iterdir())
    put(str(tmp_path / "a.txt"), "".join(f"{SYNSETS[i]}\n" for i in (2, 0, 1)))
    put(str(tmp_path / "b.txt"), "".join(f"{names[i]} {SYNSETS[(i + 2) % 3]}\n" for i in (1, 2, 0)))
    for name in "ab":
        assert prepare(source, tmp_path / name, *SMALL_FLAGS, module=imagenet,
                       *[f"--validation_labels={tmp_path / name}.txt"]) == 0
        assert [(e["image/filename"].decode(), e["image/class/label"])
                for e in classic(tmp_path / name, "validation")] == list(zip(names, (3, 1, 2)))


def test_names_that_are_there_twice_get_their_folder(source, tmp_path):
    for synset in SYNSETS:
        put(str(source / "train" / synset / "1.JPEG"), jpeg(700 + SYNSETS.index(synset)))
    assert prepare(source, tmp_path / "out", "--train_shards=1", "--validation_shards=0",
                   module=imagenet) == 0
    assert f"train/{SYNSETS[0]}/1.JPEG" in images_of(tmp_path / "out", "train")
    assert list(sidecar_of(tmp_path / "out")["splits"]) == ["train"]


@pytest.mark.parametrize("change, flags, words", [
    (lambda s: os.rename(s / "train", s / "x"), (), "nothing is at train/ in it; expected there a folder per"),
    (lambda s: os.rename(s / "val", s / "x"), (), "nothing is at val/ in it; expected there the validation"),
    (lambda s: os.mkdir(s / "train" / "n9"), (), "n9 has no images: unpack its archive"),
    (lambda s: os.rename(s / "val" / SYNSETS[0], s / "val" / "n7"), (), "n7: there is no such"),
    (flatten, (), "val is flat: give --validation_labels"),
    (flatten, ("--validation_labels=absent",), "absent cannot be read"),
    (lambda s: [flatten(s), put(str(s / "l"), "n1\n")], ("--validation_labels={s}/l",),
     "has 1 lines for the 3 images"),
    (lambda s: [flatten(s), put(str(s / "l"), "n1\nn2\nn3\n")], ("--validation_labels={s}/l",),
     "gives 'n1' for ILSVRC2012_val_00000000.JPEG: there is no such synset"),
    (lambda s: [flatten(s), put(str(s / "l"), "a n1\n")], ("--validation_labels={s}/l",),
     "has no line for ILSVRC2012_val_00000000"),
    (lambda s: put(str(s / "l"), "n01440764 tench\n"), ("--synset_names={s}/l",),
     "has no name for n02084071"),
    (lambda s: put(str(s / "l"), "a,0,0,1,1\nb,0,0,1\n"), ("--bounding_boxes={s}/l",), "line 2"),
    (lambda s: put(str(s / "l"), "a,0.5,0,0.4,1\n"), ("--bounding_boxes={s}/l",), "line 1"),
    (lambda s: None, ("--train_shards=16",), "16 shards for the 15 images of train"),
])
def test_imagenet_refuses(change, flags, words, source, tmp_path, capsys):
    change(source)
    flags = [flag.format(s=source) for flag in (*SMALL_FLAGS, *flags)]
    assert prepare(source, tmp_path / "out", *flags, module=imagenet) == 2
    assert words in error_of(capsys) and not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------- CIFAR-10 and SVHN

def test_svhn_from_shards_is_svhn_from_files(small_svhn, tmp_path, capsys):  # noqa: F811
    source, splits = small_svhn
    out = tmp_path / "out"
    assert prepare(source, out, module=svhn) == 0
    assert list(sidecar_of(out)["splits"]) == ["train", "test", "extra"]
    assert not sidecar_of(out)["flip"]
    raw = datasets.load("svhn", source, 20, holdout=3, extra_unlabeled=True)
    ours = datasets.load("svhn", out, 20, holdout=3, extra_unlabeled=True)
    for name in ("labeled", "test", "holdout"):
        np.testing.assert_array_equal(getattr(ours, name).images, getattr(raw, name).images)
        np.testing.assert_array_equal(getattr(ours, name).labels, getattr(raw, name).labels)
    np.testing.assert_array_equal(ours.unlabeled, raw.unlabeled)
    first = classic(out, "train")[0]
    assert first["image/filename"] == b"train_00000" and first["image/class/label"] == 1
    assert first["image/class/text"] == b"0" and first["image/format"] == b"PNG"
    (source / "extra_32x32.mat").unlink()
    assert prepare(source, tmp_path / "two", module=svhn) == 0
    with pytest.raises(ValueError, match="has no split 'extra' of svhn, only train, test"):
        datasets.load("svhn", tmp_path / "two", 20, extra_unlabeled=True)
    with pytest.raises(ValueError, match="holds the prepared data set 'svhn', but 'cifar10' is"):
        datasets.load("cifar10", out)
    (source / "test_32x32.mat").write_bytes(b"x")
    assert prepare(source, tmp_path / "three", module=svhn) == 2
    assert "test_32x32.mat is not a file of SVHN's" in error_of(capsys)


def test_damaged_shards_of_small_images_are_refused(small_svhn, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    assert prepare(small_svhn[0], out, module=svhn) == 0
    shard = out / "train-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + b"x" + whole[1001:])
    with pytest.raises(ValueError, match="train-00000-of-00001, record 0 at byte 0: the checksum"):
        datasets.load("svhn", out, 20)
    shard.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="bytes instead of the .* that it had"):
        datasets.load("svhn", out, 20)
    (out / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="dataset.json is damaged, it lacks 'name': give back"):
        datasets.load("svhn", out, 20)


def test_part_of_cifar10(shared_data, tmp_path, monkeypatch):
    part = {name: datasets.Split(split.images[:70], split.labels[:70]) for name, split in
            cifar10_files.read(shared_data).items()}
    monkeypatch.setattr(cifar10_files, "read", lambda _: part)
    monkeypatch.setattr(cifar10_files, "SIZES", {"train": 70, "test": 70})
    assert prepare(tmp_path, tmp_path / "out", module=cifar10) == 0
    read = prepared.read_arrays(tmp_path / "out", "cifar10", ("train", "test"))
    for name in part:
        np.testing.assert_array_equal(read[name].images, part[name].images)
        np.testing.assert_array_equal(read[name].labels, part[name].labels)
    assert classic(tmp_path / "out", "test")[0]["image/class/text"] == b"cat"


@pytest.mark.slow
def test_all_of_cifar10_from_shards(shared_data, tmp_path):
    assert prepare(shared_data, tmp_path / "out", module=cifar10) == 0
    raw, ours = datasets.load("cifar10", shared_data), datasets.load("cifar10", tmp_path / "out")
    np.testing.assert_array_equal(ours.unlabeled, raw.unlabeled)
    for name in ("labeled", "test"):
        np.testing.assert_array_equal(getattr(ours, name).images, getattr(raw, name).images)
        np.testing.assert_array_equal(getattr(ours, name).labels, getattr(raw, name).labels)


def test_without_the_files_one_line_says_where_they_are(tmp_path, capsys):
    for module, words in ((cifar10, "cifar-10-python.tar.gz"), (svhn, "train_32x32.mat")):
        assert prepare(tmp_path, tmp_path / "out", module=module) == 2
        assert words in error_of(capsys)
    assert not (tmp_path / "out").exists()

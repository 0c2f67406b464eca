"""What dataset.json says, compared with the shards beside it."""

import json
import logging
import os
import shutil

import numpy as np
import pytest

from data_prep import image_folder, inspect
from mpl_tf import datasets
from mpl_tf.datasets import image_folder as image_folder_source, prepared, shard_sets
from mpl_tf.shards import record_index, tfrecord
from tests.data_prep.test_equal_images import make
from tests.data_prep.test_records_made import prepare


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """8 labeled images of 2 classes, 2 test images and 3 unlabeled ones."""
    root = tmp_path_factory.mktemp("prepared")
    make(root / "in", labeled={f"{c}/{i}.jpg": 10 * k + i for k, c in enumerate(("cat", "dog"))
                               for i in range(4)},
         test={"cat/a.jpg": 200, "dog/b.jpg": 201}, unlabeled={f"{i}.jpg": 100 + i for i in range(3)})
    assert prepare(root / "in", root / "out", module=image_folder) == 0
    return root / "out"


@pytest.fixture
def shards(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "shards")


def load(folder, **options):
    return datasets.load("image_folder", data_dir=str(folder), image_size=8, **options)


def edit(folder, change, plan=True):
    """Changes a dataset.json, which is afterwards one without a plan unless `plan`."""
    sidecar = json.loads((folder / prepared.SIDECAR).read_text())
    change(sidecar["splits"])
    if not plan:
        del sidecar["plan"]
    (folder / prepared.SIDECAR).write_text(json.dumps(sidecar))


def test_what_is_whole_is_read(shards):
    data = load(shards)
    assert (len(data.labeled.labels), len(data.unlabeled), len(data.test.labels)) == (8, 11, 2)
    for path in shards.glob("*.npz"):
        path.unlink()       # it is made again
    assert len(load(shards, skip_corrupt=True).unlabeled) == 11


def test_names_of_classes_that_contradict_the_plan_are_refused(shards):
    path = shards / "dataset.json"
    for names, words in ((["a", "a"], "class_names are not those of plan"),
                         (["\ud800", "b"], "expected a name without stray surrogates")):
        sidecar = json.loads(path.read_text())
        count = len(sidecar["class_names"])
        sidecar["plan"]["class_names"] = [f"{k}" for k in range(count)]
        sidecar["class_names"] = [names[0]] + [names[1]] * (count - 1)
        path.write_text(json.dumps(sidecar))
        with pytest.raises(ValueError, match=words) as refusal:
            load(shards)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("change, words", [
    (lambda splits: splits.pop("unlabeled"), "the split 'unlabeled' is in one of splits and plan only"),
    (lambda splits: splits.pop("test"), "the split 'test' is in one of splits and plan only"),
    (lambda splits: splits["unlabeled"].update(examples=4), "says 4 examples of 'unlabeled', but there "
                                                            "are 3"),
    (lambda splits: splits["train"].update(class_histogram=[5, 3]),
     "says 5 examples of label 1 of 'train', but there are 4"),
    (lambda splits: splits["train"].update(class_histogram=[4]), "says 0 examples of label 2 of"),
    (lambda splits: splits["test"]["shards"][0].update(bytes=1), "bytes, but dataset.json says 1"),
])
def test_another_dataset_json_is_refused(change, words, shards):
    edit(shards, change, "in plan" in words or "in one of" in words)
    with pytest.raises(ValueError) as refusal:
        load(shards)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("change, words", [
    (lambda whole: whole["splits"]["unlabeled"].update(examples=4),
     "'unlabeled' has 4 examples and 0 skipped, but 3 in plan"),
    (lambda whole: whole["splits"]["unlabeled"].update(examples=2, skipped=["a"]),
     "'unlabeled' has 2 examples, but 3 in its shards"),
    (lambda whole: whole["splits"]["test"]["shards"][0].update(examples=10 ** 9),
     "'test' has 2 examples, but 1000000000 in its shards"),
    (lambda whole: whole["splits"]["train"].update(class_histogram=[4]),
     "a class_histogram of 1 classes and 4 examples, but 2 classes and 8 examples"),
    (lambda whole: whole["splits"]["train"].update(class_histogram=[5, 4]), "of 2 classes and 9 examples"),
    (lambda whole: whole["splits"]["train"].update(class_histogram=None), "labels, but no class_hist"),
    (lambda whole: whole["splits"]["unlabeled"].update(class_histogram=[1]), "class_histogram, but no l"),
    (lambda whole: whole.update(num_classes=10 ** 9), "2 class_names, but num_classes 1000000000"),
    (lambda whole: whole.update(class_names=None), "0 class_names, but num_classes 2"),
    (lambda whole: whole["class_names"].reverse(), "class_names are not those of plan")])
def test_numbers_that_contradict_each_other_are_refused(change, words, shards):
    """Whatever is trained would be another data set than the one that was prepared."""
    sidecar = json.loads((shards / prepared.SIDECAR).read_text())
    change(sidecar)
    (shards / prepared.SIDECAR).write_text(json.dumps(sidecar))
    with pytest.raises(ValueError, match=f"dataset.json is damaged, .*{words}") as refusal:
        load(shards)
    assert "\n" not in str(refusal.value)


def test_a_split_of_another_preparation_is_refused(shards, whole):
    index = record_index.load_index(whole / "train.index.npz")
    tfrecord.write(shards / "train-00000-of-00001", [index.read(i) for i in range(7)])
    (shards / "train.index.npz").unlink()
    with pytest.raises(ValueError, match="says 8 examples of 'train', but there are 7"):
        load(shards)


def test_the_shards_of_a_run_that_has_not_ended_are_refused(shards):
    (shards / prepared.PROGRESS).mkdir()
    assert len(load(shards).unlabeled) == 11        # it ended after it had written dataset.json
    (shards / prepared.SIDECAR).unlink()
    with pytest.raises(ValueError, match="is not finished, as it has no dataset.json: run the command"):
        shard_sets.read_index(shards, "train")


def _without_dogs(shards, whole, damaged):
    """Others' shards have no index; all records of dogs are damaged, or were never written."""
    index = record_index.load_index(whole / "train.index.npz")
    payloads = [index.read(i) for i in range(8)]
    path = shards / "train-00000-of-00001"
    if damaged:
        data = bytearray(path.read_bytes())
        for offset in index.offset[index.label == 1]:
            data[offset + 20] ^= 255
        path.write_bytes(data)
    else:
        tfrecord.write(path, [payloads[i] for i in range(8) if index.label[i] == 0])
        edit(shards, lambda splits: splits["train"].update(
            examples=4, class_histogram=[4, 0],
            shards=[{"file": path.name, "examples": 4, "bytes": os.path.getsize(path),
                     "sha256": ""}]), plan=False)
    (shards / "train.index.npz").unlink()


@pytest.mark.parametrize("damaged, words", [
    (True, "none of the 4 examples of label 2 of 'train' can be used"),
    (False, "has no labeled training image of 1 of its 2 classes, such as 'dog'")])
def test_a_class_without_a_labeled_image_is_refused(damaged, words, shards, whole):
    _without_dogs(shards, whole, damaged)
    with pytest.raises(ValueError, match=words):
        load(shards, skip_corrupt=True)


def test_another_dataset_json_beside_unlabeled_shards_does_not_matter(shards):
    (shards / prepared.SIDECAR).write_text('{"by": "somebody else"}')
    assert len(shard_sets.load_unlabeled(shards, 8, "inception")) == 11


def test_a_choice_that_leaves_a_class_without_labels_is_told(shards, monkeypatch, caplog):
    monkeypatch.setattr(image_folder_source.shard_sets, "select", lambda labels, count, *_: np.flatnonzero(
        labels == 0)[:count])
    with caplog.at_level(logging.WARNING, "mpl_tf"):
        load(shards, labeled_examples=2)
    assert "1 of 2 classes have no labeled example to train on, such as 'dog'" in caplog.text


def test_inspect_compares_too(shards, capsys):
    from data_prep import command
    for change, words in (
            (lambda splits: splits["train"].update(class_histogram=[5, 3]),
             ("says 5 examples of label 1, but there are 4", "says 3 examples of label 2")),
            (lambda splits: splits.pop("unlabeled"), ("'unlabeled' is in one of splits and plan only",))):
        edit(shards, change)
        assert command.main(inspect.run, [f"--source_dir={shards}", "--workers=1"]) == 1
        out = capsys.readouterr().out
        assert all(word in out for word in words), out

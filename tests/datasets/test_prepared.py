"""dataset.json, whatever became of it after data_prep wrote it; and arrays in damaged files."""

import copy
import errno
import json
import os
import zipfile

import numpy as np
import pytest

from data_prep import unlabeled
from mpl_tf.common import arrays, command
from mpl_tf.datasets import prediction_files, prepared, selection
from mpl_tf.shards import record_index
from mpl_tf.shards.tfrecord import CorruptRecord
from tests.prep import jpeg, put


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder that data_prep wrote, what its dataset.json holds)."""
    folder = tmp_path_factory.mktemp("prepared")
    for i in range(4):
        put(str(folder / "in" / f"{i}.jpg"), jpeg(i))
    assert command.run(unlabeled.run, [f"--source_dir={folder / 'in'}", "--shards=2",
                                       f"--output_dir={folder / 'out'}", "--workers=1"]) == 0
    return folder / "out", json.loads((folder / "out" / prepared.SIDECAR).read_text())


def without(contents, *keys):
    changed = copy.deepcopy(contents)
    *path, last = keys
    inner = changed
    for key in path:
        inner = inner[key]
    del inner[last]
    return changed


DAMAGE = {
    "class_names 5": (lambda c: {**c, "class_names": 5}, "class_names is 5, expected a list"),
    "no flip": (lambda c: without(c, "flip"), "it lacks 'flip'"),
    "a class too many": (lambda c: {**c, "class_names": ["a"], "num_classes": 2},
                         "1 class_names, but num_classes 2"),
    "no split": (lambda c: without(c, "splits", "unlabeled"),
                 "the split 'unlabeled' is in one of splits and plan only"),
    "no split in both": (lambda c: without(without(c, "splits", "unlabeled"), "plan", "splits",
                                           "unlabeled"),
                         "it lacks the split 'unlabeled', whose shards are there"),
    "no split, no plan": (lambda c: without(without(c, "splits", "unlabeled"), "plan"),
                          "it lacks the split 'unlabeled', whose shards are there"),
    "no shard": (lambda c: without(c, "splits", "unlabeled", "shards", 0),
                 "1 shards of 'unlabeled', but 2 in plan"),
    "bytes in words": (lambda c: {**c, "splits": {"unlabeled": {
        **c["splits"]["unlabeled"], "shards": [{"file": "f", "examples": 1, "bytes": "many"}]}}},
        r"splits.unlabeled.shards\[0\].bytes is .many., expected a whole number"),
    "a list": (lambda c: [c], "it is .*expected an object"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_dataset_json_is_one_line(written, damage):
    folder, contents = written
    change, words = DAMAGE[damage]
    path = folder / prepared.SIDECAR
    assert prepared.read_sidecar(folder) == contents
    path.write_text(json.dumps(change(contents)))
    try:
        with pytest.raises(ValueError, match=f"dataset.json is damaged, {words}") as caught:
            prepared.read_sidecar(folder)
        assert "give back the file that data_prep wrote" in str(caught.value)
        assert "\n" not in str(caught.value)
    finally:
        path.write_text(json.dumps(contents))


def test_a_dataset_json_by_hand_may_name_classes_alone(tmp_path):
    contents = {"name": "imagenet", "class_names": ["a", "b"], "splits": {}}
    (tmp_path / prepared.SIDECAR).write_text(json.dumps(contents))
    assert prepared.read_sidecar(tmp_path) == contents


# ----------------------------------------------------------------------------- files of arrays

def npz(path, header, data=b""):
    """Writes an .npz whose arrays all have the header `header`, a dict."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("names", "sizes", "shard", "offset", "length", "number", "label"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.write(data)


HEADERS = {
    "more than memory": {"descr": "<i8", "fortran_order": False, "shape": (10 ** 15,)},
    "more than 64 bits": {"descr": "<i8", "fortran_order": False, "shape": (10 ** 30,)},
    "objects": {"descr": "|O", "fortran_order": False, "shape": (1,)},
    "numbers with a point": {"descr": "<f8", "fortran_order": False, "shape": (0,)},
}


@pytest.mark.parametrize("what", HEADERS)
def test_an_index_with_another_header_is_one_line(what, tmp_path):
    path = tmp_path / "train.index.npz"
    npz(path, HEADERS[what])
    with pytest.raises(CorruptRecord, match="the file is no index of records") as caught:
        record_index.load_index(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number, words", [
    (errno.EACCES, "the index cannot be read .*give this process permission"),
    (errno.EIO, "the index cannot be read .*see that its disk is there"),
    (errno.ENOENT, "train.index.npz is missing: get or prepare its folder again")])
def test_an_index_that_cannot_be_read_is_not_called_damaged(number, words, tmp_path, monkeypatch):
    path = tmp_path / "train.index.npz"

    def refused(*_, **__):
        raise OSError(number, os.strerror(number), str(path))
    monkeypatch.setattr(zipfile, "ZipFile", refused)
    with pytest.raises((CorruptRecord, FileNotFoundError), match=words) as caught:
        record_index.load_index(path)
    assert "no index" not in str(caught.value) and "\n" not in str(caught.value)


def test_labels_that_no_index_has_are_refused(written, tmp_path):
    folder, _ = written
    stored = arrays.read(prepared.index_path(folder, "unlabeled"), [
        "names", "sizes", "shard", "offset", "length", "number", "label"])
    index = record_index.load_index(prepared.index_path(folder, "unlabeled"))
    assert index.label.tolist() == [-1] * 4
    for name in ("label", "number"):
        arrays.write(folder / "x.npz", {**stored, name: stored[name] - 7})
        with pytest.raises(CorruptRecord, match="its arrays do not belong together"):
            record_index.load_index(folder / "x.npz")
    (folder / "x.npz").unlink()


def test_an_archive_that_unpacks_to_far_more_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10_000_000))
    with pytest.raises(ValueError, match="1000.... bytes in a file of"):
        arrays.read(tmp_path / "bomb.npz", ["x"])


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    stored = {"a": np.arange(3), "names": np.array(["x", "yz"]), "model": "m", "bytes": 5}
    arrays.write(tmp_path / "ours.npz", stored)
    np.savez(tmp_path / "numpys.npz", **stored)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


@pytest.mark.parametrize("text, words", [
    ('{"model": 3, "num_classes": 2, "sha256": "x"}', "model is 3, expected text"),
    ('{"model": "m", "num_classes": 2}', "it lacks 'sha256'"), ("[]", "it is \\[\\]")])
def test_a_changed_selection_json_is_one_line(tmp_path, text, words):
    (tmp_path / selection.REPORT).write_text(text)
    with pytest.raises(ValueError, match=f"selection.json is damaged, {words}.*select again"):
        selection.load(str(tmp_path))


def test_arrays_of_a_selection_that_do_not_belong_together(tmp_path):
    chosen = selection.Selection(("s-00000-of-00001",), np.array([5]), np.array([0, 1]),
                                 np.array([0, 1]), np.array([b"a", b"b"]), np.array([0, 0]),
                                 np.array([1.0, 1.0]))
    selection.save(str(tmp_path), chosen, {"model": "m", "num_classes": 2})
    with pytest.raises(ValueError, match="its arrays do not belong together: select again"):
        selection.load(str(tmp_path))
    assert prediction_files.CONTENTS["shards"]

"""Stored predictions: what is written, how it is found again, and everything that is refused."""

import errno
import zipfile

import numpy as np
import pytest

from mpl_tf.datasets import prediction_files, predictions, shard_sets
from mpl_tf.shards.images import ShardImages
from tests.stored import CLASSES, change, colors, predicted, write_images

FIRST, SECOND = "unlabeled-00000-of-00002", "unlabeled-00001-of-00002"


@pytest.fixture
def stored(tmp_path):
    """(folder of predictions, folder of shards, Index of them)."""
    source = write_images(tmp_path / "shards")
    predicted(tmp_path / "predictions", source)
    index = shard_sets.read_index(source, "unlabeled", labeled=np.zeros(2, bool))
    return tmp_path / "predictions", source, index


def evaluation_view(index):
    images = ShardImages(index, 8, "whole")
    return images._evaluation_batch(np.arange(len(index)))


def test_each_example_gets_its_own_row_in_any_order(stored):
    folder, _, index = stored
    expected = colors(evaluation_view(index)).astype(np.float16)
    np.testing.assert_array_equal(predictions.load(str(folder), index, 3), expected)
    chosen = np.array([11, 0, 4, 5, 0, 7])
    np.testing.assert_array_equal(
        predictions.load(str(folder), index.subset(chosen), 3, tuple(CLASSES)), expected[chosen])


def test_what_a_shard_holds(stored):
    folder, _, _ = stored
    plan = prediction_files.read_plan(str(folder))
    shard = prediction_files.read_shard(str(folder), SECOND, plan)
    assert shard.key.tolist() == [b"%03d.png" % i for i in range(5, 12)]
    assert shard.number.tolist() == list(range(7)) and shard.probs.dtype == np.float16
    np.testing.assert_array_equal(shard.top, shard.probs.argmax(axis=1))
    np.testing.assert_allclose(1 - shard.rest, shard.probs.max(axis=1), atol=1e-3)


def test_rest_tells_apart_what_float16_does_not(tmp_path):
    def certain(images):
        rest = 1e-5 * (1 + np.arange(len(images), dtype=np.float32))
        return np.stack([rest, 1 - 2 * rest, rest], axis=1)
    source = write_images(tmp_path / "shards", counts=(4,))
    plan = predicted(tmp_path / "out", source, network=certain)
    shard = prediction_files.read_shard(str(tmp_path / "out"), "unlabeled-00000-of-00001", plan)
    assert (shard.probs[:, 1] == 1).all()
    np.testing.assert_allclose(shard.rest, 2e-5 * np.arange(1, 5), rtol=1e-6)


def test_a_large_result_stays_on_disk(stored, monkeypatch):
    folder, _, index = stored
    expected = predictions.load(str(folder), index, 3)
    monkeypatch.setattr(predictions, "IN_MEMORY", 10)
    found = predictions.load(str(folder), index, 3)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, expected)


# What is refused, each in one line that names the file and the fix.

@pytest.mark.parametrize("values", [
    dict(num_classes="3"), dict(class_names=["ant", "bee"]), dict(shards=[FIRST]),
    dict(shards={FIRST: "5"}), dict(view=[8, "whole"]), dict(model=None), dict(sources="x"),
    dict(more=1)])
def test_a_plan_that_is_none_is_one_line(stored, values):
    change(stored[0], None, plan=True, **values)
    with pytest.raises(ValueError, match="predictions.json is damaged, .*data_prep.predict"):
        prediction_files.read_plan(str(stored[0]))


REFUSED = {
    "another network": (dict(model="model-b"), "is of another network .*: move it elsewhere, and write it"),
    "classes": (dict(probs=np.full([7, 4], 0.25, np.float16)), "4 classes instead of 3: move"),
    "file": (dict(bytes=5), "of a file .* of 5 bytes, but .* has .*: move it elsewhere"),
    "NaN": (dict(probs=lambda p: np.where(p > 2, p, np.nan)), "row 0 has NaN .7 such rows"),
    "negative": (dict(probs=lambda p: p - np.float16(0.4)), "a negative probability"),
    "sum": (dict(probs=lambda p: p * np.float16(0.98)), "a sum of 0.98.* sum to 1 within 0.01"),
    "duplicate key": (dict(key=lambda k: np.repeat(k[:1], 7)), "005.png is there 7 times"),
    "missing record": (dict(number=lambda n: n + (n > 3)), "one is missing or there twice"),
    "twice": (dict(number=lambda n: n - (n > 3)), "one is missing or there twice"),
    "lengths": (dict(top=lambda t: t[1:]), "do not belong together"),
    "elsewhere": (dict(key=lambda k: np.array([*k[:2], b"000.png", *k[3:]])), "000.png is predicted 2 ti"),
    "prepared again": (dict(key=lambda k: k[::-1]), "record 0 is of 011.png, but .* has 005.png"),
    "no class": (dict(top=lambda t: t - 5), "row 0 gives class -.* .7 such rows., but its"),
    "another class": (dict(top=lambda t: (t + 1) % 3), "row . gives class .* distribution says oth"),
    "rest": (dict(rest=lambda r: r * np.nan), "row 0 gives class .*probability nan .7 such rows"),
    "more than one": (dict(rest=lambda r: r - 3), "row 0 gives class .* probability [34]")}


@pytest.mark.parametrize("what", REFUSED)
def test_predictions_that_are_refused(stored, what):
    folder, _, index = stored
    values, said = REFUSED[what]
    change(folder, SECOND, **values)
    with pytest.raises(ValueError, match=said) as error:
        predictions.load(str(folder), index, 3)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_missing_foreign_and_damaged_files_are_refused(stored, tmp_path):
    folder, source, index = stored
    load = lambda *args: predictions.load(str(folder), *args)
    for arguments, said in [((index, 4), "of 3 classes, but the data have 4"),
                            ((index, 3, ("ant", "bee", "dog")), "class 2 is 'cat', but 'dog'")]:
        with pytest.raises(ValueError, match=said):
            load(*arguments)
    others = write_images(tmp_path / "others", counts=(3, 3))
    with pytest.raises(ValueError, match="of a file of .* bytes, but .*others.*data were changed"):
        load(shard_sets.read_index(others, "unlabeled", labeled=np.zeros(2, bool)), 3)
    third = write_images(tmp_path / "third", "more", counts=(3,))
    with pytest.raises(ValueError, match="no predictions of more-00000-of-00001, only of 2"):
        load(shard_sets.read_index(third, "more", labeled=np.zeros(1, bool)), 3)
    data = (folder / f"{FIRST}.npz").read_bytes()
    (folder / f"{FIRST}.npz").write_bytes(data[:-40])
    with pytest.raises(ValueError, match=f"{FIRST}.npz is damaged .*: move it elsewhere"):
        load(index, 3)
    for number, said in ((errno.EACCES, "cannot be read .denied.: give this process permission"),
                         (errno.EIO, "cannot be read .denied.: give")):
        def refused(*_, number=number, **__):
            raise OSError(number, "denied")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np, "load", refused)
            patch.setattr(zipfile, "ZipFile", refused)
            for reader in (lambda: load(index, 3), lambda: prediction_files.count(folder, FIRST),
                           lambda: prediction_files.fingerprint(folder)):
                with pytest.raises(ValueError, match=said) as caught:
                    reader()
                assert "delete" not in str(caught.value) and "damage" not in str(caught.value)
    (folder / f"{FIRST}.npz").unlink()
    with pytest.raises(ValueError, match="has not been predicted; run the same .* to the end"):
        load(index, 3)
    with pytest.raises(ValueError, match="predictions.json is missing"):
        predictions.load(str(tmp_path), index, 3)


def test_damaged_archives_are_one_line(stored):
    """Every byte of the archive's own structures flipped, one at a time."""
    folder, _, index = stored
    path = folder / f"{FIRST}.npz"
    content = path.read_bytes()
    headers = [i for i in range(len(content) - 4) if content[i:i + 2] == b"PK"]
    refused = 0
    for start in headers:
        for place in range(start, min(start + 34, len(content))):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1:])
            for use in (lambda: predictions.load(str(folder), index, 3),
                        lambda: prediction_files.count(str(folder), FIRST),
                        lambda: prediction_files.fingerprint(str(folder))):
                try:
                    use()
                except ValueError as error:
                    assert FIRST in str(error) and "\n" not in str(error)
                    refused += 1
    assert refused > 300


# Data sets in memory: by the number in the key.

def test_arrays_are_aligned_by_number(tmp_path):
    names = "train_{:05d}"
    predicted(tmp_path / "out", write_images(tmp_path / "shards", "train", name=names))
    folder = str(tmp_path / "out")
    index = shard_sets.read_index(str(tmp_path / "shards"), "train", labeled=np.zeros(2, bool))
    expected = predictions.load(folder, index, 3)
    np.testing.assert_array_equal(predictions.load_for_arrays(folder, "train", 12, 3), expected)
    for arguments, said in [(("train", 13, 3), "lacks 1 of the 13 .* first is train_00012"),
                            (("train", 9, 3), "expected train_00000 to train_00008"),
                            (("extra", 5, 3), "no predictions of shards of 'extra', only of 'tr"),
                            (("train", 12, 9), "of 3 classes, but the data have 9")]:
        with pytest.raises(ValueError, match=said):
            predictions.load_for_arrays(folder, *arguments)
    change(tmp_path / "out", "train-00001-of-00002", key=lambda k: np.array(
        [b"train_00000", *k[1:]]))
    with pytest.raises(ValueError, match="train_00000 is predicted twice"):
        predictions.load_for_arrays(folder, "train", 12, 3)

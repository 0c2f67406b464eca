"""What JSON has to hold: the right value, and the words for each kind of wrong one."""

import json

import pytest

from mpl_tf.common import storage
from mpl_tf.common.structure import WHOLE, mismatch

EXPECTED = {"name": str, "names?": ([str], None), "flip?": bool, "rate?": float,
            "splits": {...: {"shards": [{"file": str, "bytes": WHOLE}]}}}
RIGHT = {"name": "a", "names": ["x"], "flip": True, "rate": 1, "later": [],
         "splits": {"train": {"shards": [{"file": "f", "bytes": 3}]}}}


def test_what_was_written_is_right():
    assert mismatch(RIGHT, EXPECTED) == ""
    assert mismatch({"name": "a", "names": None, "splits": {}}, EXPECTED) == ""
    assert [mismatch(value, kind) for value, kind in (
        (2.5, float), (2 ** 63 - 1, WHOLE), (-1, int), ([], [int]), ({}, {...: int}))] == [""] * 5


@pytest.mark.parametrize("change, words", [
    (dict(name=None), "name is null, expected text"),
    (dict(names=5), "names is 5, expected a list [...] or null"),
    (dict(names=["x", 5]), "names[1] is 5, expected text"),
    (dict(flip=1), "flip is 1, expected true or false"),
    (dict(rate=True), "rate is true, expected a number"),
    (dict(rate=float("inf")), "rate is Infinity, expected a number"),
    (dict(rate=10 ** 400), "rate is 1" + "0" * 39 + "..., expected a number"),
    (dict(splits=[]), "splits is [], expected an object {...}"),
    (dict(splits={"train": {}}), "splits.train lacks 'shards'"),
    (dict(splits={"train": {"shards": [{"file": "f", "bytes": 3}, {"file": "g"}]}}),
     "splits.train.shards[1] lacks 'bytes'"),
    (dict(splits={"train": {"shards": [{"file": "f", "bytes": True}]}}),
     "splits.train.shards[0].bytes is true, expected a whole number of 0 or more (below 2^63)"),
    (dict(splits={"train": {"shards": [{"file": "f", "bytes": -1}]}}),
     "splits.train.shards[0].bytes is -1, expected a whole number of 0 or more (below 2^63)"),
])
def test_what_is_wrong_is_named_with_its_place(change, words):
    assert mismatch({**RIGHT, **change}, EXPECTED) == words


def test_a_file_of_json_is_read_with_what_it_has_to_hold(tmp_path):
    path = tmp_path / "note.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(RIGHT).encode())      # as Notepad writes it
    assert storage.read_json(path, expected=EXPECTED) == RIGHT
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"note.json is damaged, it is \[1\], expected an object "
                       r"{...}: get or write it again"):
        storage.read_json(path)
    assert storage.read_json(tmp_path / "absent.json", expected=EXPECTED) is None

"""What a spreadsheet would run, or a CSV reader take apart, is written so that neither happens."""

import csv
import os

import pytest

from mpl_tf.common import spreadsheet

HOSTILE = ["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", " =HYPERLINK(\"x\")", "\uff1d1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_a_formula(text):
    for value in (text, spreadsheet.Path(text)):
        written = spreadsheet.cell(value)
        assert written.lstrip()[0] in "'." and written.endswith(text)
    assert os.path.normpath(spreadsheet.cell(spreadsheet.Path("-2"))) == "-2"       # the same file


@pytest.mark.parametrize("text", [*HOSTILE, *(f"'{text}" for text in HOSTILE), "''-2", "cat", "'cat'", "'", "", "a=b", "it's"])
def test_a_text_is_had_back(text):
    assert spreadsheet.plain(spreadsheet.cell(text)) == text


def test_a_table_is_read_back(tmp_path):
    rows = [["a,b", 'say "no"', "two\nlines", 0.25, -3, None], ["$5_to_$20", "../x", "<script>", "é", "x\udcff", 1]]
    path = tmp_path / "table.csv"
    spreadsheet.write(path, ["one", "two", "three", "four", "five", "six"], rows)
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, *found = csv.reader(file)
    assert header[0] == "one" and found == [
        ["a,b", 'say "no"', "two\nlines", "0.25", "-3", ""], ["$5_to_$20", "../x", "<script>", "é", "x\\udcff", "1"]]
    assert spreadsheet.text(["one", "two", "three", "four", "five", "six"], rows) == path.read_text("utf-8-sig")
    assert os.listdir(tmp_path) == ["table.csv"]


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    spreadsheet.write(path, ["x"], [[1]])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        spreadsheet.write(path, ["x"], ([1 / each] for each in (1, 0)))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["table.csv"]

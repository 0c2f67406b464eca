"""A picture that cannot be drawn ends no run."""

import errno
import os
import warnings

import pytest

from mpl_tf.common import pictures


def test_a_picture_is_written_whole_or_warned_of_once(tmp_path, said):
    path = str(tmp_path / "a.png")
    pictures.write(path, lambda file: file.write(b"whole"))

    def fails(file):
        file.write(b"half")
        raise RuntimeError("a font\nis \udcff missing")
    for _ in range(3):
        pictures.write(path, fails)
    assert said() == [f"{path} could not be drawn (RuntimeError: a font is \\udcff missing);"
                      " everything else goes on"]
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"whole"


def test_characters_that_the_font_lacks_are_one_line(tmp_path, said, recwarn, monkeypatch):
    from matplotlib.figure import Figure
    monkeypatch.setattr(pictures, "_warned", set())

    def draw(file):
        warnings.warn("something else")
        figure = Figure()
        figure.text(0.5, 0.5, "\u540d\u524d \uac00")
        figure.savefig(file)
    for name in ("a.png", "b.png"):
        pictures.write(str(tmp_path / name), draw)
    assert said() == ["the font of the pictures lacks characters such as U+540D, which are drawn as boxes"]
    assert "something else" in {str(each.message) for each in recwarn}
    assert not [each for each in recwarn if "Glyph" in str(each.message)]
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_what_is_no_fault_of_the_picture_goes_through(error):
    with pytest.raises(type(error)), pictures.or_warn("a picture"):
        raise error


@pytest.mark.parametrize("name, expected", [
    ("cat", "cat"), ("a_very_long_name_of_a_class_2", "a_very_lo…_class_2"), ("x\n\udcff", "x\\n\\udcff"),
    ("x" * 10_000, "x" * 9 + "…" + "x" * 8)])
def test_long_names_lose_their_middle(name, expected):
    assert pictures.shortened(name, lambda text: len(text) <= 18) == expected


def test_names_are_short_whatever_the_room_and_where_there_is_none():
    assert len(pictures.shortened("x" * 10_000, lambda text: True)) == pictures.MOST_LETTERS + 1
    assert len(pictures.shortened("x" * 10_000, lambda text: False)) == 3

"""Flag files as editors write them, and more of them than anybody means."""

import codecs

import pytest

from mpl_tf import config
from mpl_tf.config import flag_files

LINES = "# Größe\n--seed=7\n\n--split_seed=3\n"


def parse(path):
    return config.parse([f"--flagfile={path}", "--model_dir=x"])


@pytest.mark.parametrize("data", [
    LINES.encode(), codecs.BOM_UTF8 + LINES.encode(),
    codecs.BOM_UTF8 + LINES.replace("\n", "\n\ufeff").encode(), LINES.replace("\n", "\r\n").encode("utf-8-sig"),
    LINES.encode("utf-16"), codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
    LINES.replace("\n", "\r").encode()],
    ids=["UTF-8", "mark", "marks", "Windows", "UTF-16", "big-endian", "old Mac"])
def test_a_file_of_any_editor_is_read(data, tmp_path):
    (tmp_path / "a.cfg").write_bytes(data)
    assert (parse(tmp_path / "a.cfg").seed, parse(tmp_path / "a.cfg").split_seed) == (7, 3)


@pytest.mark.parametrize("data, words", [
    (b"\x89PNG\r\n\x1a\n\xff\xff", "cannot be read as text .it is a PNG image."),
    (b"--seed=\xff7", "cannot be read as text"), (b"--model_dir=a\0b", "has null characters"),
    ("--seed=7".encode("utf-16-le"), "has null characters"), (b"#" * (1 << 21), "has more than 1048576"),
    (codecs.BOM_UTF16_LE + b"a", "cannot be read as text")])
def test_what_is_no_text_is_one_line(data, words, tmp_path):
    (tmp_path / "a.cfg").write_bytes(data)
    with pytest.raises(ValueError, match=f"--flagfile=.*a.cfg {words}.*: expected a file") as caught:
        parse(tmp_path / "a.cfg")
    assert "\n" not in str(caught.value)


def test_a_file_without_end_is_not_read_to_it():
    with pytest.raises(ValueError, match="--flagfile=/dev/zero has more than 1048576 bytes"):
        parse("/dev/zero")


def test_files_that_include_the_next_one_twice_end_at_once(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.cfg").write_text(f"--flagfile={i + 1}.cfg\n" * 2)
    (tmp_path / "30.cfg").write_text("--seed=7\n")
    with pytest.raises(ValueError, match=r"--flagfile=\d+.cfg .in .*cfg.: .* at most 1000 of them"):
        parse(tmp_path / "0.cfg")
    assert parse(tmp_path / "22.cfg").seed == 7     # 511 readings: a shared file may be named often


def test_files_that_lie_too_deep_are_one_line(tmp_path):
    for i in range(1500):
        (tmp_path / f"{i}.cfg").write_text(f"--flagfile={i + 1}.cfg\n")
    (tmp_path / "1500.cfg").write_text("--seed=7\n")
    with pytest.raises(ValueError, match="--flagfile=100.cfg .in .*99.cfg.: .* at most 100 deep"):
        parse(tmp_path / "0.cfg")
    assert parse(tmp_path / "1401.cfg").seed == 7       # 100 files
    assert flag_files.DEEPEST == 100

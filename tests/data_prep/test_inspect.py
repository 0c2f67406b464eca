"""What data_prep.inspect says about shards, ours and others', whole and broken."""

import json
import os

import pytest
from PIL import Image

from data_prep import command
from data_prep import image_folder
from data_prep import imagenet
from data_prep import inspect
from data_prep import unlabeled
from mpl_tf.shards import montage, schema, tfrecord
from tests.prep import jpeg, picture, put, saved, small_imagenet
from tests.data_prep.test_records_made import error_of, prepare
from tests.shards.test_schema import by_hand


def look(source, *flags):
    return command.main(inspect.run, [f"--source_dir={source}", "--workers=1", *flags])


@pytest.fixture
def shards(tmp_path):
    small_imagenet(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--train_shards=2", "--validation_shards=1",
                   module=imagenet) == 0
    return tmp_path / "out"


def test_whole_shards(shards, tmp_path, capsys):
    capsys.readouterr()
    assert look(shards, f"--output_dir={tmp_path / 'report'}") == 0
    out = capsys.readouterr().out
    assert "train: 12 records in 2 files" in out and "12 JPEG RGB" in out
    assert len(out.splitlines()) == 13 and "\n  height: 24; width: 32\n" in out
    assert "12 labeled, 3 classes, examples of each: 4\n" in out
    assert "\n  n01440764 4, n02084071 4, n15075141 4\n" in out
    assert "image/class/label" not in out and out.count("broken: nothing") == 2
    assert out.endswith(f"\nin {tmp_path / 'report'}: report.json, train.png, validation.png\n")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["train"]["height"] == {"least": 24, "median": 24, "most": 24}
    assert report["train"]["keys"]["image/class/label"] == {"int64 x 1": 12}
    assert f"\n  {len(report['train']['keys'])} keys are in every one of 12 records\n" in out
    assert report["validation"]["class_histogram"]["2"] == {"examples": 1, "text": "n15075141"}
    with Image.open(tmp_path / "report" / "train.png") as sheet:
        assert sheet.size == (8 * 100, 2 * 110) and len(sheet.convert("RGB").getcolors(10 ** 6)) > 99
    assert look(shards, f"--output_dir={tmp_path / 'report'}") == 2
    assert "holds a report.json already" in error_of(capsys)
    assert look(shards, f"--output_dir={tmp_path / 'report'}", "--overwrite") == 0


def test_a_montage_that_cannot_be_drawn_breaks_nothing(shards, tmp_path, capsys, monkeypatch, caplog):
    def fails(*_):
        raise ValueError("no such font")
    monkeypatch.setattr(inspect.montage, "sheet", fails)
    assert look(shards, f"--output_dir={tmp_path / 'report'}") == 0
    assert sorted(os.listdir(tmp_path / "report")) == ["report.json"]
    assert "train.png could not be drawn (ValueError: no such font)" in caplog.text
    monkeypatch.setattr(inspect.montage, "tile", fails)     # of a sound image
    assert look(shards) == 0 and capsys.readouterr().out.count("broken: nothing") == 4


def test_names_of_classes_move_no_terminal(tmp_path, capsys):
    bell, turned = "\x1b[31mRED\x1b]0;title\x07", "\u202eabc"
    for number, name in enumerate((bell, turned, "Äpfel")):
        for i in range(3):
            put(str(tmp_path / "in" / "labeled" / name / f"{i}.jpg"), jpeg(10 * number + i))
        put(str(tmp_path / "in" / "labeled" / name / "note.txt"), b"x")
    assert prepare(tmp_path / "in", tmp_path / "out", module=image_folder) == 0
    assert look(tmp_path / "out") == 0
    told = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07", "\u202e"} & set(told)
    assert r"\x1b[31mRED\x1b]0;title\x07 2" in told and r"\u202eabc 2" in told


def test_unlabeled_images_have_their_files_names_below_them(tmp_path):
    names = [b"$5_to_$20.png", b"deep/er/bad\xff\n.png"]
    for number, name in enumerate(names):
        put(os.path.join(os.fsencode(tmp_path / "in"), name), saved(picture(number), "PNG"))
    assert prepare(tmp_path / "in", tmp_path / "out", module=unlabeled) == 0
    [shard] = (tmp_path / "out").glob("unlabeled-0*")
    found = inspect.inspect_file(str(shard), num_tiles=9)
    assert sorted(os.fsencode(caption) for caption, _ in found["tiles"]) == sorted(
        os.path.basename(name) for name in names)
    assert look(tmp_path / "out", f"--output_dir={tmp_path / 'report'}") == 0
    with Image.open(tmp_path / "report" / "unlabeled.png") as sheet:
        below = sheet.convert("L").crop((0, montage.TILE, *sheet.size))
        assert all(below.crop((x, 0, x + 20, 14)).getextrema()[0] < 128 for x in (0, montage.TILE + 4))


def test_unlabeled_shards(tmp_path, capsys):
    put(str(tmp_path / "in" / "a.png"), saved(picture(1), "PNG"))
    assert prepare(tmp_path / "in", tmp_path / "out", module=unlabeled) == 0
    assert look(tmp_path / "out") == 0
    assert "\n  unlabeled\n" in capsys.readouterr().out


def test_broken_shards_of_others(tmp_path, capsys):
    good = by_hand(encoded=[jpeg(1)], height=[24], width=[32], filename=[b"1"])
    tfrecord.write(tmp_path / "train-00000-of-00003", [
        good, by_hand(encoded=[b"no image"], filename=[b"2"]), by_hand(class__label=[0]),
        b"garbage", good, by_hand(encoded=[jpeg(1)], height=[5], width=[5], filename=[b"3"])])
    tfrecord.write(tmp_path / "train-00002-of-00003", [
        by_hand(encoded=[jpeg(i)], height=[24], width=[32], filename=[b"%d" % (i + 10)],
                class__label=[7], channels=None if i == 0 else [3]) for i in range(3)])
    with open(tmp_path / "train-00002-of-00003", "r+b") as file:
        file.truncate(os.path.getsize(tmp_path / "train-00002-of-00003") - 9)
    assert look(tmp_path) == 1
    out = capsys.readouterr().out
    broken = out.partition("broken: ")[2].splitlines()
    assert broken[0] == "7" and len(broken) == 8
    for words in ("train-00001-of-00003 is missing", "00002-of-00003, record 2 at byte",
                  *(f"00000-of-00003, record {i} at byte" for i in range(1, 6))):
        assert any(words in line for line in broken[1:]), words
    for words in ("cannot be decoded", "background class", "no tf.train.Example", "24 x 32 pixels, "
                  "but the record says 5 x 5", "the same record as", "truncated"):
        assert words in out
    assert "4 labeled, 2 classes" in out
    assert "  9 keys are in every one of 7 records\n  image/channels: 6 int64 x 1\n  broken" in out
    assert look(tmp_path, "--skip_corrupt") == 0


def test_a_prepared_shard_that_lost_whole_records(shards, capsys):
    path = shards / "train-00001-of-00002"
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.truncate(offsets[-1])
    assert look(shards) == 1
    assert "5 records are not, byte for byte, those that were prepared (6 records)" in (
        capsys.readouterr().out)


def test_nothing_to_inspect(tmp_path, capsys):
    assert look(tmp_path) == 2
    assert "has no shards: expected files like train-00000-of-01024" in error_of(capsys)
    assert look(tmp_path / "absent") == 2
    assert "nothing is there; expected a folder of shards" in error_of(capsys)
    (tmp_path / "train-00000-of-00001").write_bytes(b"")
    assert look(tmp_path) == 1
    assert schema.ENCODED not in capsys.readouterr().out

"""The driver of data_prep: resuming, refusals, --overwrite, --skip_corrupt."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from data_prep import command
from data_prep import output
from data_prep import shards
from data_prep import sources
from data_prep import unlabeled
from data_prep import workers as work
from mpl_tf.datasets import prepared
from mpl_tf.shards import record_index, schema, tfrecord
from tests.prep import contents, jpeg, put


def prepare(source, target, *flags, module=unlabeled):
    return command.main(module.run, [f"--source_dir={source}", f"--output_dir={target}",
                                     "--workers=1", *flags])


def error_of(capsys):
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


@pytest.fixture
def folder(tmp_path):
    """A folder with 20 images at several depths."""
    for i in range(20):
        put(str(tmp_path / "in" / "ab"[i % 2] / f"{i:02}.jpg"), jpeg(i))
    return tmp_path / "in"


def test_what_lies_in_a_finished_folder(folder, tmp_path):
    out = tmp_path / "out"
    assert prepare(folder, out, "--shards=3", "--seed=5") == 0
    names = [f"unlabeled-0000{i}-of-00003" for i in range(3)]
    assert sorted(os.listdir(out)) == ["dataset.json", *names, "unlabeled.index.npz"]
    sidecar = json.loads((out / "dataset.json").read_text())
    split = sidecar["splits"]["unlabeled"]
    assert split["examples"] == 20 and not split["labeled"] and split["class_histogram"] is None
    assert [shard["examples"] for shard in split["shards"]] == [6, 7, 7]
    assert sidecar["seed"] == 5 and "--seed=5" in sidecar["command"]
    for shard in split["shards"]:
        data = (out / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    stored = record_index.load_index(prepared.index_path(out, "unlabeled"))
    built, _ = record_index.build_index(tfrecord.find_shards(out, "unlabeled"), labels=False)
    for name in ("paths", "sizes", "shard", "number", "offset", "length", "label"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(built, name))
    found = [schema.decode(stored.read(i), "", labels=False) for i in range(20)]
    order = [record.filename for record in found]
    assert sorted(order) == sorted(f"{'ab'[i % 2]}/{i:02}.jpg" for i in range(20))
    assert order != sorted(order) and len({record.encoded for record in found}) == 20
    for record in found:
        assert record.encoded == (folder / record.filename).read_bytes() and record.label is None


def test_the_seed_decides_the_order(folder, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert prepare(folder, tmp_path / name, f"--seed={seed}") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")
    items = [(f"{i}",) for i in range(50)]
    order = sources.shuffled(items, 3)
    assert order == sources.shuffled(items[::-1], 3) and sorted(order) == sorted(items)
    assert order[:4] == [("1",), ("15",), ("3",), ("44",)]   # printf "3\n\n%s" 1 | b2sum -l 128


def test_interrupted_anywhere_it_continues(folder, tmp_path, monkeypatch):
    """Killed before and after each step of each shard, with what was half written left behind."""
    assert prepare(folder, tmp_path / "whole", "--shards=4") == 0
    expected = contents(tmp_path / "whole")

    class Killed(BaseException):
        pass

    def dying(function, calls):
        state = {"left": calls}

        def call(*arguments):
            if state["left"] == 0:
                raise Killed
            state["left"] -= 1
            return function(*arguments)
        return call

    moments = [(work.os, "replace", n) for n in (0, 1, 3)]
    moments += [(output.storage, "write_json", n) for n in (0, 1, 3, 5)]
    moments += [(shards.record_index, "save_index", 0), (output.shutil, "rmtree", 0)]
    for i, (owner, name, calls) in enumerate(moments):
        out = tmp_path / f"out{i}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying(getattr(owner, name), calls))
            with pytest.raises(Killed):
                prepare(folder, out, "--shards=4")
        (out / ".partial-1234-unlabeled-00000-of-00004").write_bytes(b"half")
        assert prepare(folder, out, "--shards=4") == 0
        assert contents(out) == expected, (name, calls)


def test_finished_shards_are_not_written_again(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    bad = folder / "a" / "00.jpg"
    good = bad.read_bytes()
    bad.write_bytes(good[:300])
    assert prepare(folder, out, "--shards=5") == 2
    assert "1 images cannot be read: a/00.jpg: " in error_of(capsys)
    there = {name: os.stat(out / name).st_mtime_ns for name in os.listdir(out)
             if name.startswith("unlabeled")}
    assert len(there) == 4 and not (out / "dataset.json").exists()
    bad.write_bytes(good)
    assert prepare(folder, out, "--shards=5") == 0
    assert "continuing: 4 of 5 shards are there" in capsys.readouterr().out
    assert {name: os.stat(out / name).st_mtime_ns for name in there} == there
    assert prepare(folder, tmp_path / "whole", "--shards=5") == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_folder_says_so_and_another_plan_is_refused(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare(folder, out, "--shards=2") == 0
    before = contents(out)
    assert prepare(folder, out, "--shards=2") == 0
    assert "is finished already: 20 examples of unlabeled" in capsys.readouterr().out
    for flags, words in ((("--shards=3",), "shards is 3 instead of 2"),
                         (("--shards=2", "--seed=1"), "seed is 1 instead of 0"),
                         (("--shards=2", "--image_size=8"), "image_size is 8 instead of None")):
        assert prepare(folder, out, *flags) == 2
        error = error_of(capsys)
        assert words in error and "--overwrite to start anew" in error
    put(str(folder / "new.jpg"), jpeg(99))
    assert prepare(folder, out, "--shards=2") == 2
    assert "examples is 21 instead of 20; splits unlabeled files are others" in error_of(capsys)
    assert contents(out) == before
    os.remove(folder / "new.jpg")
    with open(out / "unlabeled-00001-of-00002", "ab") as file:
        file.write(b"x")
    assert prepare(folder, out, "--shards=2") == 2
    assert "unlabeled-00001-of-00002 has " in error_of(capsys)
    assert prepare(folder, out, "--shards=2", "--overwrite") == 0 and contents(out) == before


def test_overwrite_removes_only_what_was_prepared(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare(folder, out, "--shards=3") == 0
    assert prepare(folder, out, "--shards=2", "--overwrite") == 0
    assert sorted(os.listdir(out)) == ["dataset.json", "unlabeled-00000-of-00002",
                                       "unlabeled-00001-of-00002", "unlabeled.index.npz"]
    (out / "thesis.txt").write_text("mine")
    for flags in ((), ("--overwrite",)):
        before = contents(out)
        assert prepare(folder, out, "--shards=2", *flags) == 2
        assert "holds 'thesis.txt', which data_prep did not write" in error_of(capsys)
        assert contents(out) == before
    sidecar = json.loads((out / "dataset.json").read_text())
    sidecar["plan"]["splits"]["../../in/a"] = {"examples": 1, "shards": 1}     # names lead nowhere else
    (out / "dataset.json").write_text(json.dumps(sidecar))
    (out / "thesis.txt").unlink()
    put(str(folder / "a-00000-of-00001"), "mine")
    assert prepare(folder, out, "--shards=2", "--overwrite") == 0
    assert (folder / "a-00000-of-00001").read_text() == "mine"


def test_names_that_are_not_utf8(tmp_path, capsys):
    for name, data in ((b"\xff.jpg", jpeg(1)), (b"\xfe.jpg", b"no image"), ("ä.jpg".encode(), jpeg(2))):
        put(os.path.join(os.fsencode(tmp_path), b"in", name), data)
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    assert "1 images cannot be read: \\udcfe.jpg: no image" in error_of(capsys)
    assert prepare(tmp_path / "in", tmp_path / "out", "--skip_corrupt") == 0
    index = record_index.load_index(prepared.index_path(tmp_path / "out", "unlabeled"))
    assert {index.record(i).filename for i in range(2)} == {"\udcff.jpg", "ä.jpg"}


def test_a_disk_that_cannot_be_written(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(OSError, match="absent/a cannot be written .*run the same command again"):
        tfrecord.write(tmp_path / "absent" / "a", [b"x"])
    def full(path, serialized):
        list(serialized)
        raise OSError("no space left")
    with monkeypatch.context() as patch:
        patch.setattr(work.tfrecord, "write", full)
        assert prepare(folder, tmp_path / "out", "--skip_corrupt") == 2     # no image is to blame
    assert "error: no space left\n" == error_of(capsys)
    assert prepare(folder, tmp_path / "out") == 0


def test_two_processes_in_a_folder(folder, tmp_path, capsys):
    pytest.importorskip("fcntl")
    plan = unlabeled.plan(str(folder), 0).describe()
    with output.Output(tmp_path / "out", plan, False):
        assert prepare(folder, tmp_path / "out") == 2
        assert "is in use by another process" in error_of(capsys)
    assert prepare(folder, tmp_path / "out") == 0


def test_skip_corrupt_names_and_counts(folder, tmp_path, capsys):
    for i in range(12):
        put(str(folder / "c" / f"bad{i:02}.png"), b"no image %d" % i)
    put(str(folder / "c" / "cut.jpg"), jpeg(3)[:-200])
    assert prepare(folder, tmp_path / "out") == 2
    error = error_of(capsys)
    assert "13 images cannot be read: " in error and "; and 3 more: " in error
    assert error.count("no image file of a known kind") >= 9 and "--skip_corrupt" in error
    assert prepare(folder, tmp_path / "out", "--skip_corrupt") == 0
    assert "unlabeled: 13 images skipped, see dataset.json: c/" in capsys.readouterr().out
    split = json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"]["unlabeled"]
    assert split["examples"] == 20 and len(split["skipped"]) == 13
    assert sorted(line.split(":")[0] for line in split["skipped"]) == sorted(
        [*(f"c/bad{i:02}.png" for i in range(12)), "c/cut.jpg"])
    assert prepare(folder, tmp_path / "out", "--skip_corrupt") == 0      # finished already
    capsys.readouterr()
    assert prepare(folder, tmp_path / "out") == 2       # without the flag they still are an error
    assert "13 images were left out by --skip_corrupt" in error_of(capsys)
    only_bad = tmp_path / "bad"
    put(str(only_bad / "x.png"), b"no image")
    assert prepare(only_bad, tmp_path / "none", "--skip_corrupt") == 2
    assert "would be empty, as none of its 1 images can be read (x.png: no image" in error_of(capsys)


@pytest.mark.parametrize("change, flags, words", [
    (lambda s, o: shutil.rmtree(s), (), "nothing is there; expected a folder of images, or a tar"),
    (lambda s, o: [shutil.rmtree(s / "a"), shutil.rmtree(s / "b")], (), "no images are there"),
    (lambda s, o: put(str(o), "x"), (), "is a file: expected a new or empty folder"),
    (lambda s, o: put(str(o / "x"), "x"), (), "holds 'x', which data_prep did not write"),
    (lambda s, o: None, ("--shards=21",), "21 shards for the 20 images of unlabeled: give 1 to 20"),
])
def test_refusals_before_any_work(change, flags, words, folder, tmp_path, capsys):
    change(folder, tmp_path / "out")
    assert prepare(folder, tmp_path / "out", *flags) == 2
    assert words in error_of(capsys)


@pytest.mark.parametrize("flags, words", [
    (["--source_dir=a"], "--output_dir"), (["--output_dir=a"], "--source_dir"),
    (["--source_dir=a", "--output_dir=b", "--sead=1"], "error: unknown flag --sead: did you mean --seed?"),
    (["--source_dir=a", "--output_dir=b", "--over"], "error: unknown flag --over: did you mean --overwrite?"),
    (["--sourcedir=a", "--output_dir=b"], "error: unknown flag --sourcedir: did you mean --source_dir?"),
    (["--source_dir=a", "--output_dir=b", "--seed=-1"], "'-1': expected a whole number of 0 or"),
    (["--source_dir=a", "--output_dir=b", "--workers=0"], "'0': expected a whole number of 1 or"),
])
def test_wrong_flags(flags, words, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(unlabeled.run, flags)
    err = capsys.readouterr().err
    assert caught.value.code == 2 and words in err and err.count("\n") == 1

"""data_prep by several processes, and as a process that is killed or interrupted."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from data_prep import command
from data_prep import imagenet
from data_prep import shards
from data_prep import unlabeled
from data_prep import workers
from tests.conftest import ROOT
from tests.prep import contents, jpeg, picture, put, saved, small_imagenet
from tests.runs import wait_for
from tests.data_prep.test_records_made import prepare


@pytest.mark.slow
def test_processes_write_the_same_bytes_and_say_nothing(tmp_path, capfd):
    folder = tmp_path / "in"
    for i in range(20):
        put(str(folder / f"{i:02}.jpg"), jpeg(i))
    assert prepare(folder, tmp_path / "one", "--shards=4") == 0
    assert prepare(folder, tmp_path / "two", "--shards=4", "--workers=2") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert capfd.readouterr().err == ""         # TensorFlow's lines neither, which each process imports


@pytest.mark.slow
def test_sigkill_at_several_moments(tmp_path):
    """A real process with two workers, killed: no orphan writes on, and the next run continues."""
    for i in range(300):
        put(str(tmp_path / "in" / f"{i:03}.png"), saved(picture(i, 120, 160), "PNG"))
    flags = [f"--source_dir={tmp_path / 'in'}", "--shards=30"]
    assert command.main(unlabeled.run, [*flags, f"--output_dir={tmp_path / 'whole'}",
                                        "--workers=1"]) == 0
    line = [sys.executable, "-m", "data_prep.unlabeled", *flags,
            f"--output_dir={tmp_path / 'out'}", "--workers=2"]
    out = tmp_path / "out"

    def count():
        progress = out / ".progress"
        return len(os.listdir(progress)) if progress.is_dir() else 0

    for notes in (2, 15):
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        wait_for(lambda: count() > notes or process.poll() is not None)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "dataset.json").exists()
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "continuing: " in done.stdout
    assert contents(out) == contents(tmp_path / "whole")


def test_ctrl_c_ends_cleanly(tmp_path):
    source = small_imagenet(tmp_path / "in", images=30)
    line = [sys.executable, "-m", "data_prep.imagenet", f"--source_dir={source}",
            f"--output_dir={tmp_path / 'out'}", "--train_shards=45", "--validation_shards=1",
            "--workers=2"]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    plan = tmp_path / "out" / ".progress" / "plan.json"
    wait_for(lambda: plan.exists() or process.poll() is not None)
    time.sleep(0.3)     # into the start of the workers, which takes longer than that
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted: the same command continues\n"
    assert prepare(source, tmp_path / "out", "--train_shards=45", "--validation_shards=1",
                   module=imagenet) == 0


def test_the_time_that_tensorflow_takes_to_come_is_no_conversion(tmp_path, monkeypatch):
    """A shard says when its first image was taken up; the bar counts from there."""
    put(str(tmp_path / "in" / "a.jpg"), jpeg(1))
    write, moments = workers.tfrecord.write, []

    def slowly(path, serialized):
        time.sleep(0.2)
        moments.append(time.monotonic())
        write(path, serialized)

    monkeypatch.setattr(workers.tfrecord, "write", slowly)
    make = functools.partial(unlabeled.make_record, str(tmp_path / "in"), None)
    file, note, problems, began = workers.write_shard("x-00000-of-00001", [("a.jpg",)], make,
                                                      str(tmp_path / "x"), False)
    assert note["examples"] == 1 and not problems and moments[0] <= began <= time.monotonic()
    told = []
    monkeypatch.setattr(shards.Bar, "began", lambda self, moment: told.append(moment))
    assert prepare(tmp_path / "in", tmp_path / "out", "--shards=1") == 0
    assert len(told) == 1 and told[0] >= moments[1]

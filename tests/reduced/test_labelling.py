"""What labelling makes of shards: corrupt records, machines that share them, what is refused."""

import json
import os

import numpy as np
import pytest

from mpl_tf.datasets import prediction_files, predictions, shard_sets
from mpl_tf.reduced import forward, labelling
from mpl_tf.run import run_folder, training
from mpl_tf.run.serving import Served
from mpl_tf.shards import reading, tfrecord
from tests.runs import settings
from tests.stored import CLASSES, change, colors, predicted, write_images

FIRST, SECOND = "unlabeled-00000-of-00002", "unlabeled-00001-of-00002"


def test_a_corrupt_record_is_an_error_or_skipped(tmp_path):
    source = write_images(tmp_path / "shards", counts=(6,))
    name = "unlabeled-00000-of-00001"
    path = os.path.join(source, name)
    offsets, lengths = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.seek(offsets[2] + lengths[2] // 2)
        file.write(b"\xff\x00\xff")
    with pytest.raises(ValueError, match="record 2 at byte .* checksum"):
        predicted(tmp_path / "out", source)
    plan = predicted(tmp_path / "out", source, skip_corrupt=True)
    shard = prediction_files.read_shard(str(tmp_path / "out"), name, plan)
    assert shard.skipped.tolist() == [2] and shard.number.tolist() == [0, 1, 3, 4, 5]
    tasks = [task for task, _ in labelling.tasks_of_one(source, None, "cifar10")]
    assert labelling.counted(str(tmp_path / "out"), tasks) == (5, 1)
    with pytest.raises(ValueError, match="the predictions of 1 of 1 files are missing .*00000-of-0000"
                                         "1: expected that all workers see this folder"):
        labelling.counted(str(tmp_path / "elsewhere"), tasks)
    index = shard_sets.read_index(source, "unlabeled", labeled=np.zeros(1, bool))
    probs = predictions.load(str(tmp_path / "out"), index, 3)
    np.testing.assert_allclose(probs[2], 1 / 3, rtol=1e-3)
    np.testing.assert_array_equal(probs[[0, 1, 3, 4, 5]], shard.probs)


def test_a_file_that_ends_within_a_record_is_predicted_up_to_there_when_asked(tmp_path, capsys):
    source = write_images(tmp_path / "shards", counts=(6, 3))
    path = os.path.join(source, FIRST)
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.truncate(offsets[4] + 20)
    with pytest.raises(ValueError, match="record 4 at byte"):
        predicted(tmp_path / "out", source)
    capsys.readouterr()
    plan = predicted(tmp_path / "out", source, skip_corrupt=True)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and FIRST in told[0] and "skipped, with what is behind it" in told[0]
    shard = prediction_files.read_shard(str(tmp_path / "out"), FIRST, plan)
    assert shard.number.tolist() == [0, 1, 2, 3]
    with open(path, "r+b") as file:
        file.truncate(0)
    plan = predicted(tmp_path / "empty", source, skip_corrupt=True)
    assert len(prediction_files.read_shard(str(tmp_path / "empty"), FIRST, plan).key) == 0
    assert len(prediction_files.read_shard(str(tmp_path / "empty"), SECOND, plan).key) == 3


def test_a_file_damaged_after_it_was_predicted(tmp_path):
    source = write_images(tmp_path / "shards", counts=(6,))
    name = "unlabeled-00000-of-00001"
    plan = predicted(tmp_path / "out", source)
    path = os.path.join(source, name)
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.seek(offsets[2] + 3)
        file.write(b"\x77")
    task = reading.Task(name, path)
    # Whoever reads the images will say so.
    assert labelling.finished(str(tmp_path / "out"), task, plan)


def test_networks_that_give_no_distribution_are_refused(tmp_path):
    source = write_images(tmp_path / "shards")
    for network, said in [(lambda x: np.full([len(x), 3], np.nan), "has NaN"),
                          (lambda x: np.full([len(x), 3], 0.5), "a sum of 1.5")]:
        with pytest.raises(ValueError, match=f"{FIRST}, from record 0.*{said}"):
            predicted(tmp_path / "out", source, network=network)


# With a trained network.

@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    training.run(settings(folder, method="baseline", train_steps=3))
    return folder


@pytest.mark.slow
def test_digits_from_a_run_to_rows(run_dir, tmp_path, capsys):
    out = str(tmp_path / "out")
    labelling.label(str(run_dir), ["digits"], out)
    assert "of the bare forward pass" in capsys.readouterr().out
    before = (tmp_path / "out" / "train-00000-of-00001.npz").read_bytes()
    labelling.label(str(run_dir), ["digits"], out)
    assert "continuing: 1 of 1 files are there" in capsys.readouterr().out
    assert (tmp_path / "out" / "train-00000-of-00001.npz").read_bytes() == before
    probs = predictions.load_for_arrays(out, "train", 1297, 10, tuple("0123456789"))
    network = Served(str(run_dir), 8, 10)
    expected = np.asarray(network(forward.digits()[:50]))
    np.testing.assert_allclose(probs[:50], expected, atol=2e-3)


def test_machines_share_the_files_and_finish_each_other(run_dir, tmp_path, monkeypatch, capsys):
    source = write_images(tmp_path / "shards", counts=(2, 3, 4, 5))
    plan = prediction_files.plan_of("m", 3, CLASSES, 8, "whole", [source], None)

    def plan_and_tasks(folder, sources, splits):
        tasks, sizes = zip(*labelling.tasks_of_one(source, None, "cifar10"))
        return {**plan, "shards": dict(zip([t.name for t in tasks], sizes))}, list(tasks)

    class Rows(np.ndarray):
        def numpy(self):
            return np.asarray(self)

    class Colors:
        shape = (8, 8, 3)

        def __init__(self, *_):
            pass

        def __call__(self, images):
            return colors(images).view(Rows)

    monkeypatch.setattr(labelling, "plan_and_tasks", plan_and_tasks)
    monkeypatch.setattr(labelling, "Served", Colors)
    monkeypatch.setattr(forward, "BARE_SECONDS", 0)
    label = lambda machine: labelling.label(
        "x", ["x"], str(tmp_path / "out"), shard_index=machine, num_shards=2)
    label(1)
    assert "2 of 4 files are predicted" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "out")) == [
        "predictions.json", "unlabeled-00001-of-00004.npz", "unlabeled-00003-of-00004.npz"]
    label(0)
    assert "4 of 4 files are predicted" in capsys.readouterr().out
    predicted(tmp_path / "alone", source, model="m")
    alone, shared = (prediction_files.fingerprint(str(tmp_path / name))
                     for name in ("alone", "out"))
    assert alone == shared
    change(tmp_path / "alone", "unlabeled-00000-of-00004", rest=lambda rest: rest + 1e-3)
    assert prediction_files.fingerprint(str(tmp_path / "alone")) != shared


def test_another_networks_folder_is_not_mixed(run_dir, tmp_path):
    arguments = str(run_dir), ["digits"], str(tmp_path / "out")
    labelling.label(*arguments)
    change(tmp_path / "out", None, plan=True, model="other")
    with pytest.raises(ValueError, match="belongs to another model: predict into an empty folder"):
        labelling.label(*arguments)


def test_two_files_of_one_name_are_refused(run_dir, tmp_path):
    sources = [write_images(tmp_path / name) for name in ("a", "b")]
    flags = json.loads((run_dir / run_folder.CONFIG).read_text())
    other = tmp_path / "run"
    other.mkdir()
    for name in ("saved_model", run_folder.CLASSES):
        os.symlink(run_dir / name, other / name)
    flags["flags"].update(dataset="cifar10", student_network="wrn-10-1")
    (other / run_folder.CONFIG).write_text(json.dumps(flags))
    with pytest.raises(ValueError, match=f"b has a file {FIRST}, as another --source_dir has"):
        labelling.plan_and_tasks(str(other), sources)

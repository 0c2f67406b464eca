"""A run killed at any moment, and started again, ends with the very bits of one never killed.

In processes of their own, as users run it: dropout, batch norm and both augmented views are on.
"""

import os
import random
import signal
import time

import pytest

from data_prep import cifar10, imagenet
from mpl_tf.common import storage
from mpl_tf.run import training
from tests.prep import put
from tests.runs import TINY, assert_same_state, settings, start

# The strong view is Cutout alone: RandAugment would add seconds to the start of each process.
FLAGS = {**TINY, "student_network": "small_conv", "teacher_network": "mlp-16", "objective": "uda",
         "randaugment_layers": 0, "cutout": 2, "train_steps": 12, "eval_steps": 1,
         "checkpoint_steps": 4}


def kill_when(process, seen):
    """Kills a process as soon as seen() is true; its output where it ended by itself before."""
    while process.poll() is None:
        if seen():
            process.send_signal(signal.SIGKILL)
            break
    out = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, out


def kill_after_line(process, text):
    """Kills a process as soon as it prints a line with `text`."""
    for line in process.stdout:
        if text in line:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return
    raise AssertionError(f"{text} was not printed")


def finish(process):
    out = process.communicate()[0]
    assert process.returncode == 0, out
    return out


def being_written(folder):
    """Whether a checkpoint is being written in a run's folder."""
    try:
        return any("temp" in name for name in os.listdir(os.path.join(folder, "checkpoints")))
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_killed_while_it_writes_its_first_checkpoint(tmp_path):
    straight, killed = str(tmp_path / "straight"), str(tmp_path / "killed")
    kill_when(start("train", **{**FLAGS, "model_dir": killed}), lambda: being_written(killed))
    training.run(settings(killed, **FLAGS))
    training.run(settings(straight, **FLAGS))
    assert_same_outcome(straight, killed)


@pytest.mark.slow
def test_killed_before_the_first_checkpoint_during_a_write_and_after_it(tmp_path):
    straight, killed = str(tmp_path / "straight"), str(tmp_path / "killed")
    kill_after_line(start("train", **{**FLAGS, "model_dir": killed}), "model_dir")
    assert not os.path.exists(os.path.join(killed, "checkpoints", "checkpoint"))
    kill_when(start("train", **{**FLAGS, "model_dir": killed}), lambda: being_written(killed))
    # The write is the first checkpoint's: whether it was done or not, what is whole is taken.
    again = start("train", **{**FLAGS, "model_dir": killed})
    kill_after_line(again, "step 6:")       # between checkpoints, after one or two whole ones
    out = finish(start("train", **{**FLAGS, "model_dir": killed}))
    assert "steps      4 to 12" in out or "steps      8 to 12" in out
    training.run(settings(straight, **FLAGS))
    assert_same_outcome(straight, killed)


def assert_same_outcome(left, right):
    assert_same_state(left, right)
    evaluations = [storage.read_json(os.path.join(folder, "results.json"))["evaluations"]
                   for folder in (left, right)]
    assert evaluations[0] == evaluations[1] and len(evaluations[0]) == FLAGS["train_steps"]
    assert not [name for folder in (right, os.path.join(right, "checkpoints"))
                for name in os.listdir(folder) if name.startswith(".") or "temp" in name]


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    flags = {**FLAGS, "teacher_network": "small_conv", "randaugment_layers": 2,
             "checkpoint_steps": 1, "summary_steps": 5}
    straight, killed = str(tmp_path / "straight"), str(tmp_path / "killed")
    begin = time.monotonic()
    finish(start("train", **{**flags, "model_dir": straight}))
    seconds = time.monotonic() - begin
    generator = random.Random(0)
    for _ in range(8):
        process = start("train", **{**flags, "model_dir": killed})
        until = time.monotonic() + generator.uniform(0.3, 1.0) * seconds
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    finish(start("train", **{**flags, "model_dir": killed}))
    assert_same_outcome(straight, killed)


def prepared(dataset, shared_data, folder):
    """Shards in `folder` of CIFAR-10, or of the ImageNet photographs, here both train and val."""
    module, source, options = cifar10, shared_data, []
    if dataset == "imagenet":
        module, source = imagenet, folder / "source"
        options = ["--train_shards=16", "--validation_shards=2"]
        for photograph in (shared_data / "imagenet-sample").glob("*.JPEG"):
            for part in ("train", "val"):
                put(source / part / photograph.name.split("_")[0] / f"{part}_{photograph.name}",
                    photograph.read_bytes())
    module.run([f"--source_dir={source}", f"--output_dir={folder / 'shards'}", *options])
    return folder / "shards"


@pytest.mark.slow
@pytest.mark.parametrize("dataset, changes", [
    ("cifar10", {"student_network": "wrn-10-1", "teacher_network": "wrn-10-1"}),
    ("imagenet", {"image_size": 32, "labeled_shards": 16, "student_network": "small_conv",
                  "teacher_network": "small_conv", "precision": "float32"})])
def test_from_shards(dataset, changes, shared_data, tmp_path):
    """The flag files of the paper's runs, cut to 8 steps: killed, resumed and evaluated."""
    flags = {"flagfile": f"flags/{dataset}.cfg", **changes, "batch_size": 16,
             "unlabeled_batch_size": 16, "train_steps": 8, "warmup_steps": 2, "eval_steps": 8,
             "checkpoint_steps": 4, "summary_steps": 4,
             "data_dir": prepared(dataset, shared_data, tmp_path)}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish(start("train", **flags, model_dir=straight))
    kill_when(start("train", **flags, model_dir=killed),
              (killed / "checkpoints" / "checkpoint").exists)
    assert "steps      4 to 8" in finish(start("train", **flags, model_dir=killed))
    assert_same_state(str(straight), str(killed))
    accuracy = storage.read_json(str(killed / "results.json"))["student_test_accuracy"]
    assert f"{100 * accuracy:.2f}" in finish(start("evaluate", model_dir=killed))

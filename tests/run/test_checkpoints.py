"""Checkpoints hold everything, are written whole, and refuse in one line what does not fit."""

import gc
import glob
import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf.run import checkpoints
from tests import tiny


def model(hidden=8, optimizer=tf.keras.optimizers.Adam, seed=1, classes=tiny.CLASSES):
    """A compiled baseline with batch norm."""
    network = mpl_tf.networks.small_conv(
        num_classes=classes, input_shape=(hidden, hidden, 1), dropout=0.2, name="student",
        seed=seed)
    result = mpl_tf.Baseline(network, mpl_tf.objectives.Supervised())
    result.compile(optimizer(mpl_tf.WarmupCosine(0.1, 100, 10)))
    return result


def fill(checkpoint, model_, seed):
    """Gives every variable of a model and its optimizer a random value."""
    rng = np.random.default_rng(seed)
    for variable in [*model_.student.weights, *model_.optimizer.variables]:
        if tf.as_dtype(variable.dtype).is_floating:
            variable.assign(rng.uniform(0.1, 1.0, variable.shape))
        else:
            variable.assign(seed)
    checkpoint.journal.evaluations.append({"step": seed, "student_test_accuracy": 0.5})


def values(model_):
    return [variable.numpy() for variable in [*model_.student.weights, *model_.optimizer.variables]]


def saved(folder, steps=(3,), **kwargs):
    """A model, and its checkpoints of these steps."""
    source = model()
    checkpoint = checkpoints.Checkpoints(str(folder), source, seed=7, **kwargs)
    for step in steps:
        fill(checkpoint, source, step)
        checkpoint.save(step)
    return source, checkpoint


def test_everything_returns(tmp_path):
    source, _ = saved(tmp_path)
    copy = model(seed=2)
    checkpoint = checkpoints.Checkpoints(str(tmp_path), copy, seed=7)
    assert checkpoint.step is None and checkpoint.restore() == checkpoint.step == 3
    assert len(values(source)) > 20     # weights, averages, two slots each, iterations
    for left, right in zip(values(source), values(copy)):
        np.testing.assert_array_equal(left, right)
    assert copy.optimizer.iterations == 3
    assert checkpoint.journal.evaluations == [{"step": 3, "student_test_accuracy": 0.5}]


def test_without_a_checkpoint_training_starts_at_the_beginning(tmp_path):
    copy = model()
    before = values(copy)
    assert checkpoints.Checkpoints(str(tmp_path), copy, seed=7).restore() == 0
    for left, right in zip(before, values(copy)):
        np.testing.assert_array_equal(left, right)


def test_only_the_last_ones_are_kept_and_the_newest_whole_one_counts(tmp_path):
    saved(tmp_path, steps=(1, 2, 3, 4), keep=2)
    assert {os.path.basename(path) for path in glob.glob(str(tmp_path / "*.index"))} == {
        "ckpt-3.index", "ckpt-4.index"}
    for path in glob.glob(str(tmp_path / "ckpt-4.*")):
        os.remove(path)
    assert os.path.basename(checkpoints.latest(str(tmp_path))) == "ckpt-3"
    source, checkpoint = model(), None
    checkpoint = checkpoints.Checkpoints(str(tmp_path), source, seed=7)
    assert checkpoint.restore() == 3
    checkpoint.save(4)
    assert os.path.basename(checkpoints.latest(str(tmp_path))) == "ckpt-4"


@pytest.mark.parametrize("listed", [("ckpt-2", "ckpt-1"), ("ckpt-1", "ckpt-2", "ckpt-9"),
                                    ("{other}/ckpt-1", "{other}/ckpt-2")])
def test_a_list_in_another_order_or_of_another_folder_names_ours(tmp_path, listed):
    saved(tmp_path / "ours", steps=(1, 2))
    saved(tmp_path / "other", steps=(1, 2, 9))
    names = [name.format(other=tmp_path / "other") for name in listed]
    (tmp_path / "ours" / "checkpoint").write_text(f'model_checkpoint_path: "{names[-1]}"\n' + "".join(
        f'all_model_checkpoint_paths: "{name}"\n' for name in names))
    assert checkpoints.complete(str(tmp_path / "ours")) == [
        str(tmp_path / "ours" / name) for name in ("ckpt-1", "ckpt-2")]


def test_what_a_kill_during_a_write_leaves_is_removed_and_not_restored(tmp_path):
    saved(tmp_path)
    before = sorted(os.listdir(tmp_path))
    # In the order in which TensorFlow writes: shards in a folder of their own, renamed one by
    # one; then the file that names the newest one, renamed too.
    (tmp_path / "ckpt-4_temp").mkdir()
    (tmp_path / "ckpt-4_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-5.data-00000-of-00001").write_bytes(b"a shard without its index")
    (tmp_path / "checkpoint.tmp4711").write_text("model_checkpoint_path: ")
    checkpoint = checkpoints.Checkpoints(str(tmp_path), model(), seed=7)
    assert sorted(os.listdir(tmp_path)) == before
    assert checkpoint.restore() == 3


@pytest.mark.parametrize("damage", ["missing", "empty", "names none that is there"])
def test_without_the_file_that_lists_them_checkpoints_are_found_and_listed_again(tmp_path, damage):
    saved(tmp_path, steps=(9, 10))
    listed = tmp_path / "checkpoint"
    if damage == "missing":
        listed.unlink()
    else:
        listed.write_text('model_checkpoint_path: "ckpt-99"' * (damage != "empty"))
    assert os.path.basename(checkpoints.latest(str(tmp_path))) == "ckpt-10"
    checkpoint = checkpoints.Checkpoints(str(tmp_path), model(), seed=7)
    assert checkpoint.restore() == 10
    assert [os.path.basename(path)
            for path in tf.train.get_checkpoint_state(str(tmp_path)).all_model_checkpoint_paths] == [
                "ckpt-9", "ckpt-10"]
    listed.unlink()     # killed while it wrote the first one's index
    for path in glob.glob(str(tmp_path / "ckpt-*.index")):
        with open(path, "r+b") as file:
            file.truncate(20)
    assert checkpoints.latest(str(tmp_path)) is None
    assert checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore() == 0
    assert os.listdir(tmp_path) == []
    listed.write_text("")
    assert checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore() == 0


def test_a_damaged_checkpoint_without_the_list_is_told_of_and_not_removed(tmp_path):
    saved(tmp_path, steps=(3, 4))
    (tmp_path / "checkpoint").unlink()
    path = tmp_path / "ckpt-4.index"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match="ckpt-4 cannot be read .*continue from the one before"):
        checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore()
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "checkpoint"])
    for name in glob.glob(str(tmp_path / "ckpt-4.*")):
        os.remove(name)
    assert checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore() == 3


ODD = [b"lr=[0.1,0.2]", b"a*", b"no \xff UTF-8"]


@pytest.mark.parametrize("name", map(os.fsdecode, ODD), ids=ascii)
def test_any_name_of_a_folder_will_do(tmp_path, name):
    folder, neighbour = str(tmp_path / name), tmp_path / "alone"
    saved(neighbour, steps=(1,))        # a* matches it too
    before = sorted(os.listdir(neighbour))
    source, checkpoint = saved(folder, steps=(1, 2, 3), keep=2)
    assert sorted(os.listdir(folder)) == sorted(["checkpoint", *(
        f"ckpt-{step}.{part}" for step in (2, 3) for part in ("index", "data-00000-of-00001"))])
    assert sorted(os.listdir(neighbour)) == before
    copy = model(seed=2)
    again = checkpoints.Checkpoints(folder, copy, seed=7, keep=2)
    assert again.restore() == 3 and checkpoints.latest(folder) == os.path.join(folder, "ckpt-3")
    for left, right in zip(values(source), values(copy)):
        np.testing.assert_array_equal(left, right)
    again.save(4)
    assert not [file for file in os.listdir(folder) if file.startswith("ckpt-2")]
    assert checkpoints.restore_networks(folder, {"student": copy.student}) == 4


UNREAD = {
    "permission": (PermissionError(13, "Permission denied"), "Permission denied.: give this process"),
    "memory": (MemoryError(), "MemoryError.: the memory is too small"),
    "another version": (tf.errors.UnknownError(None, None, "header of version 9"), "version of Tens"),
    "as TensorFlow says it": (tf.errors.UnimplementedError(None, None, "sliced"), "sliced.: it may well")}


@pytest.mark.parametrize("what", UNREAD)
def test_what_is_no_damage_is_not_called_so(tmp_path, monkeypatch, what):
    saved(tmp_path)
    error, said = UNREAD[what]

    def fails(*_, **__):
        raise error
    if what == "permission":
        monkeypatch.setattr("builtins.open", fails)
    else:
        monkeypatch.setattr(tf.train, "load_checkpoint", fails)
    with pytest.raises(ValueError, match=f"cannot be read .*{said}") as caught:
        checkpoints.restore(tf.train.Checkpoint(), str(tmp_path / "ckpt-3"))
    monkeypatch.undo()
    assert "damaged" not in str(caught.value) and "delete" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_the_other_keras_is_told_so(tmp_path):
    """The names are those that the other Keras gives to a perceptron's variables."""
    held = tf.train.Checkpoint(value=tf.Variable(1.0))
    if tiny.KERAS_3:
        parts = {"student": tf.train.Checkpoint(**{"layer_with_weights-0": held})}
    else:
        parts = {"student_optimizer": tf.train.Checkpoint(_trainable_variables=[held.value])}
    path = tf.train.Checkpoint(**parts).write(str(tmp_path / "ckpt-3"))
    other = 2 if tiny.KERAS_3 else 3
    with pytest.raises(ValueError, match=f"was made with Keras {other}; continue or evaluate it there") as error:
        checkpoints.restore(tf.train.Checkpoint(student=model().student), path)
    assert "\n" not in str(error.value)


def test_words_in_a_folders_name_are_no_sign_of_damage(tmp_path):
    folder = tmp_path / "checksum bad magic number"
    saved(folder)
    [data] = glob.glob(str(folder / "ckpt-3.data*"))
    os.rename(data, tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="one of its files is missing; put it back"):
        checkpoints.Checkpoints(str(folder), model(), seed=7).restore()


def test_a_missing_file_and_a_closed_folder_are_no_damage(tmp_path, monkeypatch):
    saved(tmp_path)
    [data] = glob.glob(str(tmp_path / "ckpt-3.data*"))
    os.rename(data, tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="cannot be read .*No such file.*: one of .* put it back"):
        checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore()

    def denied(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "listdir", denied)      # training must not begin anew
    with pytest.raises(ValueError, match="cannot be read .Permission denied.: give this process"):
        checkpoints.latest(str(tmp_path))


def test_a_worker_that_only_takes_part_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    saved(tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / ".worker-1").mkdir()    # of an earlier version that was killed
    before = sorted(os.listdir(tmp_path / "checkpoints"))
    source, worker = saved(tmp_path / "checkpoints", steps=(4, 5), writer=False)
    worker.save(5)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == before
    del worker
    gc.collect()
    assert os.listdir(tmp_path / "temporary") == []
    checkpoints.Checkpoints(str(tmp_path / "checkpoints"), model(), seed=7)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == before[1:]


@pytest.mark.parametrize("other, reason", [
    (dict(hidden=16, classes=5), "another architecture"),
    (dict(optimizer=tf.keras.optimizers.SGD), "another architecture")])
def test_another_architecture_is_refused_in_one_line(tmp_path, other, reason):
    saved(tmp_path)
    with pytest.raises(ValueError, match=reason) as caught:
        checkpoints.Checkpoints(str(tmp_path), model(**other), seed=7).restore()
    assert "\n" not in str(caught.value) and "ckpt-3" in str(caught.value)
    assert "delete" not in str(caught.value)        # the checkpoint is sound


def test_another_seed_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(ValueError, match="has seed 7, this run 8"):
        checkpoints.Checkpoints(str(tmp_path), model(), seed=8).restore()


@pytest.mark.parametrize("kind, damage", [
    ("data", lambda content: content[:len(content) // 2]),
    ("data", lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:]),
    ("index", lambda content: content[:len(content) // 2])])
def test_a_damaged_checkpoint_is_one_line(tmp_path, kind, damage):
    saved(tmp_path, steps=(3, 4))
    [path] = glob.glob(str(tmp_path / f"ckpt-4.{kind}*"))
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    with pytest.raises(ValueError, match="ckpt-4 cannot be read .*delete .*ckpt-4") as caught:
        checkpoints.Checkpoints(str(tmp_path), model(), seed=7).restore()
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    source, checkpoint = saved(tmp_path)
    source.student.weights[2].assign(tf.fill(source.student.weights[2].shape, np.inf))
    with pytest.raises(FloatingPointError, match="after step 4"):
        checkpoint.save(4)
    assert os.path.basename(checkpoints.latest(str(tmp_path))) == "ckpt-3"


def test_networks_alone_can_be_restored(tmp_path):
    source, _ = saved(tmp_path)
    network = model(seed=2).student
    assert checkpoints.restore_networks(str(tmp_path), {"student": network}) == 3
    for left, right in zip(source.student.weights, network.weights):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    with pytest.raises(ValueError, match="has no checkpoint"):
        checkpoints.restore_networks(str(tmp_path / "none"), {"student": network})


def test_the_journal_averages_losses_between_evaluations():
    journal = checkpoints.Journal()
    journal.add(1, {"R": 3.0})
    resumed = checkpoints.Journal()
    resumed.deserialize(journal.serialize())
    resumed.add(2, {"R": 6.0})
    resumed.evaluated(3, {"student_test_accuracy": 0.25}, {"student_test": [0.5, 0.0]})
    resumed.add(1, {"R": 1.0})
    resumed.evaluated(4, {"student_test_accuracy": 0.5}, {"student_test": [1.0, 0.0]})
    assert resumed.evaluations == [{"step": 3, "student_test_accuracy": 0.25, "R": 5.0},
                                   {"step": 4, "student_test_accuracy": 0.5, "R": 1.0}]
    journal.deserialize(resumed.serialize())
    assert journal.by_class == {"student_test": [1.0, 0.0]}     # of the last one alone

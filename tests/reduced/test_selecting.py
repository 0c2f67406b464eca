"""What is selected: against sorting everything, bounded memory, short classes, and refusals."""

import os

import numpy as np
import pytest

from mpl_tf.datasets import prediction_files, predictions, selection, shard_sets
from mpl_tf.reduced import labelling, selecting
from mpl_tf.shards import schema, tfrecord
from tests.stored import change, predicted, predicted_with_ties, selected, write_images


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(folder of predictions, folder of 150 images in 5 shards), with ties in every class."""
    return predicted_with_ties(tmp_path_factory.mktemp("stored"))


def everything(folder):
    """(shard, number, key, top, rest, probs) of all examples."""
    plan = prediction_files.read_plan(str(folder))
    parts = [prediction_files.read_shard(str(folder), name, plan)
             for name in sorted(plan["shards"])]
    shard = np.repeat(np.arange(len(parts)), [len(part.key) for part in parts])
    return (shard, *(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("number", "key", "top", "rest", "probs")))


@pytest.mark.parametrize("per_class", [1, 7, 20])
@pytest.mark.parametrize("rank_all", [False, True])
def test_it_is_what_sorting_everything_gives(stored, tmp_path, per_class, rank_all):
    folder, _ = stored
    chosen, report = selected(folder, tmp_path / "out", per_class=per_class, short="leave",
                         rank_all=rank_all)
    shard, number, key, top, rest, probs = everything(folder)
    for label in range(3):
        value = 1 - probs[:, label].astype(np.float32) if rank_all else rest
        order = sorted((i for i in range(len(key)) if rank_all or top[i] == label),
                       key=lambda i: (value[i], key[i]))[:per_class]
        rows = chosen.label == label
        assert chosen.key[rows].tolist() == key[order].tolist()
        np.testing.assert_array_equal(chosen.number[rows], number[order])
        np.testing.assert_array_equal(chosen.shard[rows], shard[order])
        np.testing.assert_allclose(chosen.confidence[rows], 1 - value[order], rtol=1e-6)
        assert report["classes"][label]["likeliest_of"] == (top == label).sum()
        assert np.unique(value, return_counts=True)[1].max() > 2, "no ties"
    assert (tmp_path / "out" / selection.MONTAGE).stat().st_size > 1000


def test_memory_is_bounded_by_two_k_a_class():
    generator, best = np.random.default_rng(0), selecting.Best(10)
    values = generator.random(5000).astype(np.float32)
    held = []
    for start in range(0, 5000, 50):
        rows = np.arange(start, start + 50)
        found = {"rest": values[rows], "key": np.char.mod(b"%d", rows), "shard": rows,
                 "number": rows}
        best.add(selecting.best_rows(found, 10, best.worst))
        held.append(sum(len(part["rest"]) for part in best._parts))
    assert max(held) < 30
    np.testing.assert_array_equal(best.take()["number"], np.argsort(values)[:10])


def test_a_short_class_is_repeated_or_left_and_reported(stored, tmp_path, capsys):
    folder, _ = stored
    _, _, _, top, _, _ = everything(folder)
    counts = np.bincount(top, minlength=3)
    most = int(counts.max())
    repeated, report = selected(folder, tmp_path / "a", per_class=most)
    assert np.bincount(repeated.label).tolist() == [most] * 3
    assert "have fewer and are repeated" in capsys.readouterr().out
    label = int(counts.argmin())
    keys = repeated.key[repeated.label == label].tolist()
    assert keys[counts[label]:] == (keys[:counts[label]] * most)[:most - counts[label]]
    left, _ = selected(folder, tmp_path / "b", per_class=most, short="leave")
    assert np.bincount(left.label).tolist() == counts.tolist()
    assert "left as they are" in capsys.readouterr().out
    for k, each in enumerate(report["classes"]):
        assert (each["different"], each["selected"], each["short"]) == (
            counts[k], most, bool(counts[k] < most))
    assert sum(report["histogram_of_confidence"].values()) == report["different"] == counts.sum()


def test_a_key_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        write_images(tmp_path / name, name, counts=(4,), name="same{:03}.png")
    predicted(tmp_path / "out", str(tmp_path / "a"), str(tmp_path / "b"))
    with pytest.raises(ValueError, match="the key same00.*.png is in a-00000-of-00001 and in b-0"):
        selected(tmp_path / "out", tmp_path / "selection", per_class=8)


def test_a_key_of_two_classes_is_refused_and_ties_do_not_depend_on_the_order_of_files(tmp_path):
    """The same name on two files' images, which another class each is likeliest of."""
    for name in ("a", "b"):
        write_images(tmp_path / name, name, counts=(1,), name="same.png")
    plan = predicted(tmp_path / "two", str(tmp_path / "a"), str(tmp_path / "b"))
    for name, top in (("a", 0), ("b", 1)):
        change(tmp_path / "two", f"{name}-00000-of-00001", top=np.array([top], np.int32),
               rest=np.zeros(1, "f4"), probs=np.eye(3, dtype=np.float16)[[top]])
    with pytest.raises(ValueError, match="the key same.png is in a-00000-of-00001 and in b-0"):
        selected(tmp_path / "two", tmp_path / "selection", per_class=1)
    shards = [prediction_files.read_shard(str(tmp_path / "two"), name, plan)
              for name in sorted(plan["shards"])]
    found = [next(selecting.candidates(shard, i, True, 1))[1] for i, shard in enumerate(shards)]
    both = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    both["rest"][:] = 0
    turned = {name: column[::-1] for name, column in both.items()}
    assert selecting.best_rows(both, 1)["shard"] == selecting.best_rows(turned, 1)["shard"] == [0]


def test_what_a_kill_left_in_the_folder_does_not_stand_in_the_way(stored, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".partial-selection.npz").write_bytes(b"half")
    selected(stored[0], tmp_path / "out", per_class=2)
    assert sorted(os.listdir(tmp_path / "out")) == ["selection.json", "selection.npz",
                                                    "selection.png"]


def test_more_than_there_is_is_refused_before_the_folder_is_made(stored, tmp_path):
    with pytest.raises(ValueError, match="--per_class=5000: .* examples in all"):
        selected(stored[0], tmp_path / "out", per_class=5000)
    assert not (tmp_path / "out").exists()


def test_shards_prepared_again_in_another_order_are_refused(tmp_path):
    """Of the same names and the same sizes."""
    source = write_images(tmp_path / "shards", counts=(6,))
    plan = predicted(tmp_path / "out", source)
    selected(tmp_path / "out", tmp_path / "selection", per_class=2)
    path = os.path.join(source, "unlabeled-00000-of-00001")
    payloads = [tfrecord.read(path, *place) for place in zip(*tfrecord.scan(path))]
    tfrecord.write(path, payloads[::-1])
    index = shard_sets.load_unlabeled(source, 8, "whole").index
    for use in (lambda: predictions.load(str(tmp_path / "out"), index, 3),
                lambda: selection.positions(str(tmp_path / "selection"), index),
                lambda: labelling.finished(str(tmp_path / "out"), labelling.tasks_of_one(
                    source, None, "cifar10")[0][0], plan)):
        with pytest.raises(ValueError, match="record [0-9] is of 00.*.png, but .*prepared again"):
            use()


def test_another_selection_is_replaced_only_when_asked(stored, tmp_path, capsys):
    folder, out = stored[0], tmp_path / "out"
    first, _ = selected(folder, out, per_class=5)
    before = {name: (out / name).read_bytes() for name in os.listdir(out)}
    capsys.readouterr()
    selected(folder, out, per_class=5)
    assert capsys.readouterr().out == f"{out}: this selection is there already\n"
    for options in (dict(per_class=6), dict(per_class=5, short="leave"),
                    dict(per_class=5, rank_all=True)):
        with pytest.raises(ValueError, match="holds another selection, .* add --overwrite"):
            selected(folder, out, **options)
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == before
    plan = prediction_files.read_plan(str(folder))
    names = sorted(plan["shards"])
    selecting.check_written(str(folder), str(out), plan, names, 5)
    with pytest.raises(ValueError, match="does not hold the selection .* all workers see"):
        selecting.check_written(str(folder), str(out), plan, names, 6)
    second, report = selected(folder, out, per_class=6, overwrite=True)
    assert (len(first.key), len(second.key), report["per_class"]) == (15, 18, 6)
    (out / selection.ARRAYS).write_bytes(before[selection.ARRAYS])  # whole, but not this one's
    with pytest.raises(ValueError, match="or a damaged one"):
        selected(folder, out, per_class=6)
    (out / selection.REPORT).unlink()       # a kill came before it was written: there is none
    (out / selection.MONTAGE).unlink()
    (out / ".partial-selection.png").write_bytes(b"half")
    selected(folder, out, per_class=6)
    assert sorted(os.listdir(out)) == [selection.REPORT, selection.ARRAYS, selection.MONTAGE]
    report = (out / selection.REPORT).read_text()
    with pytest.raises(ValueError, match="names a split twice"):
        selected(folder, out, per_class=6, splits=["unlabeled"] * 2)
    assert (out / selection.REPORT).read_text() == report


def test_a_montage_of_damaged_files_is_of_what_is_left(tmp_path, capsys):
    source = write_images(tmp_path / "shards", counts=(6, 3))
    path = os.path.join(source, "unlabeled-00000-of-00002")
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.truncate(offsets[4] + 20)
    predicted(tmp_path / "out", source, skip_corrupt=True)
    selected(tmp_path / "out", tmp_path / "selection", per_class=7)
    assert (tmp_path / "selection" / selection.MONTAGE).exists()
    for name in os.listdir(source):     # whole records, but of no images
        path = os.path.join(source, name)
        tfrecord.write(path, [schema.encode(schema.Record(
            encoded=b"garbage", format="PNG", filename="x"))] * len(tfrecord.scan(path, [])[0]))
    chosen, _ = selected(tmp_path / "out", tmp_path / "selection", per_class=6, overwrite=True)
    assert len(chosen.key) == 18 and not (tmp_path / "selection" / selection.MONTAGE).exists()
    assert f"no montage: no image can be read in {source}" in capsys.readouterr().out

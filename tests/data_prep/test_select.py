"""Selections: against sorting everything, bounded memory, short classes, and what is refused."""

import json
import os
import re

import numpy as np
import pytest

from data_prep import command, predict, select
from mpl_tf import datasets
from mpl_tf.datasets import loading, prediction_files, predictions, selection, shard_sets
from mpl_tf.shards import schema, tfrecord
from tests.stored import CLASSES, change, colors, predicted, write_images

DIGITS = "train-00000-of-00001"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(folder of predictions, folder of 150 images in 5 shards), with ties in every class."""
    root = tmp_path_factory.mktemp("stored")
    source = write_images(root / "shards", counts=(30, 10, 50, 20, 40))

    def coarse(images):
        probs = np.round(colors(images) * 20) / 20
        probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]
        return np.clip(probs, 0, 1) / np.clip(probs, 0, 1).sum(axis=1, keepdims=True)
    predicted(root / "predictions", source, network=coarse)
    return root / "predictions", source


def everything(folder):
    """(shard, number, key, top, rest, probs) of all examples."""
    plan = prediction_files.read_plan(str(folder))
    parts = [prediction_files.read_shard(str(folder), name, plan)
             for name in sorted(plan["shards"])]
    shard = np.repeat(np.arange(len(parts)), [len(part.key) for part in parts])
    return (shard, *(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("number", "key", "top", "rest", "probs")))


def run(folder, out, *flags):
    select.run([f"--predictions_dir={folder}", f"--output_dir={out}", *flags])
    return selection.load(str(out)), json.loads((out / selection.REPORT).read_text())


@pytest.mark.parametrize("per_class", [1, 7, 20])
@pytest.mark.parametrize("rank_all", [False, True])
def test_it_is_what_sorting_everything_gives(stored, tmp_path, per_class, rank_all):
    folder, _ = stored
    chosen, report = run(folder, tmp_path / "out", f"--per_class={per_class}", "--short=leave",
                         *["--rank_all"] * rank_all)
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
    generator, best = np.random.default_rng(0), select.Best(10)
    values = generator.random(5000).astype(np.float32)
    held = []
    for start in range(0, 5000, 50):
        rows = np.arange(start, start + 50)
        found = {"rest": values[rows], "key": np.char.mod(b"%d", rows), "shard": rows,
                 "number": rows}
        best.add(select.best_rows(found, 10, best.worst))
        held.append(sum(len(part["rest"]) for part in best._parts))
    assert max(held) < 30
    np.testing.assert_array_equal(best.take()["number"], np.argsort(values)[:10])


def test_a_short_class_is_repeated_or_left_and_reported(stored, tmp_path, capsys):
    folder, _ = stored
    _, _, _, top, _, _ = everything(folder)
    counts = np.bincount(top, minlength=3)
    most = int(counts.max())
    repeated, report = run(folder, tmp_path / "a", f"--per_class={most}")
    assert np.bincount(repeated.label).tolist() == [most] * 3
    assert "have fewer and are repeated" in capsys.readouterr().out
    label = int(counts.argmin())
    keys = repeated.key[repeated.label == label].tolist()
    assert keys[counts[label]:] == (keys[:counts[label]] * most)[:most - counts[label]]
    left, _ = run(folder, tmp_path / "b", f"--per_class={most}", "--short=leave")
    assert np.bincount(left.label).tolist() == counts.tolist()
    assert "left as they are" in capsys.readouterr().out
    for k, each in enumerate(report["classes"]):
        assert (each["different"], each["selected"], each["short"]) == (
            counts[k], most, bool(counts[k] < most))
    assert sum(report["histogram_of_confidence"].values()) == report["different"] == counts.sum()


@pytest.mark.parametrize("flags, said", [
    (["--per_class=151"], "--per_class=151: .* has 150 examples in all; ask for fewer"),
    (["--per_class=3", "--splits=train"], "no predictions of 'train', only of unlabeled"),
    (["--per_class=3", "--predictions_dir={source}"], "predictions.json is missing"),
    (["--per_class=3", "--output_dir={source}"], "which is no part of a selection")])
def test_bad_flags_are_one_line(stored, tmp_path, capsys, flags, said):
    folder, source = stored
    given = [f"--predictions_dir={folder}", f"--output_dir={tmp_path / 'out'}",
             *(flag.format(source=source) for flag in flags)]
    assert command.main(select.run, given) == 2
    err = capsys.readouterr().err
    assert re.search(said, err) and err.startswith("error: ") and err.count("\n") == 1


def test_a_key_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        write_images(tmp_path / name, name, counts=(4,), name="same{:03}.png")
    predicted(tmp_path / "out", str(tmp_path / "a"), str(tmp_path / "b"))
    with pytest.raises(ValueError, match="the key same00.*.png is in a-00000-of-00001 and in b-0"):
        run(tmp_path / "out", tmp_path / "selection", "--per_class=8")


def test_a_key_of_two_classes_is_refused_and_ties_do_not_depend_on_the_order_of_files(tmp_path):
    """The same name on two files' images, which another class each is likeliest of."""
    for name in ("a", "b"):
        write_images(tmp_path / name, name, counts=(1,), name="same.png")
    plan = predicted(tmp_path / "two", str(tmp_path / "a"), str(tmp_path / "b"))
    change(tmp_path / "two", "b-00000-of-00001", top=np.array([1], np.int32), rest=np.zeros(1, "f4"),
           probs=np.array([[0, 1, 0]], np.float16))
    change(tmp_path / "two", "a-00000-of-00001", top=np.array([0], np.int32), rest=np.zeros(1, "f4"),
           probs=np.array([[1, 0, 0]], np.float16))
    with pytest.raises(ValueError, match="the key same.png is in a-00000-of-00001 and in b-0"):
        run(tmp_path / "two", tmp_path / "selection", "--per_class=1")
    shards = [prediction_files.read_shard(str(tmp_path / "two"), name, plan)
              for name in sorted(plan["shards"])]
    found = [next(select.candidates(shard, i, True, 1))[1] for i, shard in enumerate(shards)]
    both = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    both["rest"][:] = 0
    turned = {name: column[::-1] for name, column in both.items()}
    assert select.best_rows(both, 1)["shard"] == select.best_rows(turned, 1)["shard"] == [0]


def test_what_a_kill_left_in_the_folder_does_not_stand_in_the_way(stored, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".partial-selection.npz").write_bytes(b"half")
    run(stored[0], tmp_path / "out", "--per_class=2")
    assert sorted(os.listdir(tmp_path / "out")) == ["selection.json", "selection.npz",
                                                    "selection.png"]


def test_more_than_there_is_is_refused_before_the_folder_is_made(stored, tmp_path):
    with pytest.raises(ValueError, match="--per_class=5000: .* examples in all"):
        run(stored[0], tmp_path / "out", "--per_class=5000")
    assert not (tmp_path / "out").exists()


def test_shards_prepared_again_in_another_order_are_refused(tmp_path):
    """Of the same names and the same sizes."""
    source = write_images(tmp_path / "shards", counts=(6,))
    plan = predicted(tmp_path / "out", source)
    run(tmp_path / "out", tmp_path / "selection", "--per_class=2")
    path = os.path.join(source, "unlabeled-00000-of-00001")
    payloads = [tfrecord.read(path, *place) for place in zip(*tfrecord.scan(path))]
    tfrecord.write(path, payloads[::-1])
    index = shard_sets.load_unlabeled(source, 8, "whole").index
    for use in (lambda: predictions.load(str(tmp_path / "out"), index, 3),
                lambda: selection.positions(str(tmp_path / "selection"), index),
                lambda: predict.finished(str(tmp_path / "out"), predict._tasks(
                    source, None, "cifar10")[0][0], plan)):
        with pytest.raises(ValueError, match="record [0-9] is of 00.*.png, but .*prepared again"):
            use()


# Back to the examples of a data set.

def test_positions_in_an_index(stored, tmp_path, caplog):
    folder, source = stored
    chosen, _ = run(folder, tmp_path / "out", "--per_class=20")
    images = shard_sets.load_unlabeled(source, 8, "whole")
    at = selection.positions(str(tmp_path / "out"), images.index)
    assert len(at) == 60
    names = [images.index.record(i).filename.encode() for i in at]
    assert names == chosen.key.tolist()
    probs = predictions.load(str(folder), images.index.subset(at), 3)
    confident = probs[np.arange(60), chosen.label].astype(np.float32)
    np.testing.assert_allclose(confident, chosen.confidence, atol=1e-3)
    # Without the first shard, as if it were held out.
    caplog.set_level("INFO", "mpl_tf")
    few = images.index.subset(images.index.shard > 0)
    kept = selection.positions(str(tmp_path / "out"), few)
    assert [few.record(i).filename.encode() for i in kept] == chosen.key[chosen.shard > 0].tolist()
    assert "of the 60 selected examples are held out" in caplog.text


def test_selections_that_are_refused(stored, tmp_path):
    folder, source = stored
    run(folder, tmp_path / "out", "--per_class=5")
    index = shard_sets.load_unlabeled(source, 8, "whole").index
    plan = prediction_files.read_plan(str(folder))
    with pytest.raises(ValueError, match="by predictions of another network"):
        selection.positions(str(tmp_path / "out"), index, {**plan, "model": "other"})
    others = write_images(tmp_path / "others", counts=(30, 10, 50, 20, 41))
    with pytest.raises(ValueError, match="which has .* bytes there: name the folder that was"):
        selection.positions(str(tmp_path / "out"),
                            shard_sets.load_unlabeled(others, 8, "whole").index)
    with pytest.raises(ValueError, match="holds no selection: expected selection.npz"):
        selection.load(str(tmp_path))
    (tmp_path / "out" / selection.ARRAYS).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="selection.npz is not the one that selection.json is of"):
        selection.load(str(tmp_path / "out"))


def test_another_selection_is_replaced_only_when_asked(stored, tmp_path, capsys):
    folder, out = stored[0], tmp_path / "out"
    first, _ = run(folder, out, "--per_class=5")
    before = {name: (out / name).read_bytes() for name in os.listdir(out)}
    capsys.readouterr()
    run(folder, out, "--per_class=5")
    assert capsys.readouterr().out == f"{out}: this selection is there already\n"
    for flags in (["--per_class=6"], ["--per_class=5", "--short=leave"],
                  ["--per_class=5", "--rank_all"]):
        with pytest.raises(ValueError, match="holds another selection, .* add --overwrite"):
            run(folder, out, *flags)
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == before
    second, report = run(folder, out, "--per_class=6", "--overwrite")
    assert (len(first.key), len(second.key), report["per_class"]) == (15, 18, 6)
    (out / selection.ARRAYS).write_bytes(before[selection.ARRAYS])  # whole, but not this one's
    with pytest.raises(ValueError, match="or a damaged one"):
        run(folder, out, "--per_class=6")
    (out / selection.REPORT).unlink()       # a kill came before it was written: there is none
    (out / selection.MONTAGE).unlink()
    (out / ".partial-selection.png").write_bytes(b"half")
    run(folder, out, "--per_class=6")
    assert sorted(os.listdir(out)) == [selection.REPORT, selection.ARRAYS, selection.MONTAGE]
    report = (out / selection.REPORT).read_text()
    with pytest.raises(ValueError, match="names a split twice"):
        run(folder, out, "--per_class=6", "--splits=unlabeled,unlabeled")
    assert (out / selection.REPORT).read_text() == report


def test_a_montage_of_damaged_files_is_of_what_is_left(tmp_path, capsys):
    source = write_images(tmp_path / "shards", counts=(6, 3))
    path = os.path.join(source, "unlabeled-00000-of-00002")
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.truncate(offsets[4] + 20)
    predicted(tmp_path / "out", source, skip_corrupt=True)
    run(tmp_path / "out", tmp_path / "selection", "--per_class=7")
    assert (tmp_path / "selection" / selection.MONTAGE).exists()
    for name in os.listdir(source):     # whole records, but of no images
        path = os.path.join(source, name)
        tfrecord.write(path, [schema.encode(schema.Record(
            encoded=b"garbage", format="PNG", filename="x"))] * len(tfrecord.scan(path, [])[0]))
    chosen, _ = run(tmp_path / "out", tmp_path / "selection", "--per_class=6", "--overwrite")
    assert len(chosen.key) == 18 and not (tmp_path / "selection" / selection.MONTAGE).exists()
    assert f"no montage: no image can be read in {source}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(folder of predictions, folder of a selection) of the digits."""
    root = tmp_path_factory.mktemp("digits")
    names = list("0123456789")

    def sums(images):
        odds = np.exp(images.reshape(len(images), 8, 8).sum(axis=1, dtype=np.float64)[:, :4] / 400)
        probs = np.concatenate([odds] * 3, axis=1)[:, :10]
        return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)
    predict_digits(root / "predictions", sums, names)
    run(root / "predictions", root / "selection", "--per_class=400", "--short=leave")
    return root / "predictions", root / "selection", sums


def predict_digits(folder, network, names):
    from data_prep import forward, predict
    tasks = predict._tasks("digits", None, "digits")
    plan = prediction_files.plan_of("m", 10, names, 8, "whole", ["digits"],
                                    {task.name: size for task, size in tasks})
    os.makedirs(folder)
    predict.write_plan(str(folder), plan)
    for task, shard in forward.predict_shards([tasks[0][0]], plan, network):
        prediction_files.write_shard(prediction_files.shard_path(str(folder), task.name), shard)


def test_a_data_set_in_memory_gets_its_rows(digits):
    stored, chosen, network = digits
    options = dict(labeled_examples=60, holdout=20, predictions_dir=str(stored))
    for data, count in ((datasets.load("digits", **options), 1277),
                        (datasets.load("digits", selection=str(chosen), **options), None)):
        assert data.labeled_probs.shape == (40, 10)
        assert len(data.unlabeled) == len(data.unlabeled_probs)
        assert count in (None, len(data.unlabeled))
        for images, probs in ((data.labeled.images, data.labeled_probs),
                              (data.unlabeled, data.unlabeled_probs)):
            np.testing.assert_allclose(probs, network(images), rtol=1e-3)
        held = {image.tobytes() for image in data.holdout.images}
        assert not held & {image.tobytes() for image in data.unlabeled}
    top = selection.load(str(chosen))
    assert 0 < len(top.key) - len(data.unlabeled) <= 20     # those held out are gone


def test_images_in_shards_get_their_rows(stored, tmp_path):
    folder, source = stored
    run(folder, tmp_path / "selection", "--per_class=9")
    images = shard_sets.load_unlabeled(source, 8, "whole")
    unlabeled, probs = loading._chosen(images, tuple(CLASSES), str(folder),
                                        str(tmp_path / "selection"))
    assert unlabeled.shape == (27, 8, 8, 3) and probs.shape == (27, 3)
    pixels = unlabeled._evaluation_batch(np.arange(27))
    top = colors(pixels).argmax(axis=1)
    assert (np.abs(probs.astype(np.float32) - colors(pixels)) < 0.06).all() and len(set(top)) > 1


def test_digits_predictions_of_other_classes_are_refused(digits, tmp_path):
    stored, _, network = digits
    predict_digits(tmp_path / "own", network, list("9876543210"))
    with pytest.raises(ValueError, match="class 0 is '9', but '0' in the data"):
        datasets.load("digits", predictions_dir=str(tmp_path / "own"))
    change(tmp_path / "own", None, plan=True, class_names=None, num_classes=9)
    with pytest.raises(ValueError, match="of 9 classes, but the data have 10"):
        datasets.load("digits", predictions_dir=str(tmp_path / "own"))

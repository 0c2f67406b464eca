"""What data_prep.features computes, how it goes on after a kill, and what it refuses."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from data_prep import command, image_folder
from mpl_tf.datasets import feature_files as files
from mpl_tf.features import backbones, computing
from mpl_tf.shards import crops, schema, tfrecord
from tests import tiny
from tests.featured import (FEATURES, SIZE, TEST, TRAIN, UNLABELED, arrays, backbone, change, change_plan,
                            contents, made, shards)
from tests.prep import jpeg, put


def records(source, name):
    path = os.path.join(source, name)
    return [schema.decode(tfrecord.read(path, offset, length), path, labels=False)
            for offset, length in zip(*tfrecord.scan(path))]


def test_the_first_view_is_the_backbone_on_the_crop_of_evaluations(tmp_path):
    folder, options = made(tmp_path)
    model = tf.keras.models.load_model(options.backbone)
    for name, views in ((TRAIN, 3), (UNLABELED, 3), (TEST, 1)):
        shard, found = arrays(folder, name), records(options.sources[0], name)
        assert shard.key.tolist() == [record.filename.encode() for record in found]
        images = np.stack([crops.evaluation_crop(each.encoded, SIZE, "inception") for each in found])
        expected = model.predict(images.astype("float32") / 127.5 - 1, verbose=0)
        assert shard.features.shape == (len(found), views, FEATURES)
        np.testing.assert_allclose(shard.features[:, 0], expected, rtol=2e-3, atol=1e-4)
        for view in range(1, views):
            assert np.abs(shard.features[:, view] - expected).max() > 1e-2
    assert sorted(arrays(folder, TRAIN).label) == [0] * 4 + [1] * 4
    assert set(arrays(folder, UNLABELED).label) == {-1}
    assert files.read_plan(str(folder))["labeled"] == [TEST, TRAIN]


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, capsys):
    whole = contents(made(tmp_path)[0])
    written, write = [], files.write_shard

    def killed(path, shard):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, shard)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, "again")
    before = contents(tmp_path / "again")
    assert len(before) == 1
    capsys.readouterr()
    folder, _ = made(tmp_path, "again")
    assert "continuing: 1 of 3 files are there" in capsys.readouterr().out
    assert contents(folder) == whole
    made(tmp_path, "again")
    assert "3 of 3 files" in capsys.readouterr().out and contents(folder) == whole


@pytest.mark.slow
def test_processes_that_share_the_work_make_the_same_bytes(tmp_path):
    whole = contents(made(tmp_path)[0])
    for index in range(2):
        folder, _ = made(tmp_path, "shared", shard_index=index, num_shards=2)
        assert len(contents(folder)) == (2, 3)[index]
    assert contents(folder) == whole
    assert contents(made(tmp_path, "batch", batch_size=64)[0]).keys() == whole.keys()
    for name in (TRAIN, TEST):      # of another batch size: the same but for rounding
        np.testing.assert_allclose(arrays(tmp_path / "batch", name).features,
                                   arrays(folder, name).features, rtol=2e-3, atol=1e-4)


def test_only_the_first_images_of_the_named_splits(tmp_path):
    folder, _ = made(tmp_path, views=0, splits=["train", "test"], first={"train": 3})
    assert set(contents(folder)) == {f"{TRAIN}.npz", f"{TEST}.npz"}
    assert arrays(folder, TRAIN).features.shape == (3, 1, FEATURES)


@pytest.mark.parametrize("changes, said", [
    ({"views": 2}, "belongs to other augmented views"), ({"seed": 5}, "belongs to other augmented views"),
    ({"backbone": "other"}, "belongs to another backbone"), ({"crop": "whole"}, "belongs to another view")])
def test_a_folder_of_other_features_is_refused(tmp_path, changes, said):
    folder, options = made(tmp_path)
    before = contents(folder)
    if "backbone" in changes:
        changes = {"backbone": backbone(tmp_path / "other.keras", seed=2)}
    with pytest.raises(ValueError, match=said) as refused:
        made(tmp_path, **changes)
    assert "\n" not in str(refused.value) and "give another --output_dir, or --overwrite" in str(refused.value)
    assert contents(folder) == before


def test_a_corrected_label_is_not_answered_with_the_old_features(tmp_path):
    """It leaves the names and the sizes of shards as they are."""
    def prepare(*classes):
        table = "".join(f"{i}.jpg,{name}\n" for i, name in enumerate(classes))
        put(str(tmp_path / "labels.csv"), "file,class\n" + table)
        assert command.main(image_folder.run, [
            f"--source_dir={tmp_path / 'photos'}", f"--labels_csv={tmp_path / 'labels.csv'}",
            f"--output_dir={tmp_path / 'shards'}", "--overwrite", "--workers=1"]) == 0
        return os.path.getsize(tmp_path / "shards" / TRAIN)

    for i in range(8):
        put(str(tmp_path / "photos" / f"{i}.jpg"), jpeg(i))
    size = prepare(*["ant", "bee"] * 4)
    folder, _ = made(tmp_path)
    before = arrays(folder, TRAIN)
    first = int(before.key[0].split(b".")[0])       # an image that trains
    assert prepare(*["ant" if (i == first) != (i % 2 == 0) else "bee" for i in range(8)]) == size
    with pytest.raises(ValueError, match="belongs to other shards: give another --output_dir, or --overwrite$"):
        made(tmp_path)
    made(tmp_path, overwrite=True)
    after = arrays(folder, TRAIN)
    assert (before.key == after.key).all() and (before.label != after.label).nonzero()[0].tolist() == [0]
    plan = files.read_plan(str(folder))
    for shard in plan["shards"].values():       # as an earlier version wrote it, which is not refused
        del shard["sha256"]
    (folder / files.PLAN).write_text(json.dumps(plan))
    assert made(tmp_path)[0] == folder


def test_overwrite_removes_the_features_and_nothing_else(tmp_path):
    folder, _ = made(tmp_path)
    whole = contents(folder)
    (folder / "notes.txt").write_text("mine")
    change_plan(folder, shards={f"train-0000{i}-of-00002": {"bytes": 1, "records": None} for i in range(2)}
                | {"../../photo": {"bytes": 1, "records": None}})
    put(str(tmp_path / "photo.npz"), "x")
    put(str(folder / "train-00000-of-00002.npz"), "old")
    with pytest.raises(ValueError, match="features.json belongs to other shards: give another --output_dir, or "
                       "--overwrite$"):
        made(tmp_path)
    made(tmp_path, overwrite=True)
    assert {name: data for name, data in contents(folder).items() if name in whole} == whole
    assert (folder / "notes.txt").read_text() == "mine" and (tmp_path / "photo.npz").exists()
    assert not (folder / "train-00000-of-00002.npz").exists()
    assert set(files.read_plan(str(folder))["shards"]) == {TRAIN, TEST, UNLABELED}
    made(tmp_path, overwrite=True, views=0)
    assert arrays(folder, TRAIN).features.shape[1] == 1


def test_overwrite_needs_features_that_are_data_preps(tmp_path):
    put(str(tmp_path / "features" / "notes.txt"), "mine")
    with pytest.raises(ValueError, match="holds 'notes.txt' and no features.json"):
        made(tmp_path, overwrite=True)
    put(str(tmp_path / "features" / files.PLAN), '{"version": 2}')
    with pytest.raises(ValueError, match="is of version 2"):
        made(tmp_path, overwrite=True)
    assert sorted(os.listdir(tmp_path / "features")) == [files.PLAN, "notes.txt"]


@pytest.mark.slow
def test_a_folder_with_other_files_is_refused(tmp_path):
    shards(tmp_path)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds 'notes.txt' and no features.json"):
        made(tmp_path)


def test_stored_features_of_another_file_or_version_are_refused(tmp_path):
    folder, options = made(tmp_path)
    change(folder, TRAIN, key=lambda key: key[::-1])
    with pytest.raises(ValueError, match=f"{TRAIN}.npz"):
        made(tmp_path)
    change_plan(folder, version=2)
    with pytest.raises(ValueError, match="is of version 2, and this program reads version 1"):
        made(tmp_path)


@pytest.mark.parametrize("changes, said", [
    ({"splits": ["valid"]}, "--splits: no --source_dir has shards of valid, only of test, train, unlabeled"),
    ({"first": {"extra": 3}}, "--first: no --source_dir has shards of extra"),
    ({"splits": ["unlabeled"]}, "has no dataset.json with class names"),
    ({"image_size": 32}, "--image_size=32 with --backbone=.*tiny.keras, which takes images of 16 pixels"),
    ({"backbone": "resnet"}, "--backbone=resnet is unknown: expected efficientnet-lite0"),
    ({"backbone": "no.keras"}, "--backbone=no.keras: there is no such file"),
    ({"weights": "x.h5"}, "--weights=x.h5 with --backbone=.*: expected only with keras.applications"),
    ({"sources": ["nowhere"]}, "--source_dir=nowhere")])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, changes, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as refused:
        made(tmp_path, **changes)
    assert "\n" not in str(refused.value) and not (tmp_path / "features").exists()


def test_an_image_that_cannot_be_read_is_an_error_or_skipped(tmp_path):
    source = shards(tmp_path)
    found = records(source, UNLABELED)
    path = os.path.join(source, UNLABELED)
    tfrecord.write(path, [schema.encode(schema.Record(
        encoded=b"no image" if i == 1 else each.encoded, filename=each.filename)) for i, each in enumerate(found)])
    with pytest.raises(tfrecord.CorruptRecord, match="cannot be decoded"):
        made(tmp_path)
    folder, _ = made(tmp_path, skip_corrupt=True)
    shard = arrays(folder, UNLABELED)
    assert shard.skipped.tolist() == [1] and shard.number.tolist() == [0, 2, 3, 4]


def test_features_that_are_not_finite_are_refused(tmp_path):
    def model(images, keys):
        return np.full([*images.shape[:2], FEATURES], 1e6)      # more than float16 holds
    _, options = made(tmp_path)
    plan, tasks, _, _ = computing.begin(options)
    with pytest.raises(ValueError, match="from record 0"):
        list(computing.shards(tasks, plan, model))


@pytest.mark.parametrize("model, said", [
    (lambda: tf.keras.Sequential([tf.keras.Input((8, 8, 3)), tf.keras.layers.Conv2D(2, 3)]),
     r"gives outputs of shape \(6, 6, 2\)"),
    (lambda: tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(2)]),
     r"takes inputs of shape \(5,\)"),
    (lambda: tf.keras.Sequential([tf.keras.Input((8, 8, 1)), tf.keras.layers.GlobalAveragePooling2D()]),
     r"expected square RGB images"),
    (lambda: mpl_tf.MetaPseudoLabels(*tiny.networks(), mpl_tf.objectives.Supervised()),
     r"is a MetaPseudoLabels of 0 inputs and 0 outputs: .* save one of these, such as model.student")])
def test_models_that_are_no_backbones(tmp_path, model, said):
    path, model = str(tmp_path / "m.keras"), model()
    if isinstance(model, mpl_tf.MetaPseudoLabels):
        model.compile("sgd", "sgd")
        model.fit(tiny.dataset(tiny.batches(1)), verbose=0)
    model.save(path)
    with pytest.raises(ValueError, match=said) as refused:
        backbones.load(path)
    assert "\n" not in str(refused.value)


def test_a_backbone_of_any_size_takes_the_one_that_is_asked_for(tmp_path):
    image = tf.keras.Input((None, None, 3))
    path = str(tmp_path / "any.keras")
    tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D()(image)).save(path)
    assert backbones.load(path, 24).input_shape == (None, 24, 24, 3)
    assert backbones.load(path).input_shape == (None, 224, 224, 3)

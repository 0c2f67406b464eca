"""Images that stay in their shards: batches as a function of (seed, step), bad records."""

import errno
import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mpl_tf import data, datasets
from mpl_tf.datasets import imagenet as imagenet_source, shard_sets
from mpl_tf.shards import crops, record_index, schema, tfrecord
from mpl_tf.shards.images import ShardImages

CLASSES = 5


def color_of(number):
    """A colour that tells an example from all others: RGB."""
    return 40 * (number % CLASSES) + 20, 6 * number % 256, 128


def encoded(number, size=(24, 20)):
    image = Image.fromarray(np.full((size[1], size[0], 3), color_of(number), np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_shards(folder, split="train", shards=4, each=6, labeled=True, first=0):
    """Shards by TensorFlow's writer with hand-made protos: label - 1 is number % CLASSES."""
    number = first
    for shard in range(shards):
        with tf.io.TFRecordWriter(str(folder / f"{split}-{shard:05d}-of-{shards:05d}")) as writer:
            for _ in range(each):
                feature = {
                    "image/encoded": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[encoded(number)])),
                    "image/filename": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[f"n{number}.JPEG".encode()]))}
                if labeled:
                    feature["image/class/label"] = tf.train.Feature(
                        int64_list=tf.train.Int64List(value=[number % CLASSES + 1]))
                writer.write(tf.train.Example(features=tf.train.Features(
                    feature=feature)).SerializeToString())
                number += 1


@pytest.fixture()
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_source, "NUM_CLASSES", CLASSES)
    write_shards(tmp_path)
    write_shards(tmp_path, "validation", shards=2, first=100)
    return tmp_path


def imagenet(folder, **options):
    return datasets.load("imagenet", data_dir=str(folder), image_size=16, **options)


def label_in(images):
    """The labels that the images' colours say; images in [-1, 1]."""
    red = (np.asarray(images)[:, 8, 8, 0] + 1) * 127.5
    return np.round((red - 20) / 40).astype(int)


def assert_labels_fit(batch):
    np.testing.assert_array_equal(label_in(batch["image"]), batch["label"])


def test_parts_of_imagenet(folder):
    """The first shards are labeled, the last held out, the rest and the first unlabeled."""
    whole = imagenet(folder)
    assert (len(whole.labeled.labels), len(whole.unlabeled), len(whole.test.labels)) == (24, 24, 12)
    assert whole.holdout is None and whole.flip and whole.labeled.images.shape == (24, 16, 16, 3)
    parts = imagenet(folder, labeled_shards=2, holdout_shards=1, holdout=3)
    np.testing.assert_array_equal(parts.labeled.labels, np.arange(9) % CLASSES)
    np.testing.assert_array_equal(np.sort(parts.holdout.labels),
                                  np.sort(np.r_[9:12, 18:24] % CLASSES))
    index = parts.unlabeled.index
    places = set(zip(index.shard.tolist(), index.number.tolist()))
    assert places == {(n // 6, n % 6) for n in (*range(9), *range(12, 18))}
    names = {schema.decode(index.read(i), "", labels=False).filename for i in range(len(index))}
    assert names == {f"n{n}.JPEG" for n in (*range(9), *range(12, 18))}


def test_shards_of_fewer_classes_than_imagenets_are_told(folder, monkeypatch, said):
    imagenet(folder)
    assert not said()
    from mpl_tf.datasets import imagenet as module
    monkeypatch.setattr(module, "NUM_CLASSES", 8)
    imagenet(folder, labeled_examples=8)
    assert "has labels of 5 of ImageNet's 8 classes: for other classes than" in said()[0]


@pytest.mark.slow
def test_batches_are_a_function_of_seed_and_step(folder):
    dataset = imagenet(folder, labeled_shards=2)
    options = dict(batch_size=4, unlabeled_batch_size=8, seed=3, cutout=0)
    batches = list(data.train_dataset(dataset, train_steps=6, **options))
    for batch in batches:
        assert_labels_fit(batch["labeled"])
        assert batch["unlabeled"]["augmented"].shape == (8, 16, 16, 3)
    resumed = list(data.train_dataset(dataset, start_step=4, train_steps=6, **options))
    for batch, again in zip(batches[4:], resumed):
        for one, other in zip(tf.nest.flatten(batch), tf.nest.flatten(again)):
            np.testing.assert_array_equal(one, other)
    # An epoch of the unlabeled images is three batches: every image once.
    greens = np.concatenate([(batch["unlabeled"]["image"].numpy()[:, 8, 8, 1] + 1) * 127.5
                             for batch in batches[:3]])
    np.testing.assert_array_equal(np.sort(np.round(greens)), np.arange(24) * 6)
    # Two workers read slices of the same batches.
    for offset in range(2):
        parts = list(data.train_dataset(dataset, train_steps=6, num_replicas=2,
                                        replica_offset=offset, **options))
        for batch, part in zip(batches, parts):
            np.testing.assert_array_equal(
                batch["unlabeled"]["image"][4 * offset:4 * offset + 4], part["unlabeled"]["image"])


def test_evaluation_sees_every_example_once_in_order(folder):
    dataset = imagenet(folder)
    images, labels = zip(*data.eval_dataset(dataset.test, batch_size=5))
    np.testing.assert_array_equal(np.concatenate(labels), np.arange(100, 112) % CLASSES)
    np.testing.assert_array_equal(label_in(np.concatenate(images)), np.concatenate(labels))


def test_colours_are_distorted_on_request(folder):
    dataset = imagenet(folder)
    plain, colored = (next(iter(data.train_dataset(dataset, 8, color=color)))["labeled"]["image"]
                      for color in ("none", "inception"))
    assert np.abs(plain - colored).max() > 0.1 and np.abs(colored).max() <= 1 + 1e-6


def damage(folder, number):
    """Turns a byte of a training record's payload."""
    path = folder / "train-00000-of-00004"
    offsets, lengths = tfrecord.scan(str(path))
    contents = bytearray(path.read_bytes())
    contents[offsets[number] + tfrecord.HEADER + lengths[number] // 2] ^= 1
    path.write_bytes(bytes(contents))


def test_a_damaged_record_stops_the_run_or_is_skipped_and_told(folder, caplog):
    dataset = imagenet(folder, labeled_shards=2, skip_corrupt=True)
    strict = imagenet(folder, labeled_shards=2)
    damage(folder, 2)       # after it was indexed
    options = dict(batch_size=12, unlabeled=False, train_steps=2)
    with pytest.raises(tf.errors.OpError):
        list(data.train_dataset(strict, **options))
    assert "train-00000-of-00004, record 2 at byte" in str(strict.labeled.images.problem)
    for batch in data.train_dataset(dataset, **options):    # another example, with its own label
        assert_labels_fit(batch["labeled"])
        counts = np.bincount(batch["labeled"]["label"], minlength=CLASSES)
        np.testing.assert_array_equal(counts, [3, 3, 1, 3, 2])      # number 3 stands in for 2
    assert list(dataset.labeled.images.skipped) == [dataset.labeled.images.index.where(2)]
    assert caplog.text.count("record 2 at byte") == 1
    with pytest.raises(tfrecord.CorruptRecord, match="record 2 at byte"):
        imagenet(folder)
    assert len(imagenet(folder, skip_corrupt=True).labeled.labels) == 23


def test_an_image_that_cannot_be_decoded_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_source, "NUM_CLASSES", CLASSES)
    write_shards(tmp_path, shards=1)
    write_shards(tmp_path, "validation", shards=1)
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001")) as writer:
        for number in range(6):
            garbage = encoded(number)[:60] if number == 4 else encoded(number)
            writer.write(schema.encode(schema.Record(garbage, f"n{number}", number % CLASSES)))
    dataset = imagenet(tmp_path)
    with pytest.raises(tf.errors.OpError):
        list(data.train_dataset(dataset, batch_size=6, unlabeled=False, train_steps=1))
    line = str(dataset.labeled.images.problem)
    assert "record 4 at byte" in line and "image n4 cannot be decoded" in line and "\n" not in line


def test_other_unlabeled_images(tmp_path):
    write_shards(tmp_path, "unlabeled", shards=2, labeled=False)
    images = shard_sets.load_unlabeled(str(tmp_path), 20, "whole")
    assert images.shape == (12, 20, 20, 3)
    got = images.evaluation_views(tf.range(12, dtype=tf.int64)).numpy()
    np.testing.assert_array_equal(got[:, 3, 5], [color_of(number) for number in range(12)])
    with pytest.raises(FileNotFoundError, match="has no shards"):
        shard_sets.load_unlabeled(str(tmp_path.parent), 20, "whole")


def test_no_file_stays_open(folder):
    """A thousand shards would be more than a process may have open."""
    images = imagenet(folder).unlabeled
    opened = lambda: len(os.listdir("/proc/self/fd"))
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here")
    before = opened()
    images.evaluation_views(tf.range(24, dtype=tf.int64))
    assert opened() <= before + 1


def test_pictures_show_people_what_the_files_have(folder):
    """The folder's images are of 24 x 20 pixels."""
    index = imagenet(folder).unlabeled.index
    for size, expected in ((8, 20), (32, 32), (100, 100)):
        shown = ShardImages(index, size).pictures(np.array([1, 3]))
        assert shown.shape == (2, expected, expected, 3)
        np.testing.assert_array_equal(shown[:, 3, 5], [color_of(1), color_of(3)])
    damage(folder, 2)
    assert ShardImages(index, 8, skip_corrupt=True).pictures(np.array([1, 2])).shape == (2, 20, 20, 3)


def test_a_picture_that_is_skipped_is_black(folder):
    lenient, strict = imagenet(folder, skip_corrupt=True).unlabeled, imagenet(folder).unlabeled
    damage(folder, 2)
    shown = lenient.pictures(np.array([1, 2, 3]))
    np.testing.assert_array_equal(shown[:, 3, 5], [color_of(1), (0, 0, 0), color_of(3)])
    assert lenient.problem is None and len(lenient.skipped) == 1
    two = ShardImages(lenient.index.subset(np.array([1, 2])), 16, skip_corrupt=True)
    for _ in range(2):      # the second time it is known
        assert not two.pictures(np.array([0, 1]))[1].any()
    with pytest.raises(tfrecord.CorruptRecord, match="record 2 "):
        strict.pictures(np.array([1, 2, 3]))
    assert strict.problem is None       # a picture alone stops no pipeline
    repeated = ShardImages(lenient.index.subset(np.array([2, 2, 2])), 16, skip_corrupt=True)
    with pytest.raises(tfrecord.CorruptRecord):
        repeated.training_views(tf.range(2, dtype=tf.int64), tf.zeros([2], tf.int64), 0, [1])
    assert "none of the 3 images here can be used" in str(repeated.problem)


def test_a_class_whose_last_image_is_bad_stops_a_run_that_skips(folder):
    """Of the labeled images; unlabeled ones of that label may all go."""
    dataset = imagenet(folder, skip_corrupt=True, labeled_examples=6)
    for number in (0, 5):       # the two of label 1
        damage(folder, number)
    labeled, none = dataset.labeled.images, tf.zeros([1], tf.int64)
    labeled.training_views(tf.constant([0], tf.int64), none, 0, [1])
    assert len(labeled.skipped) == 1 and labeled.problem is None
    with pytest.raises(tfrecord.CorruptRecord, match="no other image of label 1 can be used"):
        labeled.training_views(tf.constant([5], tf.int64), none, 0, [1])
    for position in (0, 5):
        dataset.unlabeled.training_views(tf.constant([position], tf.int64), none, 0, [1])
    two = ShardImages(dataset.unlabeled.index.subset(np.array([5, 6])), 16, skip_corrupt=True)
    two.training_views(tf.constant([0], tf.int64), none, 0, [1])
    assert two.problem is None


def test_a_file_that_is_gone_is_one_line(folder):
    images, whole = imagenet(folder).unlabeled, imagenet(folder).unlabeled
    os.remove(folder / "train-00001-of-00004")
    with pytest.raises(tfrecord.CorruptRecord):
        images.evaluation_views(tf.range(24, dtype=tf.int64))
    line = str(images.problem)
    assert "train-00001-of-00004" in line and "cannot be read" in line and "\n" not in line
    with pytest.raises(tfrecord.CorruptRecord):     # evaluations look at a part of many
        whole.subset(np.arange(20)).evaluation_views(tf.range(20, dtype=tf.int64))
    assert "train-00001-of-00004" in str(whole.problem)


def test_a_disk_that_is_away_is_no_damage_and_never_skipped(folder, monkeypatch):
    lenient = imagenet(folder, skip_corrupt=True).unlabeled

    def away(*_):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(tfrecord, "read", away)
    with pytest.raises(tfrecord.UnreadableFile):
        lenient.training_views(tf.range(2, dtype=tf.int64), tf.zeros([2], tf.int64), 0, [1])
    assert "cannot be read (Input/output error): give this process" in str(lenient.problem)
    assert not lenient.skipped
    monkeypatch.undo()
    monkeypatch.setattr(crops, "evaluation_crop", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):        # the images are not to be removed or mended
        lenient.pictures(np.arange(2))


def test_the_index_of_others_shards_is_kept(folder, monkeypatch):
    first = imagenet(folder, labeled_shards=2)
    assert [name for name in os.listdir(folder) if name.startswith("train.labels-of-2-")]
    monkeypatch.setattr(record_index, "build_index", None)      # not called again
    again = imagenet(folder, labeled_shards=2)
    np.testing.assert_array_equal(again.labeled.labels, first.labeled.labels)
    np.testing.assert_array_equal(again.unlabeled.index.offset, first.unlabeled.index.offset)
    monkeypatch.undo()


def test_a_label_that_is_corrected_in_others_shards_is_seen(folder, said):
    """It leaves their sizes as they were, which an index notes."""
    before = imagenet(folder, labeled_shards=1).labeled
    shard = folder / "train-00000-of-00004"
    records = [tf.train.Example.FromString(each.numpy()) for each in tf.data.TFRecordDataset(str(shard))]
    label, size = records[2].features.feature["image/class/label"].int64_list.value, shard.stat().st_size
    label[0] = label[0] % CLASSES + 1
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            writer.write(record.SerializeToString(deterministic=True))
    assert shard.stat().st_size == size and "indexed" not in "".join(said())
    os.utime(shard, (2e9, 2e9))     # clocks of file systems are coarse
    after = imagenet(folder, labeled_shards=1).labeled
    assert (before.labels != after.labels).nonzero()[0].tolist() == [2]
    assert "shards of 'train' were written since they were indexed: they are indexed again" in "".join(said())
    assert (imagenet(folder, labeled_shards=1).labeled.labels == after.labels).all() and "indexed" not in "".join(said())
    [index] = folder.glob("train.labels-of-1-*")        # as an earlier version wrote it
    with np.load(index) as stored:
        np.savez(index, **{name: stored[name] for name in stored if name != "times"})
    os.utime(shard, (1e9, 1e9))
    imagenet(folder, labeled_shards=1)
    assert "indexed" not in "".join(said())


def test_test_sets_are_no_unlabeled_images(folder):
    images = shard_sets.load_unlabeled(str(folder), 16, "inception")
    assert len(images) == 24        # train alone
    for path in folder.glob("train*"):
        path.unlink()
    with pytest.raises(ValueError, match="for testing"):
        shard_sets.load_unlabeled(str(folder), 16, "inception")


@pytest.mark.parametrize("arguments, words", [
    (dict(labeled_shards=4, holdout_shards=1), "more than the 4 training shards"),
    (dict(labeled_shards=1, holdout=3), "leave at least 5"),
    (dict(labeled_examples=25), "more than the 24"), (dict(data_dir=None), "data_dir is missing")])
def test_refusals(folder, arguments, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words) as refusal:
        datasets.load("imagenet", **{"data_dir": str(folder), "image_size": 16, **arguments})
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="no records"):
        ShardImages(_empty(), 16)
    with pytest.raises(ValueError, match="crop 'all'"):
        ShardImages(_empty(), 16, crop="all")


def _empty():
    none = np.zeros(0, np.int64)
    return record_index.Index((), none, none, none, none, none, none)

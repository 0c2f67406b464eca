"""The schema and the files: against TensorFlow's own reader and writer, and every kind of damage."""

import dataclasses
import os
import struct

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.shards import record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

RECORD = schema.Record(
    encoded=b"\xff\xd8 not looked at", filename="n01440764_10026.JPEG", label=4, synset="n01440764",
    text="tench, Tinca tinca", height=30, width=40, boxes=((0.0, 0.25, 0.5, 1.0), (0.5, 0, 1, 1)))

# How readers of Szegedy et al.'s shards read them, written down apart from schema.py.
CLASSIC = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/class/synset": tf.io.FixedLenFeature([], tf.string),
    "image/class/text": tf.io.FixedLenFeature([], tf.string),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/colorspace": tf.io.FixedLenFeature([], tf.string),
    "image/channels": tf.io.FixedLenFeature([], tf.int64),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/object/bbox/label": tf.io.VarLenFeature(tf.int64),
    **{f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32)
       for side in ("xmin", "xmax", "ymin", "ymax")}}


def numbered(count, start=0, label=lambda i: i % 10):
    return [schema.Record(encoded=b"image %d" % i, filename=f"train_{i:05d}", label=label(i),
                           height=1, width=1) for i in range(start, start + count)]


def write(path, examples):
    tfrecord.write(path, [example if isinstance(example, bytes) else schema.encode(example)
                              for example in examples])
    return str(path)


def one_line(caught):
    assert "\n" not in str(caught.value)


def test_encode_decode():
    assert schema.decode(schema.encode(RECORD), "x") == RECORD
    assert schema.encode(RECORD) == schema.encode(RECORD)
    unlabeled = schema.Record(encoded=b"e", filename="a/b\udcff.png", height=2, width=3,
                               format="PNG")
    again = schema.decode(schema.encode(unlabeled), "x", labels=False)
    assert again == unlabeled and again.label is None
    held = schema.features(schema.encode(unlabeled), "x")
    assert not [key for key in held if key.startswith("image/class")]
    assert list(held["image/channels"][1]) == [3] and held["image/filename"][1][0] == b"a/b\xff.png"
    with pytest.raises(ValueError, match="a: label -1 is negative"):
        schema.encode(schema.Record(encoded=b"e", filename="a", label=-1))


def test_tensorflow_reads_what_we_write(tmp_path):
    path = write(tmp_path / "train-00000-of-00001", [RECORD, *numbered(3)])
    first, second, *_ = tf.data.TFRecordDataset(path)
    parsed = tf.io.parse_single_example(first, CLASSIC)
    boxes = {side: tf.sparse.to_dense(parsed[f"image/object/bbox/{side}"]).numpy().tolist()
             for side in ("label", "xmin", "xmax", "ymin", "ymax")}
    assert boxes == {"label": [5, 5], "xmin": [0, 0.5], "ymin": [0.25, 0], "xmax": [0.5, 1],
                     "ymax": [1, 1]}
    scalars = {key.partition("/")[2]: value.numpy() for key, value in parsed.items()
               if "bbox" not in key}
    assert scalars == {
        "encoded": RECORD.encoded, "class/label": 5, "class/synset": b"n01440764",
        "class/text": b"tench, Tinca tinca", "height": 30, "width": 40, "colorspace": b"RGB",
        "channels": 3, "format": b"JPEG", "filename": b"n01440764_10026.JPEG"}
    assert tf.io.parse_single_example(second, CLASSIC)["image/filename"].numpy() == b"train_00000"


def by_hand(**changes):
    """An Example made without schema.py; a value of None leaves the key out."""
    values = {"encoded": [b"jpeg"], "filename": [b"a.JPEG"], "class/label": [1000],
              "class/synset": [b"n15075141"], "class/text": [b"toilet tissue"], "height": [3],
              "width": [4], "format": [b"JPEG"], "colorspace": [b"RGB"], "channels": [3]}
    values.update({key.replace("__", "/"): value for key, value in changes.items()})
    features = {}
    for key, value in values.items():
        if value is not None:
            kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(value[0])]
            message = {"bytes_list": tf.train.BytesList, "int64_list": tf.train.Int64List,
                       "float_list": tf.train.FloatList}[kind](value=value)
            features[f"image/{key}"] = tf.train.Feature(**{kind: message})
    return tf.train.Example(
        features=tf.train.Features(feature=features)).SerializeToString()


def test_records_of_others_are_read():
    record = schema.decode(by_hand(), "x", num_classes=1000)
    assert (record.label, record.synset, record.height, record.width) == (999, "n15075141", 3, 4)
    assert record.boxes == ()
    bare = schema.decode(by_hand(height=None, width=None, format=None, class__synset=None,
                                  class__text=None, extra=[1.5]), "x")
    assert (bare.height, bare.format, bare.synset) == (0, "", "")
    assert schema.decode(by_hand(class__label=[0]), "x", labels=False).label is None


@pytest.mark.parametrize("payload, words", [
    (b"garbage, no proto at all", "no tf.train.Example"),
    (b"", "image/encoded is missing"),
    (by_hand(encoded=None), "image/encoded is missing, expected 1 value of type bytes"),
    (by_hand(encoded=[5]), "holds 1 value of type int64, expected 1 value of type bytes"),
    (by_hand(encoded=[b""]), "image/encoded is empty"),
    (by_hand(encoded=[b"a", b"b"]), "image/encoded holds 2 values of type bytes, expected 1 v"),
    (by_hand(filename=None), "image/filename is missing"),
    (by_hand(class__label=None), "image/class/label is missing"),
    (by_hand(class__label=[1.0]), "holds 1 value of type float, expected 1 value of type int64"),
    (by_hand(class__label=[3, 3]), "image/class/label holds 2 values of type int64"),
    (by_hand(class__label=[0]), "image/class/label is 0, and labels start at 1 in this layout.* "
     "add 1 to every label"),
    (by_hand(class__label=[-1]), "image/class/label is -1, and the data set has 1000 classes, 1 to"),
    (by_hand(class__label=[1001]), "image/class/label is 1001, and the data set has 1000 classes, 1 "
     "to 1000: if your data have other classes, prepare .*--dataset=image_folder"),
    (by_hand(height=[b"3"]), "image/height holds 1 value of type bytes, expected 1"),
    (by_hand(object__bbox__xmin=[0.5]), "image/object/bbox/.* equally many"),
    (by_hand(object__bbox__xmin=[1]), "image/object/bbox/.* float"),
])
def test_wrong_records_are_refused_by_place(payload, words):
    with pytest.raises(CorruptRecord, match="^f, record 7 at byte 9: .*" + words) as caught:
        schema.decode(payload, tfrecord.position("f", 7, 9), num_classes=1000)
    one_line(caught)


def test_scan_and_read(tmp_path):
    path = write(tmp_path / "a", numbered(5))
    payloads = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    offsets, lengths = tfrecord.scan(path)
    assert lengths == [len(payload) for payload in payloads] and offsets[0] == 0
    with open(path, "rb") as file:
        for offset, length, payload in zip(offsets, lengths, payloads):
            assert tfrecord.read(file, offset, length) == payload
    assert tfrecord.read(path, offsets[3], lengths[3]) == payloads[3]
    with pytest.raises(CorruptRecord, match="of [0-9]+ bytes is there, and the index says 9 bytes: .*changed"):
        tfrecord.read(path, offsets[3], 9)
    with pytest.raises(CorruptRecord, match=f"a, record 2 at byte {offsets[2] + 1}: no header"):
        tfrecord.read(path, offsets[2] + 1, lengths[2], 2)


def damaged(tmp_path, change):
    """Path of five records after `change(bytearray, offsets, lengths)`."""
    path = write(tmp_path / "train-00000-of-00001", numbered(5))
    contents = bytearray((tmp_path / "train-00000-of-00001").read_bytes())
    result = change(contents, *tfrecord.scan(path))
    (tmp_path / "train-00000-of-00001").write_bytes(contents if result is None else result)
    return path


def flip(position):
    def change(contents, offsets, lengths):
        contents[position(offsets)] ^= 4
    return change


DAMAGE = {      # name: (change, words, records left, lines of what was skipped)
    "payload": (flip(lambda o: o[2] + 20), "record 2 at byte .*checksum", 4, 1),
    "footer": (flip(lambda o: o[3] - 1), "record 2 at byte .*checksum", 4, 1),
    "header": (flip(lambda o: o[2]), "record 2 at byte .*no header", 2, 1),
    "truncated": (lambda c, o, l: c[:-3], "record 4 at byte .*truncated", 4, 1),
    "in a header": (lambda c, o, l: c[:o[3] + 5], "record 3 at byte .*5 bytes are left", 3, 1),
    "deleted": (lambda c, o, l: c[:o[1] + 3] + c[o[1] + 9:], "record 1 at byte", 1, 1),
    "garbage behind": (lambda c, o, l: c + b"x" * 40, "record 5 at byte .*no header", 5, 1),
    "doubled": (lambda c, o, l: c + c[o[1]:o[2]], "record 5 at byte .*same record as .*record 1",
                5, 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_or_counted(name, tmp_path):
    change, words, left, lines = DAMAGE[name]
    path = damaged(tmp_path, change)
    with pytest.raises(CorruptRecord, match="train-00000-of-00001, " + words) as caught:
        record_index.build_index([path])
    one_line(caught)
    index, skipped = record_index.build_index([path], skip_corrupt=True)
    assert len(index) == left and len(skipped) == lines and skipped == [str(caught.value)]
    originals = {schema.encode(record) for record in numbered(5)}
    kept = [index.read(i) for i in range(len(index))]
    assert set(kept) <= originals and len(set(kept)) == left
    assert [schema.decode(each, "").label for each in kept] == index.label.tolist()


@pytest.mark.parametrize("contents, words", [
    (b"", "empty, 0 bytes"), (b"\0" * 100, "record 0 at byte 0: no header"),
    (b"short", "5 bytes are left instead of a header")])
def test_files_that_are_no_records(contents, words, tmp_path):
    (tmp_path / "a").write_bytes(contents)
    with pytest.raises(CorruptRecord, match=words):
        tfrecord.scan(tmp_path / "a")
    with pytest.raises(CorruptRecord, match="no usable record .1 skipped"):
        record_index.build_index([tmp_path / "a"], skip_corrupt=True)


def test_a_giant_length_is_refused_without_reading(tmp_path):
    length = struct.pack("<Q", 2 ** 62)
    (tmp_path / "a").write_bytes(length + struct.pack("<I", tfrecord.masked_crc(length)) + b"x")
    with pytest.raises(CorruptRecord, match="ends at byte 13"):
        tfrecord.scan(tmp_path / "a")


def test_masked_crc_is_the_one_of_tfrecord(tmp_path):
    tfrecord.write(tmp_path / "a", [b"some bytes"])
    contents = (tmp_path / "a").read_bytes()
    assert struct.unpack("<I", contents[8:12])[0] == tfrecord.masked_crc(contents[:8])
    assert struct.unpack("<I", contents[-4:])[0] == tfrecord.masked_crc(b"some bytes")


def test_index(tmp_path):
    paths = [write(tmp_path / tfrecord.shard_name("train", i, 3), numbered(4 + i, 10 * i))
             for i in range(3)]
    assert tfrecord.find_shards(tmp_path, "train") == paths
    index, skipped = record_index.build_index(paths, num_classes=10)
    assert skipped == [] and len(index) == 15 and index.shard.tolist() == [0] * 4 + [1] * 5 + [2] * 6
    assert index.label.tolist() == [*range(4), *range(5), *range(6)]
    names = [schema.decode(index.read(i), index.where(i)).filename for i in range(15)]
    assert names == [f"train_{i:05d}" for i in (*range(4), *range(10, 15), *range(20, 26))]
    assert index.where(5) == f"{paths[1]}, record 1 at byte {index.offset[5]}"
    assert index.record(5) == numbered(5, 10)[1]
    other = [dataclasses.replace(record, label=3) for record in numbered(4)]
    write(paths[0], other)      # as long as before, with other labels
    assert index.record(3).label == 3
    with pytest.raises(CorruptRecord, match="record 2 at byte .*label is 4 instead of 3: .*changed"):
        index.record(2)
    write(paths[0], numbered(4))
    some = index.subset(index.shard == 1)
    assert some.label.tolist() == [*range(5)] and some.read(2) == index.read(6)
    headers, _ = record_index.build_index(paths, labels=False, workers=1)
    assert headers.label.tolist() == [-1] * 15 and headers.record(1).label is None
    np.testing.assert_array_equal(headers.offset, index.offset)
    with pytest.raises(CorruptRecord, match="00002-of-00003, record 5 at byte.*label is 6, and the data set has 5 classes"):
        record_index.build_index(paths, num_classes=5)


def test_equal_records_in_two_files_and_equal_names(tmp_path):
    paths = [write(tmp_path / "a", numbered(3)), write(tmp_path / "b", numbered(3, 2))]
    with pytest.raises(CorruptRecord, match="b, record 0 at byte 0: it is the same record as .*a, rec"):
        record_index.build_index(paths)
    index, skipped = record_index.build_index(paths, skip_corrupt=True)
    assert len(index) == 5 and len(skipped) == 1
    same_name = [schema.Record(encoded=b"%d" % i, filename="1.jpg", label=0) for i in range(3)]
    index, _ = record_index.build_index([write(tmp_path / "c", same_name)])
    assert len(index) == 3      # files of others


def test_saved_index(tmp_path):
    paths = [write(tmp_path / tfrecord.shard_name("train", i, 2), numbered(4, 10 * i))
             for i in range(2)]
    index, _ = record_index.build_index(paths)
    saved = tmp_path / "train.index.npz"
    record_index.save_index(saved, index)
    first = saved.read_bytes()
    again = record_index.load_index(saved)
    assert again.paths == index.paths
    for name in ("sizes", "shard", "number", "offset", "length", "label"):
        np.testing.assert_array_equal(getattr(again, name), getattr(index, name))
        assert getattr(again, name).dtype == getattr(index, name).dtype
    record_index.save_index(saved, again)
    assert saved.read_bytes() == first and sorted(os.listdir(tmp_path)) == [
        "train-00000-of-00002", "train-00001-of-00002", "train.index.npz"]
    with open(paths[1], "ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptRecord, match="00001-of-00002: .* bytes instead of .* when it was"):
        record_index.load_index(saved)
    os.remove(paths[0])
    with pytest.raises(FileNotFoundError, match="00000-of-00002 is missing"):
        record_index.load_index(saved)
    for wrong in (b"", b"no zip", first[:len(first) // 2]):
        saved.write_bytes(wrong)
        with pytest.raises(CorruptRecord, match="no index of records"):
            record_index.load_index(saved)


def test_shards_are_found_complete_or_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*absent"):
        tfrecord.find_shards(tmp_path / "absent", "train")
    for i in range(3):
        (tmp_path / tfrecord.shard_name("validation", i, 3)).write_bytes(b"")
    (tmp_path / "train.index.npz").write_bytes(b"")
    (tmp_path / ".partial-7-train-00000-of-00003").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no shards of 'train'.*found shards of 'validation'"):
        tfrecord.find_shards(tmp_path, "train")
    assert len(tfrecord.find_shards(tmp_path, "validation")) == 3
    os.remove(tmp_path / "validation-00001-of-00003")
    with pytest.raises(ValueError, match="2 shards of 'validation' instead of 3: "
                                         "validation-00001-of-00003 is missing"):
        tfrecord.find_shards(tmp_path, "validation")
    (tmp_path / "validation-00001-of-00004").write_bytes(b"")
    with pytest.raises(ValueError, match="2 data sets, -of-00003 and -of-00004"):
        tfrecord.find_shards(tmp_path, "validation")

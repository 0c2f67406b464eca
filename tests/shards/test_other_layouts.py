"""Files and labels of another layout: what is no shard, or counts its classes from 0, is called so."""

import dataclasses

import pytest
import tensorflow as tf

from mpl_tf.shards import record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord
from tests.shards.test_schema import RECORD, by_hand, numbered, one_line, write


@pytest.mark.parametrize("kind", ["GZIP", "ZLIB"])
def test_compressed_shards_are_called_compressed(kind, tmp_path):
    path = str(tmp_path / "train-00000-of-00001")
    with tf.io.TFRecordWriter(path, kind) as writer:
        writer.write(schema.encode(RECORD))
    words = f"the file is compressed by {kind.lower()}, .* write it again by a TFRecordWriter without"
    for call in (lambda: tfrecord.scan(path), lambda: tfrecord.read(path, 0, 9)):
        with pytest.raises(CorruptRecord, match=words) as caught:
            call()
        one_line(caught)
        assert "damaged" not in str(caught.value) and ("gunzip" in str(caught.value)) == (
            kind == "GZIP")


@pytest.mark.parametrize("data, words", [
    (b"<!DOCTYPE html><html><body>log in</body></html>", "the file is a web page .HTML., no TFRecord"),
    (b"version https://git-lfs.github.com/spec/v1", "the file is a pointer of Git LFS, not the file"),
    (b"no kind that is known", "the file is damaged from this byte on, or is no TFRecord file")])
def test_a_shard_that_is_another_file_is_called_so(data, words, tmp_path):
    (tmp_path / "train-00000-of-00001").write_bytes(data)
    with pytest.raises(CorruptRecord, match=f"record 0 at byte 0: no header of a record .*{words}"):
        tfrecord.scan(tmp_path / "train-00000-of-00001")


def test_a_damaged_later_record_is_not_taken_for_another_file(tmp_path):
    path = write(tmp_path / "a", numbered(2))
    offsets, _ = tfrecord.scan(path)
    with open(path, "r+b") as file:
        file.seek(offsets[1])
        file.write(b"\x1f\x8b\x08")
    with pytest.raises(CorruptRecord, match="record 1 at .*the file is damaged from this byte on"):
        tfrecord.scan(path)


def test_names_with_an_ending_are_told_from_missing_shards(tmp_path):
    (tmp_path / "train-00000-of-00001.gz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="train-00000-of-00001.gz, which is no name of a sh"):
        tfrecord.find_shards(tmp_path, "train")


def test_skipping_does_not_lose_a_class_of_labels_from_0(tmp_path):
    def indexed(labels, skip=True):
        path = str(tmp_path / "train-00000-of-00001")
        by_number = [schema.encode(dataclasses.replace(RECORD, label=label, filename=str(i), boxes=()))
                     if label >= 0 else by_hand(class__label=[0], filename=[b"%d" % i])
                     for i, label in enumerate(labels)]
        tfrecord.write(path, by_number)
        return record_index.build_index([path], num_classes=3, skip_corrupt=skip)

    for skip in (False, True):      # labels 0, 1, 2 are written where 1, 2, 3 should be
        with pytest.raises(CorruptRecord, match="record 0 .*image/class/label is 0, and labels start"):
            indexed([-1, 0, 1, -1, 1], skip)
    with pytest.raises(CorruptRecord, match="no record has the last label, 3, so they seem to start"):
        indexed([-1, 0, 1])
    index, skipped = indexed([-1, 0, 1, 2])     # a background class: left out, as before
    assert index.label.tolist() == [0, 1, 2] and len(skipped) == 1

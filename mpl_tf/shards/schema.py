"""The schema that all TFRecord files of images here share: encodes and decodes one record.

The keys and conventions are those of the ImageNet shards of Szegedy et al.: `image/encoded` holds a
JPEG or PNG file, `image/class/label` counts from 1 (0 is the background class, which no example of
ours has). Unlabeled examples have no `image/class/*`.

tfrecord.py reads and writes the files, and record_index.py finds records in them. TensorFlow is
imported only where its Example is needed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct
from typing import Sequence

from mpl_tf.shards.tfrecord import CorruptRecord, masked_crc

ENCODED, FORMAT, FILENAME = "image/encoded", "image/format", "image/filename"
LABEL, SYNSET, TEXT = "image/class/label", "image/class/synset", "image/class/text"
HEIGHT, WIDTH = "image/height", "image/width"
COLORSPACE, CHANNELS = "image/colorspace", "image/channels"
BOXES = tuple(f"image/object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax"))
BOX_LABEL = "image/object/bbox/label"

_MOST_CLASSES = 2 ** 31 - 2     # the largest label that an index, int32, can hold
_KINDS = {"bytes_list": "bytes", "int64_list": "int64", "float_list": "float", None: "nothing"}


class LabelZero(CorruptRecord):
    """A record's label is 0: its label, or that of all records, is not of this layout."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One example.

    Attributes:
      encoded: the bytes of an RGB image file.
      filename: identifies the example within its data set: a relative path, or "train_00042".
      label: 0-based, or None for an unlabeled example.
      synset, text: the class's name in WordNet and in words, or "".
      height, width: of the image, in pixels; 0 where the record does not say.
      format: "JPEG" or "PNG", or "" where the record does not say.
      boxes: tuple of (xmin, ymin, xmax, ymax), fractions of width and height.
    """
    encoded: bytes
    filename: str
    label: int | None = None
    synset: str = ""
    text: str = ""
    height: int = 0
    width: int = 0
    format: str = "JPEG"
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@functools.lru_cache(maxsize=None)
def _protos():
    import tensorflow as tf
    return tf.train


def encode(record: Record) -> bytes:
    """Serializes a Record as a tf.train.Example; equal records give equal bytes.

    Raises:
      ValueError: the label is negative.
    """
    train = _protos()
    values = {
        ENCODED: record.encoded, FORMAT: _bytes(record.format), FILENAME: _bytes(record.filename),
        HEIGHT: record.height, WIDTH: record.width, COLORSPACE: b"RGB", CHANNELS: 3}
    if record.label is not None:
        if record.label < 0:
            raise ValueError(f"{record.filename}: label {record.label} is negative: labels count "
                             "from 0, and None is for unlabeled examples")
        values.update({LABEL: record.label + 1, SYNSET: _bytes(record.synset),
                       TEXT: _bytes(record.text),
                       BOX_LABEL: [record.label + 1] * len(record.boxes)})
    message = {
        key: train.Feature(bytes_list=train.BytesList(value=[value])) if isinstance(value, bytes)
        else train.Feature(int64_list=train.Int64List(
            value=value if isinstance(value, list) else [value]))
        for key, value in values.items()}
    for key, side in zip(BOXES, zip(*record.boxes) if record.boxes else [()] * 4):
        message[key] = train.Feature(float_list=train.FloatList(value=side))
    return train.Example(features=train.Features(feature=message)).SerializeToString(
        deterministic=True)


def features(serialized: bytes, where: str) -> dict[str, tuple[str, Sequence]]:
    """Returns the features of a record with any keys: {key: (kind, values)}, sorted by key.

    `kind` is "bytes", "int64", "float" or "nothing".

    Raises:
      CorruptRecord: `serialized` is no tf.train.Example; the message begins with `where`.
    """
    found = _parse(serialized, where)
    return {key: _values(found, key) for key in sorted(found)}


def decode(serialized: bytes, where: str, labels: bool = True,
           num_classes: int | None = None) -> Record:
    """Makes a Record of a serialized tf.train.Example.

    Args:
      serialized: the bytes.
      where: the file and the position, with which the message of an error begins.
      labels: False: does not read the label; it is None.
      num_classes: the largest image/class/label that is accepted; None: any is.

    Raises:
      CorruptRecord: it is no Example, a key is missing or has values of another type or number, or
        the label is 0, the background, or above num_classes.
    """
    found = _parse(serialized, where)

    def one(key, kind, default=None):
        has, values = _values(found, key)
        if has == "nothing" and default is not None:
            return default
        if has != kind or len(values) != 1:
            shown = ("is missing" if has == "nothing" else
                     f"holds {len(values)} value{'s' * (len(values) != 1)} of type {has}")
            raise CorruptRecord(f"{where}: {key} {shown}, expected 1 value of type {kind} as in "
                                "Szegedy et al.'s shards; prepare the file again")
        return values[0]

    encoded = one(ENCODED, "bytes")
    if not encoded:
        raise CorruptRecord(f"{where}: {ENCODED} is empty instead of an image file: prepare the "
                            "file again")
    label = None
    if labels:
        label = one(LABEL, "int64") - 1
        if label == -1:
            raise LabelZero(
                f"{where}: {LABEL} is 0, and labels start at 1 in this layout, Szegedy et al.'s, as "
                "0 is a background class that no data set here has: if your classes are numbered "
                "from 0, add 1 to every label when you write the shards, or prepare the images with "
                "`python -m data_prep.image_folder`; if 0 is a background class, leave its examples "
                "out")
        if not 0 <= label < (_MOST_CLASSES if num_classes is None else num_classes):
            raise CorruptRecord(outside(where, label, num_classes))
    sides = [_values(found, key) for key in BOXES]
    if any(kind not in ("float", "nothing") or len(side) != len(sides[0][1])
           for kind, side in sides):
        raise CorruptRecord(f"{where}: image/object/bbox/* do not each hold equally many values of "
                            "type float: prepare the file again")
    text = {key: _text(one(key, "bytes", default=b"")) for key in (SYNSET, TEXT, FORMAT)}
    return Record(
        encoded=encoded, filename=_text(one(FILENAME, "bytes")), label=label, synset=text[SYNSET],
        text=text[TEXT], format=text[FORMAT], height=one(HEIGHT, "int64", default=0),
        width=one(WIDTH, "int64", default=0), boxes=tuple(zip(*(side for _, side in sides))))


def outside(where: str, label: int, num_classes: int | None) -> str:
    """The line that refuses the record at `where`, whose 0-based label is none of num_classes."""
    if num_classes is None:
        return (f"{where}: {LABEL} is {label + 1}: expected 1 to {_MOST_CLASSES}; get or prepare "
                "the file again")
    return (f"{where}: {LABEL} is {label + 1}, and the data set has {num_classes} classes, 1 to "
            f"{num_classes}: if your data have other classes, prepare the images with `python -m "
            "data_prep.image_folder`, which counts them, and train with --dataset=image_folder; if "
            "not, get or prepare the file again")


def _parse(serialized, where):
    """The features of an Example: protobuf's map, whose messages are read only when asked for."""
    try:
        return _protos().Example.FromString(serialized).features.feature
    except Exception as error:      # DecodeError; its class differs between versions of protobuf
        raise CorruptRecord(f"{where}: the record is no tf.train.Example ({len(serialized)} bytes "
                            "of something else): expected records of images; prepare the file "
                            "again") from error


def _values(found, key):
    """(kind, values) of the feature `key`; ("nothing", ()) where it is missing."""
    kind = found[key].WhichOneof("kind") if key in found else None     # found[key] would add it
    return _KINDS[kind], getattr(found[key], kind).value if kind else ()


def identity(payload: bytes, record: Record) -> bytes:
    """Returns 8 bytes by which a repeated record is recognised.

    They are a hash of the payload's checksum and of the file name: shards of others may use one
    name for two images, but the same name with the same bytes is the same record.
    """
    return hashlib.blake2b(struct.pack("<I", masked_crc(payload)) + _bytes(record.filename),
                           digest_size=8).digest()


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")      # names of files need not be UTF-8


def _text(value):
    return value.decode("utf-8", "surrogateescape")

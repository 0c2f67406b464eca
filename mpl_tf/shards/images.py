"""Decodes images from shards on demand, behind the interface of datasets/images.py.

An Index says where every record is (record_index.py), so that a batch may hold any examples in any
order: the data pipeline shuffles, resumes and splits these images as it does arrays. Threads read,
decode, crop and resize images with Pillow; TensorFlow does the rest, on batches.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import hashlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from mpl_tf.common.cores import cores
from mpl_tf.shards import crops
from mpl_tf.shards.image_files import opened
from mpl_tf.shards.record_index import Index
from mpl_tf.shards.tfrecord import CorruptRecord, UnreadableFile

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger("mpl_tf")
PICTURE = 96        # side of a picture for people, pixels


def _shorter_side(encoded):
    with opened(encoded) as image:
        return min(image.size)


class ShardImages:
    """The images of an Index, used like an array uint8 [N, size, size, 3].

    Args:
      index: record_index.Index of N records.
      size: side of the resulting images, pixels.
      crop: one of crops.CROPS.
      skip_corrupt: when training, replaces a record that cannot be used by the next one, logs it
        once and keeps it in `skipped`, instead of stopping the run.
      every_class: whether a run stops all the same when no image of one of the index's labels is
        left.

    Attributes:
      random_crops: whether training views are Inception crops.
      decoded_each_time: True: every view costs a decoding.
      skipped: {position of a record: why it cannot be used}, of those that this process met.

    Raises:
      ValueError: `crop` is unknown, or the index is empty.
    """

    decoded_each_time = True

    def __init__(self, index: Index, size: int, crop: str = "inception",
                 skip_corrupt: bool = False, every_class: bool = False):
        if crop not in crops.CROPS:
            raise ValueError(f"crop {crop!r} is unknown: use one of {', '.join(crops.CROPS)}")
        if not len(index):
            raise ValueError("the index has no records: expected at least one image")
        self.index, self.size, self.crop, self.skip_corrupt = index, size, crop, skip_corrupt
        self.every_class = every_class
        self._left = collections.Counter(index.label.tolist()) if every_class else {}
        self.shape: tuple[int, ...] = (len(index), size, size, 3)
        self.ndim = 4
        self.random_crops = crop == "inception"
        self.skipped: dict[str, str] = {}
        self._problems: list[CorruptRecord] = []
        self._lock = threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(cores())

    def __len__(self) -> int:
        return len(self.index)

    def subset(self, chosen: np.ndarray) -> ShardImages:
        """ShardImages of the examples `chosen`, int [M] or bool [N]."""
        part = ShardImages(self.index.subset(chosen), self.size, self.crop, self.skip_corrupt,
                           self.every_class)
        part._problems = self._problems     # whoever watches the whole sees a part's problems too
        return part

    @property
    def problem(self) -> CorruptRecord | None:
        """The CorruptRecord that stopped a pipeline of these images or of a subset, or None."""
        return self._problems[0] if self._problems else None

    def training_views(self, examples: "tf.Tensor", epochs: "tf.Tensor", seed: int,
                       streams: Sequence[int]) -> tuple[list["tf.Tensor"], "tf.Tensor"]:
        """A view of the examples for each of `streams`, all from one decoding; for use in tf.data.

        Args:
          examples, epochs: int64 tensors [B]. seed, streams: Python ints, see random_bits.uniforms.

        Returns:
          (views, examples): a list of uint8 tensors [B, size, size, 3], and int64 [B], which
          examples they show: other ones than were asked for where a record was skipped.
        """
        import tensorflow as tf
        from mpl_tf.common.random_bits import uniforms
        count = 4 * crops.ATTEMPTS if self.random_crops else 0
        drawn = tf.stack([
            uniforms(seed, examples, epochs, count, stream) if count
            else tf.zeros([tf.shape(examples)[0], 0]) for stream in streams], axis=1)
        images, used = tf.numpy_function(
            self._training_batch, [examples, drawn], [tf.uint8, tf.int64])
        images = tf.ensure_shape(
            images, [len(streams), examples.shape[0], self.size, self.size, 3])
        return tf.unstack(images), tf.ensure_shape(used, examples.shape)

    def evaluation_views(self, examples: "tf.Tensor") -> "tf.Tensor":
        """Central crops uint8 [B, size, size, 3] of int64 tensor [B] examples; for use in tf.data.

        Nothing is skipped here: an accuracy is measured on all examples or not at all.
        """
        import tensorflow as tf
        images = tf.numpy_function(self._evaluation_batch, [examples], tf.uint8)
        return tf.ensure_shape(images, [None, self.size, self.size, 3])

    def _training_batch(self, examples, uniforms):
        def boxes_of(i, height, width):
            if not self.random_crops:
                return [crops.central_box(height, width)] * uniforms.shape[1]
            return [crops.inception_box(height, width, u) for u in uniforms[i]]

        def one(i):
            number = int(examples[i])
            for offset in range(len(self)):
                example = (number + offset) % len(self)
                try:
                    return self._decoded(example, lambda encoded: crops.decode(
                        encoded, lambda *size: boxes_of(i, *size), self.size)), example
                except CorruptRecord as problem:
                    self._note(problem, example)
            raise self._stopped(CorruptRecord(f"{self.index.where(number)}: none of the "
                                              f"{len(self)} images here can be used"))

        images, used = zip(*self._threads.map(one, range(len(examples))))
        return np.stack(images, axis=1), np.array(used, np.int64)

    def pictures(self, examples: np.ndarray) -> np.ndarray:
        """Images uint8 [B, H, H, 3] of int [B] examples, for people; skipped ones are black.

        H is the size, or more, up to PICTURE, where the files have more pixels than the networks see.

        Raises:
          CorruptRecord: a record cannot be used, and skip_corrupt is off.
        """
        size = self._side(examples)

        def one(example):
            try:
                return self._central(example, size)
            except CorruptRecord as problem:
                if not self.skip_corrupt or isinstance(problem, UnreadableFile):
                    raise       # of a picture alone: no pipeline stops for it
                self._note(problem, int(example))
                return np.zeros([size, size, 3], np.uint8)

        return np.stack(list(self._threads.map(one, examples)))

    def _side(self, examples):
        """The side of pictures for people of int [B] examples."""
        side = self.size
        for example in examples if side < PICTURE else ():
            with contextlib.suppress(CorruptRecord):    # of the picture itself it is told
                side = max(side, min(self._decoded(int(example), _shorter_side), PICTURE))
        return side

    def keys(self, examples: np.ndarray) -> list[str]:
        """The shard of each of int [B] examples and its number there."""
        index = self.index
        return [f"{os.path.basename(index.paths[index.shard[i]])}:{index.number[i]}" for i in examples]

    def names(self, examples: np.ndarray) -> list[str]:
        """The names of the files of which int [B] examples were made; their records are read."""
        return [self.index.record(int(i)).filename for i in examples]

    def digest(self) -> Any:
        """A hashlib.blake2b object of 8 bytes over the records' places in their shards.

        It does not depend on the folder. The caller may update it further.
        """
        digest = hashlib.blake2b(digest_size=8)
        for column in (self.index.shard, self.index.offset, self.index.length):
            digest.update(np.ascontiguousarray(column).data)
        return digest

    def _evaluation_batch(self, examples):
        def one(example):
            try:
                return self._central(example)
            except CorruptRecord as problem:
                raise self._stopped(problem)

        return np.stack(list(self._threads.map(one, examples)))

    def _central(self, example, size=None):
        return self._decoded(int(example), lambda encoded: crops.evaluation_crop(
            encoded, size or self.size, self.crop))

    def _note(self, problem, example):
        """Remembers and logs a record that cannot be used; raises unless it is to be skipped."""
        if isinstance(problem, UnreadableFile):
            raise self._stopped(problem)
        place = self.index.where(example)
        with self._lock:
            if place in self.skipped:
                return
            if not self.skip_corrupt or len(self.skipped) + 1 >= len(self):
                advice = "" if self.skip_corrupt else ", or continue with --skip_corrupt"
                raise self._stopped(CorruptRecord(f"{problem}{advice}"))
            label = int(self.index.label[example])
            if self._left.get(label) == 1:
                raise self._stopped(CorruptRecord(
                    f"{problem}; no other image of label {label + 1} can be used either: replace "
                    "them, as --skip_corrupt leaves out images, not a whole class"))
            if label in self._left:
                self._left[label] -= 1
            self.skipped[place] = str(problem)
            log.warning("skipped: %s", problem)

    def _stopped(self, problem):
        """Notes the CorruptRecord that stops a pipeline, which TensorFlow would bury; returns it."""
        self._problems.append(problem)
        return problem

    def _decoded(self, example, decode):
        """Applies `decode` to one example's image file; CorruptRecord, with its place, if it fails.

        The shard is opened anew for each example: a thousand shards would be too many open files.
        """
        place = self.index.where(example)
        try:
            record = self.index.record(example)
        except OSError as error:
            raise UnreadableFile(f"{place}: the file cannot be read ({error.strerror}): give this "
                                 "process permission to read it, and see that it and its disk are "
                                 "there; then the same command continues") from error
        try:
            return decode(record.encoded)
        except MemoryError:
            raise
        except Exception as error:      # a damaged image raises whatever its decoder does
            reason = " ".join(str(error).split())[:120]
            raise CorruptRecord(f"{place}: image {record.filename} cannot be decoded ({reason}): "
                                "remove or mend it") from error

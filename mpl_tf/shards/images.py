"""Images that are decoded from their shards on demand, behind the interface of datasets/images.py.

An Index knows where every record is (record_index.py), so a batch of any examples is read at once,
in any order: the data pipeline shuffles, resumes and cuts these images as it does arrays. Reading,
decoding, cropping and resizing are Pillow's, in threads; what follows is TensorFlow's, by batches.
"""

import concurrent.futures
import hashlib
import logging
import threading

import numpy as np

from mpl_tf.common.cores import cores
from mpl_tf.shards import crops
from mpl_tf.shards.tfrecord import CorruptRecord

log = logging.getLogger("mpl_tf")


class ShardImages:
    """The images of an Index, as an array uint8 [N, size, size, 3] of them would be used.

    Args:
      index: record_index.Index of N records.
      size: side in pixels of what is made of them.
      crop: one of crops.CROPS.
      skip_corrupt: a record that cannot be used is replaced by the next one, told once in the log
        and kept in `skipped`, instead of stopping the run.

    Attributes:
      random_crops: whether training views are Inception crops.
      decoded_each_time: whether a view costs a decoding: it does.
      skipped: {position of a record: why it cannot be used}, of this process.
    """

    decoded_each_time = True

    def __init__(self, index, size, crop="inception", skip_corrupt=False):
        if crop not in crops.CROPS:
            raise ValueError(f"crop {crop!r} is unknown: use one of {', '.join(crops.CROPS)}")
        if not len(index):
            raise ValueError("an index of no records: there are no images in it")
        self.index, self.size, self.crop, self.skip_corrupt = index, size, crop, skip_corrupt
        self.shape, self.ndim = (len(index), size, size, 3), 4
        self.random_crops = crop == "inception"
        self.skipped, self._problems = {}, []
        self._lock = threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(cores())

    def __len__(self):
        return len(self.index)

    def subset(self, chosen):
        """ShardImages of the examples `chosen`, int [M] or bool [N]."""
        part = ShardImages(self.index.subset(chosen), self.size, self.crop, self.skip_corrupt)
        part._problems = self._problems     # whoever watches the whole is told of a part's too
        return part

    @property
    def problem(self):
        """The CorruptRecord that stopped a pipeline, of these images or a subset's, or None."""
        return self._problems[0] if self._problems else None

    def training_views(self, examples, epochs, seed, streams):
        """A view for each of `streams`, of the same examples, decoded once; for use in tf.data.

        Args:
          examples, epochs: int64 tensors [B]. seed, streams: Python ints, see random_bits.uniforms.

        Returns:
          (list of uint8 tensors [B, size, size, 3], examples int64 [B] that they are of: others
          than asked for where a record was skipped).
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

    def evaluation_views(self, examples):
        """uint8 [B, size, size, 3] of int64 tensor [B]: the central crop; for use in tf.data.

        Nothing is skipped here: a figure is of all examples or there is none.
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
            raise AssertionError("unreachable: the last problem was raised")

        images, used = zip(*self._threads.map(one, range(len(examples))))
        return np.stack(images, axis=1), np.array(used, np.int64)

    def pictures(self, examples):
        """uint8 [B, size, size, 3] to look at, of int [B]; black where a record is skipped.

        Raises:
          CorruptRecord: one cannot be used, and skip_corrupt is off.
        """
        def one(example):
            try:
                return self._central(example)
            except CorruptRecord as problem:
                self._note(problem, int(example))
                return np.zeros(self.shape[1:], np.uint8)

        return np.stack(list(self._threads.map(one, examples)))

    def digest(self):
        """A hashlib.blake2b of where the records are, 8 bytes; the same wherever the files lie."""
        digest = hashlib.blake2b(digest_size=8)
        for column in (self.index.shard, self.index.offset, self.index.length):
            digest.update(np.ascontiguousarray(column).data)
        return digest

    def _evaluation_batch(self, examples):
        def one(example):
            try:
                return self._central(example)
            except CorruptRecord as problem:
                self._problems.append(problem)
                raise

        return np.stack(list(self._threads.map(one, examples)))

    def _central(self, example):
        return self._decoded(int(example), lambda encoded: crops.evaluation_crop(
            encoded, self.size, self.crop))

    def _note(self, problem, example):
        """Remembers a record that cannot be used; raises unless it is to be skipped."""
        place = self.index.where(example)
        with self._lock:
            if place in self.skipped:
                return
            if not self.skip_corrupt or len(self.skipped) + 1 >= len(self):
                advice = "" if self.skip_corrupt else ", or continue with --skip_corrupt"
                problem = CorruptRecord(f"{problem}{advice}")
                self._problems.append(problem)
                raise problem
            self.skipped[place] = str(problem)
            log.warning("skipped: %s", problem)

    def _decoded(self, example, decode):
        """`decode` of one example's bytes; CorruptRecord, naming file and position, if it fails.

        Its file is opened for it alone: a thousand shards would be too many open ones.
        """
        place = self.index.where(example)
        try:
            record = self.index.record(example)
        except OSError as error:
            raise CorruptRecord(f"{place}: the file cannot be read ({error.strerror}): get or "
                                "prepare it again") from error
        try:
            return decode(record.encoded)
        except Exception as error:      # a damaged image raises whatever its decoder does
            reason = " ".join(str(error).split())[:120]
            raise CorruptRecord(f"{place}: image {record.filename} cannot be decoded ({reason}): "
                                "remove or mend it") from error

"""Images that stay in their shards until a batch asks for them; used where an array would be.

An index knows where every record is (record_index.py), so a batch of any examples is read at once,
in any order: the data pipeline shuffles, resumes and cuts these images as it does arrays. Reading,
decoding, cropping and resizing are Pillow's, in threads; what follows is TensorFlow's, by batches.
"""

import concurrent.futures
import io
import logging
import math
import threading

import numpy as np
from PIL import Image

from mpl_tf.common.cores import cores
from mpl_tf.shards import record_index
from mpl_tf.shards.tfrecord import CorruptRecord

CROPS = ("whole", "inception")
ATTEMPTS = 10               # at an Inception crop
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)       # of an Inception crop: of the image's; width / height
CENTRE = 0.875              # of the shorter side: the crop that is evaluated
MOST_PIXELS = 150_000_000   # of one image: more is an attack on memory, not a photograph
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")      # no others: EPS runs programs

log = logging.getLogger("mpl_tf")


# ------------------------------------------------------------------------------------- crops

def inception_box(height, width, u):
    """A random crop (Szegedy et al., 2015): 8-100 % of the area, width / height 3/4-4/3.

    Args:
      height, width: of the image, pixels.
      u: float [ATTEMPTS, 4], uniform in [0, 1): area, ratio, row and column of each attempt. The
        first crop that fits is taken; where none does, the central one of the nearest ratio.

    Returns:
      (left, top, right, bottom), pixels.
    """
    for area, ratio, row, column in np.asarray(u, float).reshape(ATTEMPTS, 4):
        pixels = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
        ratio = RATIO[0] + ratio * (RATIO[1] - RATIO[0])
        wide, high = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(column * (width - wide + 1)), int(row * (height - high + 1))
            return left, top, left + wide, top + high
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    wide, high = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + max(wide, 1), top + max(high, 1)


def central_box(height, width, part=1.0):
    """The central square (left, top, right, bottom) of `part` of the shorter side."""
    side = max(round(part * min(height, width)), 1)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decode(encoded, boxes_of, size):
    """Crops of one image file, resized.

    Args:
      encoded: bytes of a JPEG, PNG or any other file that Pillow reads.
      boxes_of: (height, width) -> list of boxes (left, top, right, bottom).
      size: side of the results, pixels.

    Returns:
      uint8 [number of boxes, size, size, 3]: antialiased bilinear; a box of that very size is
      copied.

    Raises:
      ValueError for an image of more than MOST_PIXELS, and whatever Pillow raises for what it
      cannot read.
    """
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than {MOST_PIXELS}")
        boxes = boxes_of(height, width)
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where every crop is still larger than its result.
        scale = min(min(right - left, bottom - top) for left, top, right, bottom in boxes) / size
        if scale >= 2:
            image.draft("RGB", (math.ceil(width / scale), math.ceil(height / scale)))
        drafted = image.convert("RGB")
    x, y = drafted.width / width, drafted.height / height
    return np.stack([_resized(drafted, (left * x, top * y, right * x, bottom * y), size)
                     for left, top, right, bottom in boxes])


def _resized(image, box, size):
    if image.size == (size, size) and box == (0, 0, size, size):
        return np.asarray(image)
    return np.asarray(image.resize((size, size), Image.BILINEAR, box=box))


# ------------------------------------------------------------------------------------ images

class RecordImages:
    """The images of an Index, as an array [N, size, size, 3] of uint8 would be used.

    Args:
      index: record_index.Index of N records.
      size: side in pixels of what is made of them.
      crop: "whole": the central square, for images that were prepared at their size; "inception":
        a random crop for training, the central 87.5 % for evaluation.
      skip_corrupt: a record that cannot be used is replaced by the next one, told once in the log
        and kept in `skipped`, instead of stopping the run.

    Attributes:
      problem: the CorruptRecord that stopped a pipeline, or None.
      skipped: {position of a record: why it cannot be used}, of this process.
    """

    def __init__(self, index, size, crop="inception", skip_corrupt=False):
        if crop not in CROPS:
            raise ValueError(f"crop {crop!r} is unknown: use one of {', '.join(CROPS)}")
        if not len(index):
            raise ValueError("an index of no records: there are no images in it")
        self.index, self.size, self.crop, self.skip_corrupt = index, size, crop, skip_corrupt
        self.shape, self.ndim = (len(index), size, size, 3), 4
        self.problem, self.skipped = None, {}
        self._lock = threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(cores())

    def __len__(self):
        return len(self.index)

    def subset(self, chosen):
        """RecordImages of the examples `chosen`, int [M] or bool [N]."""
        return RecordImages(self.index.subset(chosen), self.size, self.crop, self.skip_corrupt)

    def training_views(self, examples, epochs, seed, streams):
        """A view for each of `streams`, of the same examples, decoded once; for use in tf.data.

        Args:
          examples, epochs: int64 tensors [B]. seed, streams: Python ints, see augment.uniforms.

        Returns:
          (list of uint8 tensors [B, size, size, 3], examples int64 [B] that they are of: others
          than asked for where a record was skipped).
        """
        import tensorflow as tf
        from mpl_tf.data import augment
        count = 4 * ATTEMPTS if self.crop == "inception" else 0
        uniforms = tf.stack([
            augment.uniforms(seed, examples, epochs, count, stream) if count
            else tf.zeros([tf.shape(examples)[0], 0]) for stream in streams], axis=1)
        images, used = tf.numpy_function(
            self._training_batch, [examples, uniforms], [tf.uint8, tf.int64])
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
            if self.crop == "whole":
                return [central_box(height, width)] * uniforms.shape[1]
            return [inception_box(height, width, u) for u in uniforms[i]]

        def one(i):
            number = int(examples[i])
            for offset in range(len(self)):
                example = (number + offset) % len(self)
                try:
                    return self._decode(example, lambda *size: boxes_of(i, *size)), example
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

    def _evaluation_batch(self, examples):
        def one(example):
            try:
                return self._central(example)
            except CorruptRecord as problem:
                self.problem = self.problem or problem
                raise

        return np.stack(list(self._threads.map(one, examples)))

    def _central(self, example):
        part = CENTRE if self.crop == "inception" else 1.0
        return self._decode(int(example), lambda *size: [central_box(*size, part)])[0]

    def _note(self, problem, example):
        """Remembers a record that cannot be used; raises unless it is to be skipped."""
        place = self.index.where(example)
        with self._lock:
            if place in self.skipped:
                return
            if not self.skip_corrupt or len(self.skipped) + 1 >= len(self):
                advice = "" if self.skip_corrupt else ", or continue with --skip_corrupt"
                problem = CorruptRecord(f"{problem}{advice}")
                self.problem = self.problem or problem
                raise problem
            self.skipped[place] = str(problem)
            log.warning("skipped: %s", problem)

    def _decode(self, example, boxes_of):
        """Crops of one example; CorruptRecord, naming file and position, where it cannot be.

        Its file is opened for it alone: a thousand shards would be too many open ones.
        """
        place = self.index.where(example)
        try:
            record = self.index.record(example)
        except OSError as error:
            raise CorruptRecord(f"{place}: the file cannot be read ({error.strerror}): get or "
                                "prepare it again") from error
        try:
            return decode(record.encoded, boxes_of, self.size)
        except Exception as error:      # a damaged image raises whatever its decoder does
            reason = " ".join(str(error).split())[:120]
            raise CorruptRecord(f"{place}: image {record.filename} cannot be decoded ({reason}): "
                                "remove or mend it") from error


def joined(parts):
    """One Index of all records of several, shards renumbered."""
    firsts = np.cumsum([0, *(len(part.paths) for part in parts)])
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in ("offset", "length", "number", "label")}
    return record_index.Index(
        sum((part.paths for part in parts), ()), np.concatenate([part.sizes for part in parts]),
        shard=np.concatenate([part.shard + first for part, first in zip(parts, firsts)]), **columns)

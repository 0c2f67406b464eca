"""One interface for images in memory and images in shards.

`as_images` gives it to whatever a Dataset or a Split holds. An object that has it may stand in a
data set itself, as shards.images.ShardImages does. Both classes have

    len(), shape, ndim                              of the array [N, ...] that they stand for
    training_views, evaluation_views                tensors, for tf.data
    pictures, subset, digest                        NumPy, the same interface again, a hash
    random_crops, decoded_each_time                 what they are, see ArrayImages
    skipped, problem                                what could not be read
"""

import hashlib

import numpy as np


def as_images(images):
    """What has the interface as it is; ArrayImages of any array of images or points.

    This is the only place that looks at the type.
    """
    return images if hasattr(images, "training_views") else ArrayImages(images)


class ArrayImages:
    """Images uint8 [N, H, W, C], or points float32 [N, D], in memory.

    Attributes:
      random_crops: whether training views are random crops of larger images.
      decoded_each_time: whether a view costs a decoding, so that one looks at fewer of them.
      skipped: {} as of images that are read. problem: None.
    """

    random_crops = decoded_each_time = False
    problem = None

    def __init__(self, array):
        self._array, self._tensor = np.asarray(array), None
        self.shape, self.ndim, self.skipped = self._array.shape, self._array.ndim, {}

    def __len__(self):
        return len(self._array)

    def training_views(self, examples, epochs, seed, streams):
        """A view for each of `streams`, all of them the examples as they are; for use in tf.data.

        Args:
          examples, epochs: int64 tensors [B]. seed, streams: Python ints; nothing here is random.

        Returns:
          (list of tensors [B, ...], examples).
        """
        return [self.evaluation_views(examples)] * len(streams), examples

    def evaluation_views(self, examples):
        """A tensor [B, ...] of the examples, int64 tensor [B], as they are; for use in tf.data."""
        import tensorflow as tf
        if self._tensor is None:    # made outside of the graph that is traced, which captures it
            with tf.init_scope(), tf.device("CPU:0"):
                self._tensor = tf.constant(self._array)
        return tf.gather(self._tensor, examples)

    def pictures(self, examples):
        """The examples of int [B] to look at, an array [B, ...]."""
        return self._array[examples]

    def subset(self, chosen):
        """ArrayImages of the examples `chosen`, int [M] or bool [N]."""
        return ArrayImages(self._array[chosen])

    def digest(self):
        """A hashlib.blake2b of all values, 8 bytes; it may be updated with what goes with them."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(np.ascontiguousarray(self._array).data)
        return digest

"""One interface for images in memory and images in shards.

The interface is Images. ArrayImages has it for arrays, shards.images.ShardImages for shards, and
`as_images` returns it for whatever a Dataset or a Split holds. A class of yours that has it may
stand in a Dataset or a Split too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol, Sequence

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


class Images(Protocol):
    """N images or points; what each member returns is said in ArrayImages.

    Attributes:
      shape, ndim: of the array [N, ...] that the object stands for; len() is N.
      random_crops: whether training views are random crops of larger images.
      decoded_each_time: whether every view costs a decoding; evaluations then look at fewer images.
      skipped: {position of an image: why it could not be read}, of those that were left out.
    """

    random_crops: bool
    decoded_each_time: bool
    shape: tuple[int, ...]
    ndim: int
    skipped: dict[str, str]

    @property
    def problem(self) -> Exception | None:
        """The exception that stopped a pipeline, or None."""

    def __len__(self) -> int: ...

    def training_views(self, examples: "tf.Tensor", epochs: "tf.Tensor", seed: int,
                       streams: Sequence[int]) -> tuple[list["tf.Tensor"], "tf.Tensor"]: ...

    def evaluation_views(self, examples: "tf.Tensor") -> "tf.Tensor": ...

    def pictures(self, examples: np.ndarray) -> np.ndarray: ...

    def keys(self, examples: np.ndarray) -> list[str]: ...

    def names(self, examples: np.ndarray) -> list[str]: ...

    def subset(self, chosen: np.ndarray) -> Images: ...

    def digest(self) -> Any: ...


def as_images(images: np.ndarray | Images) -> Images:
    """Returns an object with the interface as it is, and ArrayImages of an array.

    This is the only place that looks at the type.
    """
    return images if hasattr(images, "training_views") else ArrayImages(images)


class ArrayImages:
    """Images uint8 [N, H, W, C], or points float32 [N, D], in memory.

    Attributes:
      as of Images; random_crops and decoded_each_time are False, skipped is {}, problem is None.
    """

    random_crops = decoded_each_time = False
    problem: Exception | None = None

    def __init__(self, array: np.ndarray):
        self._array, self._tensor = np.asarray(array), None
        self.shape: tuple[int, ...] = self._array.shape
        self.ndim: int = self._array.ndim
        self.skipped: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._array)

    def training_views(self, examples: "tf.Tensor", epochs: "tf.Tensor", seed: int,
                       streams: Sequence[int]) -> tuple[list["tf.Tensor"], "tf.Tensor"]:
        """A view of the examples for each of `streams`, here the unchanged images; for tf.data.

        Args:
          examples, epochs: int64 tensors [B]. seed, streams: Python ints; nothing here is random.

        Returns:
          (views, examples): a list of tensors [B, ...], and int64 [B], which examples they show.
        """
        return [self.evaluation_views(examples)] * len(streams), examples

    def evaluation_views(self, examples: "tf.Tensor") -> "tf.Tensor":
        """The unchanged images [B, ...] of int64 tensor [B] examples; for use in tf.data."""
        import tensorflow as tf
        if self._tensor is None:    # made outside of the graph that is traced, which captures it
            with tf.init_scope(), tf.device("CPU:0"):
                self._tensor = tf.constant(self._array)
        return tf.gather(self._tensor, examples)

    def pictures(self, examples: np.ndarray) -> np.ndarray:
        """The images of int [B] examples for people to look at, an array [B, ...]."""
        return self._array[examples]

    def keys(self, examples: np.ndarray) -> list[str]:
        """What tells each of int [B] examples from all others of its data set: here its contents."""
        return [hashlib.blake2b(np.ascontiguousarray(self._array[i]).data, digest_size=8).hexdigest()
                for i in examples]

    def names(self, examples: np.ndarray) -> list[str]:
        """The names of int [B] examples, for people: files where there are such, here positions."""
        return [f"example {i}" for i in examples]

    def subset(self, chosen: np.ndarray) -> ArrayImages:
        """ArrayImages of the examples `chosen`, int [M] or bool [N]."""
        return ArrayImages(self._array[chosen])

    def digest(self) -> Any:
        """A hashlib.blake2b object of 8 bytes over all values; the caller may update it further."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(np.ascontiguousarray(self._array).data)
        return digest

"""The transformation of features before they are learned from: one affine map, fitted to the data.

Each feature is centred and divided by its standard deviation. Principal components of these may take
their place. All are then multiplied by one number, so that the mean square of a point's length is 1
and learning rates carry over between backbones. Points may be brought to unit length at last.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator

import numpy as np

_ROWS = 4096        # of one step of a sum, so that memory holds few numbers of 64 bits
_CONSTANT = 1e-6    # a feature whose deviation is so small beside the largest one is constant


@dataclasses.dataclass(frozen=True)
class Transform:
    """x -> x kernel + bias, and perhaps to unit length.

    Attributes:
      kernel: float32 [F, D], or [F], which multiplies each feature by its own number.
      bias: float32 [D]. unit_length: whether results are divided by their length.
    """
    kernel: np.ndarray
    bias: np.ndarray
    unit_length: bool

    @property
    def projects(self) -> bool:
        """Whether the kernel is a matrix."""
        return self.kernel.ndim == 2

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Transforms [N, F] of any float type to float32 [N, D]."""
        result = np.empty([len(features), len(self.bias)], np.float32)
        for start, rows in _blocks(features, np.float32):
            y = rows @ self.kernel if self.projects else rows * self.kernel
            y += self.bias
            if self.unit_length:    # as Keras's UnitNormalization
                y /= np.sqrt(np.maximum(np.sum(y * y, axis=1, keepdims=True), 1e-12))
            result[start:start + len(y)] = y
        return result


def _blocks(features: np.ndarray, dtype: Any) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(features), _ROWS):
        yield start, features[start:start + _ROWS].astype(dtype)


def fit(features: np.ndarray, components: int = 0, unit_length: bool = False) -> Transform:
    """Fits a Transform to features [N, F].

    Args:
      components: how many principal components take the features' place; 0: none do.
      unit_length: see Transform.

    Raises:
      ValueError: in one line: there are not so many components, or all features are constant.
    """
    count, size = features.shape
    most = min(size, count - 1)
    if components > most:
        raise ValueError(f"--feature_components={components}: {count} training images with {size} "
                         f"features have at most {most} principal components; use fewer")
    mean = sum(block.sum(axis=0) for _, block in _blocks(features, np.float64)) / count
    square = sum(((block - mean) ** 2).sum(axis=0) for _, block in _blocks(features, np.float64))
    deviation = np.sqrt(square / count)
    varies = deviation > _CONSTANT * deviation.max()
    if not varies.any():
        raise ValueError(f"all {size} features are the same for all {count} training images: use "
                         "another backbone, with its weights")
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    if not components:
        kernel = scale / np.sqrt(varies.sum())
        return Transform(kernel.astype(np.float32), (-mean * kernel).astype(np.float32), unit_length)
    covariance = np.zeros([size, size])
    for _, block in _blocks(features, np.float64):
        block = (block - mean) * scale
        covariance += block.T @ block
    values, vectors = np.linalg.eigh(covariance / count)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    # A vector's sign is free: its largest number is made positive, so that it is the same anywhere.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(components)])
    kernel = scale[:, np.newaxis] * vectors / np.sqrt(values.sum())
    return Transform(kernel.astype(np.float32), (-mean @ kernel).astype(np.float32), unit_length)

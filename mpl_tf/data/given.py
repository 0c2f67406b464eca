"""Examples, labels and weights as people have them in arrays, checked; no TensorFlow operation here.

What cannot be told apart is refused in one line: which range the values of images have, and whether
a row of labels is one-hot.
"""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

BYTE_FROM = 128     # the least maximum from which on values are taken for 0..255


def examples(values: Any, name: str) -> np.ndarray:
    """`values` as an array [N, ...] of numbers; bool becomes uint8, and float64 may stay.

    Args:
      values: an array, or what NumPy makes one of.
      name: what it is called, for an error.

    Raises:
      ValueError: in one line: it is no array of numbers, it is empty, or a number is not finite.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} cannot be an array ({_line(error)}): bring all examples to one "
                         "shape") from None
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf" or not array.ndim:
        what = f"a {type(values).__name__}" if array.dtype == object else f"an array of {array.dtype}"
        raise ValueError(f"{name} is {what} of shape {array.shape}, expected numbers [N, ...], all "
                         "examples of one shape: give a NumPy array, or datasets to "
                         "mpl_tf.data.from_datasets")
    if not array.size:
        raise ValueError(f"{name} is empty, of shape {array.shape}: give at least one example")
    if array.dtype.kind == "f":     # one pass, and no copy as large as the array
        if not np.isfinite([array.min(), array.max()]).all():
            raise ValueError(f"{name} has numbers that are not finite (NaN or infinite): mend or take "
                             "out these examples")
    return array


def class_numbers(values: Any, count: int) -> np.ndarray:
    """Labels as class numbers, int64 [count].

    Args:
      values: class numbers [N] or [N, 1], as whole numbers of any type, or exact one-hot rows [N, K].
      count: N, how many images there are.

    Raises:
      ValueError: in one line, for anything else.
    """
    labels = np.asarray(values)
    if labels.dtype.kind in "OSU" and labels.ndim == 1:
        raise ValueError(f"labels are text or objects such as {str(labels[:1].tolist())[1:-1][:60]}, "
                         "expected class numbers from 0 on: give np.unique(labels, "
                         "return_inverse=True)[1]")
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2):
        raise ValueError(f"labels is {labels.dtype} of shape {labels.shape}, expected class numbers [N] "
                         "or one-hot rows [N, K]: give one label for each example")
    if len(labels) != count:
        raise ValueError(f"labels has {len(labels)} rows for {count} labeled images: give one label "
                         "for each")
    if labels.ndim == 2 and labels.shape[1] != 1:
        inexact = np.flatnonzero(~(((labels == 0) | (labels == 1)).all(axis=1)
                                   & ((labels == 1).sum(axis=1) == 1)))
        if len(inexact):
            raise ValueError(f"labels has the row {_row(labels[inexact[0]])} (number {inexact[0]}), expected "
                             "one-hot rows of one 1 and else 0: soft or several labels are not taken; "
                             "give class numbers [N]")
        return labels.argmax(axis=1).astype(np.int64)
    numbers = labels.reshape(-1)
    with np.errstate(invalid="ignore"):
        whole = numbers.astype(np.int64)
    wrong = np.flatnonzero((whole != numbers) | (whole < 0))
    if len(wrong):
        raise ValueError(f"labels has {numbers[wrong[0]]} (number {wrong[0]}), expected class numbers from 0 "
                         "on: give examples without a label as `unlabeled`")
    return whole


def hold_out(images: Any, labels: Any, fraction: float = 0.1, seed: int = 0,
             ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Sets a part of each class aside, for fit's validation_data.

        train, held = mpl_tf.data.hold_out(images, labels, fraction=0.2)
        model.fit(mpl_tf.data.from_arrays(*train, unlabeled), validation_data=held, ...)

    Args:
      images, labels: as of from_arrays.
      fraction: of each class, above 0 and below 1; at least one example of a class that has two, and
        none of a class that has one.
      seed: decides which.

    Returns:
      ((images, labels), (images, labels)): what is left and what is set aside, labels as int64 [N].

    Raises:
      ValueError: in one line, for labels that are not exact, or an impossible fraction.
    """
    images = examples(images, "images")
    numbers = class_numbers(labels, len(images))
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction!r}: expected a number between 0 and 1, such as 0.1")
    shuffled = np.random.default_rng(seed).permutation(len(numbers))
    held = np.zeros(len(numbers), bool)
    for label in np.unique(numbers):
        members = shuffled[numbers[shuffled] == label]
        held[members[:min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    return (images[~held], numbers[~held]), (images[held], numbers[held])


def weights(values: Any, count: int) -> np.ndarray:
    """sample_weight as float32 [count]; ValueError, in one line, if it is anything else."""
    given = np.asarray(values)
    if given.dtype.kind not in "biuf" or given.shape != (count,) or not np.isfinite(given).all():
        raise ValueError(f"sample_weight is {given.dtype} of shape {given.shape}, expected a finite "
                         f"number for each of the {count} labeled images: float [{count}]")
    return given.astype(np.float32)


def value_range(parts: Mapping[str, np.ndarray],
                given: tuple[float, float] | None = None) -> tuple[float, float]:
    """The range (low, high) that the values of images have: (0, 1), (-1, 1) or (0, 255).

    Args:
      parts: {what an array is called: its images}.
      given: the range as a user gave it, or None to tell it by the values.

    Raises:
      ValueError: in one line: it cannot be told, the parts have different ones, or values lie outside
        of the given one.
    """
    bounds = {name: (float(array.min()), float(array.max())) for name, array in parts.items()}
    low, high = min(each[0] for each in bounds.values()), max(each[1] for each in bounds.values())
    shown = " and ".join(f"{name} has values {a:g} to {b:g}" for name, (a, b) in bounds.items())
    if given is not None:
        start, end = pair(given)
        if low < start or high > end:
            raise ValueError(f"value_range=({start:g}, {end:g}), but {shown}: give the range of all "
                             "images")
        return start, end
    unit = [a >= -1 and b <= 1 for a, b in bounds.values()]
    byte = [a >= 0 and BYTE_FROM <= b <= 255 for a, b in bounds.values()]
    if all(unit):
        return (-1.0 if low < 0 else 0.0), 1.0
    if all(byte):
        return 0.0, 255.0
    if all(one or other for one, other in zip(unit, byte)):
        raise ValueError(f"{shown}, which are different ranges: bring them into one")
    raise ValueError(f"{shown}, and the range of these images cannot be told: expected 0 to 255, 0 to 1 "
                     "or -1 to 1; scale them, or give value_range=(low, high), or augment=False for "
                     "what is no image")


def pair(given: Any) -> tuple[float, float]:
    """(low, high) as floats; ValueError, in one line, for what is no range."""
    try:
        start, end = (float(each) for each in given)
    except (TypeError, ValueError):
        start = end = 0.0
    if not (np.isfinite([start, end]).all() and start < end):
        raise ValueError(f"value_range={given!r}: expected (low, high), such as (0, 255)")
    return start, end


def _row(row):
    text = " ".join(f"{each:g}" for each in row[:6])
    return f"[{text}{' ...' if len(row) > 6 else ''}]"


def _line(error):
    return " ".join(str(error).split())

"""Training batches: what an element of the data set has to hold, and what each piece is for."""

from __future__ import annotations

import math
import operator
from typing import Any, Collection, List, Mapping, NamedTuple, Optional

import tensorflow as tf

from mpl_tf.method import objectives


class Batch(NamedTuple):
    """A training batch, its pieces named by their use. Views are float [B, ...], labels int [B_l]."""

    labels: tf.Tensor
    labeled_image: tf.Tensor    # x_l's weak view, on which R is measured
    labeled_view: tf.Tensor     # the view of x_l that the objective learns from
    weak_view: Optional[tf.Tensor]        # x_u's "image"
    student_view: Optional[tf.Tensor]     # the view of x_u that the teacher labels for the student
    # Stored distributions of q_large, [B_l, K] and [B_u, K], where the model asks for them.
    labeled_probs: Optional[tf.Tensor] = None
    unlabeled_probs: Optional[tf.Tensor] = None
    sample_weight: Optional[tf.Tensor] = None       # float [B_l], of the labeled examples


LABELS_OUTSIDE = "labeled examples have class numbers outside"
LENGTHS = "data have pieces of different lengths, or empty ones"
ONE_HOT = "labels of the labeled dataset are neither class numbers nor exact one-hot rows"
SLICES = "slices of microbatch_size="
# How the lines begin that can end a traced step; ONE_HOT is that of data/from_tf_data.py.
ASSERTED = (LABELS_OUTSIDE, LENGTHS, ONE_HOT, SLICES)
_ENDLESS = 2 ** 50      # steps, from which on a dataset is one without an end
_PIECES = ("image", "label", "augmented", "teacher_probs", "sample_weight")
_LAYOUT = ('{"labeled": {"image", "label"}, "unlabeled": {"image", "augmented"}}, '
           '"augmented" only where the two views differ')
_FROM_ARRAYS = "mpl_tf.data.from_arrays(images, labels, unlabeled, batch_size=64)"
_FROM_DATASETS = "mpl_tf.data.from_datasets(labeled, unlabeled)"
_LAYOUT_PROBS = _LAYOUT + ', and "teacher_probs" [B, K] beside each "image"'


def unpack(data: Any, objective: Optional[objectives.Objective] = None,
           need_unlabeled: bool = True, need_probs: Collection[str] = (),
           num_classes: Optional[int] = None) -> Batch:
    """Takes an element of a dataset apart.

    Args:
      data: the element, or its specification.
      objective: the objective whose views are needed, or None if the model has none.
      need_unlabeled: whether the model needs x_u even if the objective does not.
      need_probs: the parts, of "labeled" and "unlabeled", whose "teacher_probs" are needed.
      num_classes: the K that "teacher_probs" [B, K] must have, or None if it is not known yet.

    Raises:
      ValueError: in one line, where something is missing or has another shape or dtype.
    """
    layout = _LAYOUT_PROBS if need_probs else _LAYOUT
    zipped = isinstance(data, (tuple, list)) and len(data) > 1
    data = as_dicts(data)
    for part, views in data.items():
        if not isinstance(views, dict):
            raise ValueError(f'training data\'s ["{part}"] is {type(views).__name__}, expected dicts '
                             f"{layout}")
    labeled, unlabeled = data.get("labeled", {}), data.get("unlabeled", {})
    needed = [("labeled", labeled, "image"), ("labeled", labeled, "label")]
    if objective is not None and objective.labeled_view != "image":
        needed.append(("labeled", labeled, objective.labeled_view))
    if need_unlabeled or objective.unlabeled:
        needed.append(("unlabeled", unlabeled, "image"))
    if objective is not None and objective.unlabeled:
        needed.append(("unlabeled", unlabeled, "augmented"))
    needed += [(part, data.get(part, {}), "teacher_probs") for part in need_probs]
    for part, views, key in needed:
        if key not in views:
            reason = f" ({type(objective).__name__} needs it)" if key == "augmented" else ""
            hint = f"; {_FROM_DATASETS} makes the strong views of images" if zipped else ""
            raise ValueError(f'training data has no ["{part}"]["{key}"]{reason}: got '
                             f"{ {p: sorted(v) for p, v in data.items()} }, expected {layout}{hint}")
    if labeled["label"].shape.rank != 1 or not labeled["label"].dtype.is_integer:
        hint = f"; {_FROM_DATASETS} batches both datasets and takes one-hot labels" if zipped else ""
        raise ValueError(
            f'["labeled"]["label"] is {labeled["label"].dtype.name} {labeled["label"].shape}, '
            f"expected class numbers: int [B_l]{hint}")
    for part in need_probs:
        _check_probs(part, data[part], num_classes)
    view = objective.labeled_view if objective is not None else "image"
    probs = {f"{part}_probs": data[part]["teacher_probs"] for part in need_probs}
    weights = labeled.get("sample_weight")
    if weights is not None and weights.shape.rank != 1:
        raise ValueError(f'["labeled"]["sample_weight"] is {weights.dtype.name} {weights.shape}, '
                         "expected a number for each labeled example: float [B_l]")
    if weights is not None and objective is None:
        raise ValueError('training data has ["labeled"]["sample_weight"], but a student of given targets '
                         "learns from no labels: leave it out")
    if "sample_weight" in unlabeled:
        raise ValueError('training data has ["unlabeled"]["sample_weight"], which no method here uses: '
                         "weigh labeled examples only, or repeat unlabeled ones")
    checks = check_lengths({"labeled": labeled, "unlabeled": unlabeled})
    labels = labeled["label"]
    if isinstance(labels, tf.Tensor):   # tf.one_hot takes some integer types and not others
        labels = tf.cast(labels, tf.int64)
    batch = Batch(labels, labeled["image"], labeled[view], unlabeled.get("image"),
                  unlabeled.get("augmented", unlabeled.get("image")), sample_weight=weights,
                  **probs)
    if not checks:
        return batch
    with tf.control_dependencies(checks):       # before anything is computed of the batch
        return Batch(*(None if piece is None else tf.identity(piece) for piece in batch))


def as_dicts(data: Any) -> Any:
    """An element of a dataset as {"labeled": {...}, "unlabeled": {...}}; dicts stay as they are.

    Args:
      data: the element, its specification, or the arguments with which Dataset.map calls a function.
        That of zip((labeled, unlabeled)) is ((x, y), x_u) or ((x, y), (weak, strong)), and there may
        be a sample_weight behind y.

    Raises:
      ValueError: in one line that says what makes such data, for anything else.
    """
    if isinstance(data, (tuple, list)) and len(data) == 1:
        data = data[0]
    if isinstance(data, dict):
        return data
    if not isinstance(data, (tuple, list)):
        raise ValueError(f"training data yields {type(data).__name__}, expected dicts {_LAYOUT}: "
                         f"make them of arrays by {_FROM_ARRAYS}, of datasets by {_FROM_DATASETS}")
    if len(data) != 2 or not isinstance(data[0], (tuple, list)):
        raise ValueError(f"training data yields {type(data).__name__}s of {len(data)}, as (x, y) are, but "
                         "no unlabeled examples beside the labeled ones: give two datasets, of (x, y) and "
                         f"of x, to {_FROM_DATASETS}, or arrays to {_FROM_ARRAYS}")
    labeled, unlabeled = data
    unlabeled = tuple(unlabeled) if isinstance(unlabeled, (tuple, list)) else (unlabeled,)
    pieces = (*labeled, *unlabeled)
    if len(labeled) not in (2, 3) or len(unlabeled) not in (1, 2) or not all(
            hasattr(piece, "shape") for piece in pieces):
        raise ValueError("training data yields pairs, expected ((x, y), x_u) or ((x, y), (weak, strong)) "
                         f"of tensors: give the two datasets to {_FROM_DATASETS}, or yield dicts {_LAYOUT}")
    if len(unlabeled) == 2 and (unlabeled[0].dtype != unlabeled[1].dtype or not tf.TensorShape(
            unlabeled[0].shape).is_compatible_with(unlabeled[1].shape)):
        raise ValueError(
            f"training data yields unlabeled pairs of {' and '.join(_shown(each) for each in unlabeled)}, "
            "expected (weak, strong), two views of the same shape and type: where the second are "
            "labels, take them out by unlabeled.map(lambda x, y: x)")
    return {"labeled": dict(zip(("image", "label", "sample_weight"), labeled)),
            "unlabeled": dict(zip(("image", "augmented"), unlabeled))}


def _shown(piece):
    return f"{tf.as_dtype(piece.dtype).name} {tuple(piece.shape)}"


def check_given(x: Any, y: Any = None, steps_per_epoch: Optional[int] = None) -> None:
    """Raises ValueError, in one line, where `fit` is given arrays, or data that never end."""
    if y is not None or x is None or isinstance(x, (tuple, list)) or hasattr(x, "__array__") or (
            tf.is_tensor(x)):
        given = "x and y" if y is not None else "nothing" if x is None else type(x).__name__
        raise ValueError(f"fit is given {given}, expected a tf.data.Dataset of labeled and unlabeled "
                         f"batches: make it of arrays by {_FROM_ARRAYS}, of two datasets by "
                         f"{_FROM_DATASETS}")
    if isinstance(x, tf.data.Dataset) and steps_per_epoch is None:
        count = int(x.cardinality())
        if count == tf.data.INFINITE_CARDINALITY or count > _ENDLESS:
            raise ValueError("fit is given a dataset that does not end, and no steps_per_epoch: add "
                             "steps_per_epoch, such as the number of unlabeled examples divided by "
                             "those in a batch")


def check_lengths(parts: Mapping[str, Mapping[str, Any]],
                  alike: bool = False) -> List[tf.Operation]:
    """Checks that in each part all pieces have equally many examples, one or more.

    TensorFlow would broadcast one label over six images in silence.

    Args:
      parts: {part: {"image": tensor [B, ...], ...}} of a batch, or of its specification. Sizes that
        are not known before the step are compared in it.
      alike: whether the parts must have equally many examples, too.

    Returns:
      The operations that compare sizes in a traced step; what they refuse is TensorFlow's error.

    Raises:
      ValueError: in one line, with the sizes, where they are known.
    """
    checks = []
    pieces = [(part, {name: views[name] for name in _PIECES if name in views})
              for part, views in parts.items()]
    if alike:
        pieces = [("training data", {f"{part} {name}": value for part, views in pieces
                                     for name, value in views.items()})]
    for part, views in pieces:
        values = [each if isinstance(each, tf.TypeSpec) or tf.is_tensor(each)
                  else tf.convert_to_tensor(each) for each in views.values()]     # plain arrays
        line = (f"{LENGTHS}, in {part}: {', '.join(views)} have to have a row for each example, but "
                "they have")
        sizes = [value.shape[0] if value.shape.rank else None for value in values]
        known = [size for size in sizes if size is not None]
        if len(set(known)) > 1 or 0 in known:
            raise ValueError(f"{line} [{' '.join('?' if s is None else str(s) for s in sizes)}]")
        if len(known) < len(sizes) and all(isinstance(value, tf.Tensor) for value in values):
            rows = tf.stack([tf.shape(value)[0] for value in values])
            fits = tf.reduce_all(tf.equal(rows, rows[0])) & (rows[0] > 0)
            checks.append(tf.debugging.Assert(fits, [line, rows], summarize=10))
    return checks


def with_lengths_checked(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset`, each of whose batches is checked by `check_lengths` before the step has it."""
    def check(*element):
        batch = as_dicts(element)
        with tf.control_dependencies(check_lengths(batch)):
            return tf.nest.map_structure(tf.identity, batch)

    unknown = any(each.shape.rank and each.shape[0] is None
                  for each in tf.nest.flatten(dataset.element_spec))
    return dataset.map(check) if unknown else dataset


def with_class_weight(dataset: tf.data.Dataset, class_weight: Mapping[int, float],
                      num_classes: Optional[int] = None) -> tf.data.Dataset:
    """`dataset` with the weight of each labeled example's class in its "sample_weight".

    Args:
      class_weight: {class number: weight}. A class that it lacks has weight 1. Weights that the
        examples have already are multiplied.
      num_classes: K, if it is known: keys must be below it.

    Raises:
      ValueError: in one line, for a key that is no class number, or a weight that is no number.
    """
    try:
        weights = {operator.index(label): float(weight) for label, weight in class_weight.items()}
    except (AttributeError, TypeError, ValueError):
        weights = {-1: 0.0}
    if min(weights) < 0 or max(weights) > 1_000_000 or not all(map(math.isfinite, weights.values())):
        raise ValueError(f"class_weight={class_weight!r}: expected {{class number: weight}}, such as "
                         "{0: 1.0, 1: 2.5}")
    if num_classes is not None and max(weights) >= num_classes:
        raise ValueError(f"class_weight has class {max(weights)}, but the networks have logits for "
                         f"{num_classes} classes, 0 to {num_classes - 1}: correct its keys")
    table = [weights.get(label, 1.0) for label in range(max(weights) + 1)] + [1.0]

    def weigh(*element):
        batch = as_dicts(element)
        labels = tf.cast(batch["labeled"]["label"], tf.int64)
        # Labels beyond the table, the check of labels comes later, have the last entry: 1.
        beyond = (labels < 0) | (labels >= len(table))
        places = tf.where(beyond, tf.cast(len(table) - 1, tf.int64), labels)
        weight = tf.gather(tf.constant(table, tf.float32), places)
        if "sample_weight" in batch["labeled"]:
            weight *= tf.cast(batch["labeled"]["sample_weight"], tf.float32)
        return {**batch, "labeled": {**batch["labeled"], "sample_weight": weight}}

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def check_labels(labels: tf.Tensor, num_classes: int) -> None:
    """Stops the step with an error if a label, of int [B_l], is not in [0, num_classes).

    XLA cannot stop a step that it compiled: the losses of that step are then NaN.
    """
    fits = tf.reduce_all((labels >= 0) & (labels < num_classes))
    line = (f"{LABELS_OUTSIDE} [0, {num_classes}), the classes that the networks have logits for: "
            "correct the labels, or build the networks with more classes")
    if not tf.executing_eagerly():
        tf.debugging.Assert(fits, [line])
    elif not fits:
        raise ValueError(line)


def _check_probs(part, views, num_classes):
    probs, images = views["teacher_probs"], views["image"]
    fits = (probs.shape.rank == 2 and probs.dtype.is_floating
            and (num_classes is None or probs.shape[1] in (None, num_classes))
            and probs.shape[:1].is_compatible_with(images.shape[:1]))
    if not fits:
        raise ValueError(
            f'["{part}"]["teacher_probs"] is {probs.dtype.name} {probs.shape} beside '
            f'{images.shape[0]} images, expected a distribution over {num_classes or "K"} classes '
            "for each: float [B, K]; predict with a model of these classes")


def check_divisible(element_spec: Any, replicas: int) -> None:
    """Raises ValueError if global batches cannot be split into equal shares for the replicas.

    The mean over replicas is the mean over the batch only if all replicas have equally many
    examples. Sizes that are not known in advance are refused too: batch with drop_remainder=True.
    """
    for spec in tf.nest.flatten(element_spec):
        size = spec.shape[0] if spec.shape.rank else None
        if replicas > 1 and (size is None or size % replicas):
            raise ValueError(
                f"training data has batches of {'unknown size' if size is None else size} for "
                f"{replicas} replicas, which need equal shares: batch it by a multiple of "
                f"{replicas} with drop_remainder=True")

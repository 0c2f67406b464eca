"""Training batches: what an element of the data set has to hold, and what each piece is for."""

from __future__ import annotations

from typing import Any, Collection, NamedTuple, Optional

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


LABELS_OUTSIDE = "labeled examples have class numbers outside"
_LAYOUT = ('{"labeled": {"image", "label"}, "unlabeled": {"image", "augmented"}}, '
           '"augmented" only where the two views differ')
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
    if isinstance(data, (tuple, list)) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        raise ValueError(f"training data yields {type(data).__name__}, expected dicts {layout}")
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
            raise ValueError(f'training data has no ["{part}"]["{key}"]{reason}: got '
                             f"{ {p: sorted(v) for p, v in data.items()} }, expected {layout}")
    if labeled["label"].shape.rank != 1 or not labeled["label"].dtype.is_integer:
        raise ValueError(
            f'["labeled"]["label"] is {labeled["label"].dtype.name} {labeled["label"].shape}, '
            "expected class numbers: int [B_l]")
    for part in need_probs:
        _check_probs(part, data[part], num_classes)
    view = objective.labeled_view if objective is not None else "image"
    probs = {f"{part}_probs": data[part]["teacher_probs"] for part in need_probs}
    labels = labeled["label"]
    if isinstance(labels, tf.Tensor):   # tf.one_hot takes some integer types and not others
        labels = tf.cast(labels, tf.int64)
    return Batch(labels, labeled["image"], labeled[view], unlabeled.get("image"),
                 unlabeled.get("augmented", unlabeled.get("image")), **probs)


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

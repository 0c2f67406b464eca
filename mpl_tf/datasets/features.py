"""Images as features of a pretrained network, which data_prep.features computed."""

from __future__ import annotations

import dataclasses
import hashlib
import types
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from mpl_tf.datasets import feature_files as files, feature_transform, prepared, shard_sets
from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split

if TYPE_CHECKING:
    import tensorflow as tf

_VIEW = 64      # added to a view's stream: the stream that chooses among stored views


@dataclasses.dataclass(frozen=True)
class Made:
    """How the points of a data set of features were made of images.

    Attributes:
      folder: of the features. plan: the contents of its features.json.
      transform: the feature_transform.Transform between backbone and head.
    """
    folder: str
    plan: dict
    transform: feature_transform.Transform


class FeatureViews:
    """N points with stored views, used like an array [N, D]; it has the interface of images.Images.

    Args:
      values: float32 [N, V, D]: the point as evaluations see it, then weak views, and as many strong
        ones.
      made: the Made. identity: a str on which all values depend. rows: int [N], which examples of it.

    Attributes:
      stored_views: how many weak, and how many strong, views each point has.
    """

    random_crops = decoded_each_time = False
    problem: Exception | None = None

    def __init__(self, values: np.ndarray, made: Made, identity: str, rows: np.ndarray):
        self._values, self._tensor = values, None
        self.made, self._identity, self._rows = made, identity, rows
        self.shape: tuple[int, ...] = (len(values), values.shape[2])
        self.ndim = 2
        self.stored_views = (values.shape[1] - 1) // 2
        self.skipped: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._values)

    @property
    def points(self) -> np.ndarray:
        """The points as evaluations see them, float32 [N, D]."""
        return self._values[:, 0]

    def training_views(self, examples: "tf.Tensor", epochs: "tf.Tensor", seed: int,
                       streams: Sequence[int]) -> tuple[list["tf.Tensor"], "tf.Tensor"]:
        """A stored view of the examples for each of `streams`; for tf.data.

        The first is the point itself or a weak view, the second a strong view, each drawn anew in every
        epoch. Arguments and result are those of images.ArrayImages.
        """
        import tensorflow as tf
        from mpl_tf.common.random_bits import integers, uniforms
        firsts, counts = (0, 1 + self.stored_views), (1 + self.stored_views, self.stored_views)
        if len(streams) > 1 and not self.stored_views:
            raise ValueError("these features have no strong views: compute them with --views=2")
        views = []
        for stream, first, count in zip(streams, firsts, counts):
            drawn = integers(uniforms(seed, examples, epochs, 1, stream + _VIEW)[:, 0], count)
            views.append(tf.gather_nd(self._all(), tf.stack(
                [tf.cast(examples, tf.int32), first + drawn], axis=1)))
        return views, examples

    def evaluation_views(self, examples: "tf.Tensor") -> "tf.Tensor":
        """The points [B, D] of int64 tensor [B] examples; for use in tf.data."""
        import tensorflow as tf
        return tf.gather(self._all(), examples)[:, 0]

    def _all(self):
        import tensorflow as tf
        if self._tensor is None:    # made outside of the graph that is traced, which captures it
            with tf.init_scope(), tf.device("CPU:0"):
                self._tensor = tf.constant(self._values)
        return self._tensor

    def pictures(self, examples: np.ndarray) -> np.ndarray:
        """The points themselves, [B, D]: there are no pictures of them."""
        return self.points[examples]

    def subset(self, chosen: np.ndarray) -> FeatureViews:
        """FeatureViews of the examples `chosen`, int [M] or bool [N]."""
        return FeatureViews(self._values[chosen], self.made, self._identity, self._rows[chosen])

    def digest(self) -> Any:
        """A hashlib.blake2b object of 8 bytes over the stored features and their transformation."""
        digest = hashlib.blake2b(self._identity.encode(), digest_size=8)
        digest.update(np.ascontiguousarray(self._rows, np.int64).data)
        return digest


@source("features", "features of images, computed by data_prep.features", labeled_examples=0,
        labeled_selection="random", objective="supervised", student_network="linear", in_shards=True,
        backbone=True)
def features(data_dir, labeled_examples=0, labeled_selection="random", split_seed=0, holdout=0,
             feature_components=0, feature_unit_length=False):
    """Reads features, and transforms them as the training images say.

    Args:
      data_dir: folder that data_prep.features wrote.
      feature_components, feature_unit_length: see feature_transform.fit. It is fitted to all training
        images but those held out.
      The other arguments and the result are those of `imagenet`. The unlabeled examples are all of the
      splits but those for testing.
    """
    folder = shard_sets.folder(data_dir, "features", "`python -m data_prep.features --help`")
    plan = files.read_plan(folder)
    names, splits = tuple(plan["class_names"]), files.splits_of(plan)
    tests = [split for split in files.TEST_SPLITS if split in splits]
    if "train" not in splits or not tests:
        raise ValueError(f"{folder} has features of {', '.join(splits)}: expected train, and test or "
                         "validation; compute those of all splits with `python -m data_prep.features`")
    kinds = ["train", *(split for split in splits if split not in ("train", *files.TEST_SPLITS))]
    raw, labels = _read(folder, plan, [(name, kind == "train") for kind in kinds
                                       for name in splits[kind]])
    test, test_labels = _read(folder, plan, [(name, True) for name in splits[tests[0]]])
    for found in (labels, test_labels):
        if len(found) and found.max() >= len(names):
            raise ValueError(f"{folder} has label {found.max()}, but {len(names)} classes: compute the "
                             "features again into an empty folder")
    prepared.require_classes(folder, names, labels[labels >= 0])
    if (test_labels < 0).any():
        raise ValueError(f"{folder}: its {tests[0]} images have no labels: compute features of labeled "
                         "ones")
    labeled, unlabeled, held = shard_sets.parts(
        types.SimpleNamespace(label=labels), labels >= 0, np.zeros(len(labels), bool), len(names),
        labeled_examples, labeled_selection, split_seed, holdout)
    transform = feature_transform.fit(raw[unlabeled, 0], feature_components, feature_unit_length)
    made = Made(folder, plan, transform)
    settings = feature_components, feature_unit_length, hashlib.sha256(unlabeled.tobytes()).hexdigest()
    identity = f"{files.fingerprint(folder, plan)} {settings}"

    def views(values, part):
        return FeatureViews(transform(values.reshape(-1, values.shape[2])).reshape(
            *values.shape[:2], -1), made, f"{identity} {part}", np.arange(len(values)))

    train = views(raw, "train")
    split = lambda chosen: Split(train.subset(chosen), labels[chosen])
    return (names, split(labeled), train.subset(unlabeled), Split(views(test, "test"), test_labels),
            split(held) if len(held) else None)


def _read(folder, plan, names):
    """(float16 [N, V, F], int64 [N] labels) of [(name of a shard, whether its labels count)]."""
    found = [(files.read_shard(folder, name, plan), counts) for name, counts in names]
    labels = [shard.label if counts else np.full_like(shard.label, -1) for shard, counts in found]
    return (np.concatenate([shard.features for shard, _ in found]),
            np.concatenate(labels).astype(np.int64))

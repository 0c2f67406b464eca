"""Images as features of a pretrained network, which data_prep.features computed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import types
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from mpl_tf.datasets import feature_files as files, feature_transform, prepared, shard_sets
from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split
from mpl_tf.shards import crops, schema, tfrecord
from mpl_tf.shards.images import PICTURE

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


@dataclasses.dataclass(frozen=True)
class Origins:
    """The images of which N points were made.

    Attributes:
      plan: the contents of features.json. names: of the shards.
      key: the images' file names, bytes [N]. shard: int [N], of names. number: int [N], in the shard.
    """
    plan: dict
    names: tuple[str, ...]
    key: np.ndarray
    shard: np.ndarray
    number: np.ndarray

    def pictures(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """The images, uint8 [B, size, size, 3], or None where their shards are no longer there."""
        folders = self.plan.get("sources", ())
        found, offsets = [], {}
        try:
            for row in rows:
                name = self.names[self.shard[row]]
                path = next(path for path in (os.path.join(folder, name) for folder in folders)
                            if os.path.isfile(path)
                            and os.path.getsize(path) == self.plan["shards"][name]["bytes"])
                if path not in offsets:
                    offsets[path] = tfrecord.scan(path)
                where, number = offsets[path], int(self.number[row])
                record = schema.decode(tfrecord.read(path, where[0][number], where[1][number], number),
                                       path, labels=False)
                if record.filename != os.fsdecode(self.key[row]):
                    return None
                found.append(crops.evaluation_crop(record.encoded, size, self.plan["view"]["crop"]))
        except (StopIteration, OSError, ValueError, IndexError):
            return None
        return np.stack(found)


class FeatureViews:
    """N points with stored views, used like an array [N, D]; it has the interface of images.Images.

    Args:
      values: float32 [N, V, D]: the point as evaluations see it, then weak views, and as many strong
        ones.
      made: the Made. identity: a str on which all values depend. rows: int [N], which examples of it.
      origins: the Origins of all those examples.

    Attributes:
      stored_views: how many weak, and how many strong, views each point has.
    """

    random_crops = decoded_each_time = False
    problem: Exception | None = None

    def __init__(self, values: np.ndarray, made: Made, identity: str, rows: np.ndarray,
                 origins: Origins):
        self._values, self._tensor, self._origins = values, None, origins
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
        """The images of which the points were made, uint8 [B, H, W, 3]; the points, if they are gone."""
        found = self._origins.pictures(self._rows[examples], PICTURE) if len(examples) else None
        return self.points[examples] if found is None else found

    def keys(self, examples: np.ndarray) -> list[str]:
        """The shard of each of int [B] examples and its number there."""
        origins, rows = self._origins, self._rows[examples]
        return [f"{origins.names[origins.shard[i]]}:{origins.number[i]}" for i in rows]

    def names(self, examples: np.ndarray) -> list[str]:
        """The names of the image files of which int [B] examples were made."""
        return [os.fsdecode(key) for key in self._origins.key[self._rows[examples]]]

    def subset(self, chosen: np.ndarray) -> FeatureViews:
        """FeatureViews of the examples `chosen`, int [M] or bool [N]."""
        return FeatureViews(self._values[chosen], self.made, self._identity, self._rows[chosen],
                            self._origins)

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
    raw, labels, origins = _read(folder, plan, [(name, kind == "train") for kind in kinds
                                       for name in splits[kind]])
    test, test_labels, test_origins = _read(folder, plan, [(name, True) for name in splits[tests[0]]])
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

    def views(values, part, origins):
        return FeatureViews(transform(values.reshape(-1, values.shape[2])).reshape(
            *values.shape[:2], -1), made, f"{identity} {part}", np.arange(len(values)), origins)

    train = views(raw, "train", origins)
    split = lambda chosen: Split(train.subset(chosen), labels[chosen])
    return (names, split(labeled), train.subset(unlabeled), Split(views(test, "test", test_origins), test_labels),
            split(held) if len(held) else None)


def _read(folder, plan, names):
    """(float16 [N, V, F], int64 [N] labels, Origins) of [(a shard's name, whether its labels count)]."""
    found = [(files.read_shard(folder, name, plan), counts) for name, counts in names]
    labels = [shard.label if counts else np.full_like(shard.label, -1) for shard, counts in found]
    return (np.concatenate([shard.features for shard, _ in found]),
            np.concatenate(labels).astype(np.int64), Origins(
                plan, tuple(name for name, _ in names),
                np.concatenate([shard.key for shard, _ in found]),
                np.repeat(np.arange(len(found)), [len(shard.key) for shard, _ in found]),
                np.concatenate([shard.number for shard, _ in found])))

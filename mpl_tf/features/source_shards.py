"""What to compute features of: the shards of source folders, and what is said of them there."""

from __future__ import annotations

import dataclasses
import os
from typing import Mapping, Optional, Sequence

from mpl_tf.common import command
from mpl_tf.datasets import SOURCES, feature_files as files, prepared
from mpl_tf.shards import tfrecord
from mpl_tf.shards.reading import Task


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compute.

    Attributes:
      backbone, weights, image_size: see backbones.load.
      sources: folders of shards. splits: names of those to read; None: all.
      output_dir: folder for the features: a new or empty one, or one that the same call began.
      views: how many weak, and how many strong, views of each image that is not for testing.
      seed: of the views. randaugment_layers, randaugment_magnitude, cutout: of strong views.
      crop: one of crops.CROPS; "": as training on the source's images would crop them.
      first: {split: how many of its images, the first ones, are read}; others are read completely.
      batch_size: images of a forward pass. skip_corrupt: leaves out images that cannot be read.
      shard_index, num_shards: computes only every num_shards-th shard, from number shard_index on.
      overwrite: removes the features that are in output_dir first.
    """
    backbone: str
    sources: Sequence[str]
    output_dir: str
    weights: str = ""
    image_size: int = 0
    splits: Optional[Sequence[str]] = None
    views: int = 0
    seed: int = 0
    randaugment_layers: int = 2
    randaugment_magnitude: float = 5.0
    cutout: int = 0
    crop: str = ""
    first: Mapping[str, int] = dataclasses.field(default_factory=dict)
    batch_size: int = 64
    skip_corrupt: bool = False
    shard_index: int = 0
    num_shards: int = 1
    overwrite: bool = False


class Sources:
    """The shards of all source folders, and what is said of them there.

    Attributes:
      tasks: a Task for each shard that is read. class_names: of the labels.
    """

    def __init__(self, options):
        self.tasks, self._shards, self._labeled = [], {}, []
        self.class_names, self._named = None, ""
        self._flip, self._crop = True, "whole"
        for source in options.sources:
            self._add(source, options)
        present = {split for source in options.sources for split in tfrecord.find_splits(source)}
        for flag, named in (("splits", options.splits or ()), ("first", options.first)):
            absent = sorted(set(named) - present)
            if absent:
                raise ValueError(f"--{flag}: no --source_dir has shards of {', '.join(absent)}, only of "
                                 f"{', '.join(sorted(present))}; correct the names")
        if self.class_names is None:
            raise ValueError(f"--source_dir={options.sources[0]} has no {prepared.SIDECAR} with class "
                             "names: expected a folder with labeled images that data_prep wrote; give "
                             "it too")

    def _add(self, source, options):
        command.require_folder(source, expected="a folder of shards")
        found = tfrecord.find_splits(source)
        if not found:
            raise FileNotFoundError(
                f"--source_dir={source} has no shards: expected files like "
                f"{tfrecord.shard_name('train', 0, 8)}; prepare it first, for example with `python -m "
                "data_prep.image_folder`")
        prepared.check_finished(source)
        sidecar = prepared.read_sidecar(source) or {"splits": {}}
        kind = SOURCES.get(sidecar.get("name"))
        if kind.in_shards if kind else not sidecar["splits"]:
            self._crop = "inception"
        self._flip &= sidecar.get("flip", True)
        for split in (each for each in found if not options.splits or each in options.splits):
            labeled = bool(sidecar["splits"].get(split, {}).get("labeled"))
            if labeled:
                self._name(source, sidecar.get("class_names"))
            left = options.first.get(split)
            listed = sidecar["splits"].get(split, {}).get("shards", ()) if "plan" in sidecar else ()
            sha256 = {shard["file"]: shard["sha256"] for shard in listed}
            for path in tfrecord.find_shards(source, split):
                left = self._shard(source, path, labeled, left, sha256.get(os.path.basename(path)))

    def _name(self, source, names):
        if names and self.class_names not in (None, names):
            raise ValueError(f"--source_dir={source} has other classes than --source_dir={self._named}: "
                             "give folders of the same classes, or compute their features apart")
        if names:
            self.class_names, self._named = names, source

    def _shard(self, source, path, labeled, left, sha256):
        """Adds a shard of which at most `left` images are read; returns how many are left then.

        sha256: what dataset.json says of it, or None: it tells a label that was corrected, which leaves the
        names and the size as they were.
        """
        name, records = os.path.basename(path), None
        if left is not None:
            records = min(len(tfrecord.scan(path)[0]), left)
            left -= records
            if not records:
                return left
        if name in self._shards:
            raise ValueError(f"--source_dir={source} has a file {name}, as another --source_dir has: "
                             "prepare one with other names, or compute their features apart")
        self.tasks.append(Task(name, path))
        self._shards[name] = {"bytes": os.path.getsize(path), "records": records,
                              **({"sha256": sha256} if sha256 else {})}
        self._labeled += [name] * labeled
        return left

    def plan(self, options, model, digest):
        """The contents of features.json for a backbone and its digest."""
        name = options.backbone
        return {
            "version": files.VERSION,
            "backbone": {"name": os.path.basename(name) if name.endswith(".keras") else name,
                         "digest": digest, "features": model.output_shape[-1]},
            "view": {"size": model.input_shape[1], "crop": options.crop or self._crop},
            "augmented": {"views": options.views, "seed": options.seed, "flip": bool(self._flip),
                          "randaugment_layers": options.randaugment_layers,
                          "randaugment_magnitude": float(options.randaugment_magnitude),
                          "cutout": options.cutout},
            "class_names": list(self.class_names), "labeled": self._labeled, "shards": self._shards,
            "sources": [os.path.abspath(source) for source in options.sources]}

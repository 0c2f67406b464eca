"""Features for tests: a tiny backbone, photographs in shards, and folders of their features."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from data_prep import command, image_folder
from mpl_tf.datasets import feature_files
from mpl_tf.features import computing
from mpl_tf.features.source_shards import Options
from tests.prep import jpeg, put

SIZE, FEATURES, NAMES = 16, 6, ["ant", "bee"]
TRAIN, TEST, UNLABELED = "train-00000-of-00001", "test-00000-of-00001", "unlabeled-00000-of-00001"


def backbone(path, seed=1, size=SIZE, features=FEATURES):
    """Writes a tiny backbone of images [size, size, 3] to a .keras file; returns the path as a str."""
    image = tf.keras.Input((size, size, 3))
    x = tf.keras.layers.Conv2D(features, 3, 2, activation="relu", kernel_initializer=tf.keras.initializers
                               .HeNormal(seed), bias_initializer="ones")(image)
    x = tf.keras.layers.BatchNormalization()(x)
    tf.keras.Model(image, tf.keras.layers.GlobalAveragePooling2D()(x)).save(path)
    return str(path)


def shards(root, train=4, test=2, unlabeled=5):
    """Shards of photographs of two classes, written by data_prep; returns their folder as a str."""
    photos, out = root / "photos", root / "shards"
    for c, name in enumerate(NAMES):
        for split, count in (("labeled", train), ("test", test)):
            for i in range(count):
                put(str(photos / split / name / f"{split}{i}.jpg"), jpeg(1000 * c + 100 * (split == "test") + i))
    for i in range(unlabeled):
        put(str(photos / "unlabeled" / f"{i}.jpg"), jpeg(5000 + i))
    assert command.main(image_folder.run, [f"--source_dir={photos}", f"--output_dir={out}", "--workers=1"]) == 0
    return str(out)


@functools.lru_cache(maxsize=None)
def _prepared():
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return shards(pathlib.Path(folder))


def made(root, out="features", **changes):
    """Computes features of photographs; returns (their folder, the Options)."""
    path = root / "tiny.keras"
    if not (root / "shards").is_dir():      # made once, as data_prep's processes take seconds
        shutil.copytree(_prepared(), root / "shards")
    source = str(root / "shards")
    if not path.exists():
        backbone(path)
    options = Options(**{"backbone": str(path), "sources": [source], "output_dir": str(root / out),
                         "views": 1, "batch_size": 3, **changes})
    computing.compute(options)
    return root / out, options


def contents(folder):
    """{name: bytes} of the features in a folder."""
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))
            if name.endswith(".npz")}


def arrays(folder, name):
    """The feature_files.Shard called `name`."""
    return feature_files.read_shard(str(folder), name, feature_files.read_plan(str(folder)))


def change_plan(folder, **parts):
    """Changes features.json behind the program's back; a dict changes single keys of a part."""
    path = folder / feature_files.PLAN
    plan = json.loads(path.read_text())
    for key, value in parts.items():
        plan[key] = {**plan[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(plan))


def change(folder, name, **values):
    """Changes arrays of a stored shard behind the program's back."""
    path = folder / f"{name}.npz"
    with np.load(path) as stored:
        found = dict(stored)
    np.savez(path, **{**found, **{key: value(found[key]) for key, value in values.items()}})

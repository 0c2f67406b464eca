"""Any image-classification set of TensorFlow Datasets (TFDS): --dataset=tfds:NAME[/CONFIG][:VERSION].

What TFDS has prepared in its folder is read; what is missing is prepared first, which downloads it.
The examples are in TFDS's order, held in memory. TFDS is imported here when a set is read.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from typing import Any, Mapping

import numpy as np

from mpl_tf.common import room
from mpl_tf.datasets import tfds
from mpl_tf.datasets.sources import family
from mpl_tf.datasets.splits import Split
from mpl_tf.shards import crops

SHOWN = "tfds:NAME[/CONFIG][:VERSION]"
FOLDER = "image_folder"     # TFDS's builder of a folder SPLIT/CLASS/IMAGE, which has no name there
TESTS, UNLABELED = ("test", "validation"), ("unlabelled", "unlabeled")
_NAME = re.compile(r"tfds:([A-Za-z]\w*)(/[\w.-]+)?(:\d+\.\d+\.\d+)?")
# The mirror image of a letter, a digit or a word is another, or none.
_SIGNS = re.compile(r"mnist|svhn|omniglot|digit|cmaterdb|quickdraw|so2sat|siscore|smartwatch|lipread")

log = logging.getLogger("mpl_tf")


def check_name(name: str) -> Mapping[str, Any]:
    """The facts that a name tells; raises ValueError, in one line, unless it can be one."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"expected {SHOWN}, such as tfds:cifar100 or tfds:imagenette/160px-v2:1.0.0")
    return {"flip": not _SIGNS.search(found.group(1).lower())}


@family(SHOWN, "an image-classification set of TensorFlow Datasets; tfds:image_folder is its builder "
        "of a folder SPLIT/CLASS/IMAGE, --data_dir", "tfds:", check_name, labeled_examples=0,
        labeled_selection="random", objective="uda", student_network="wrn-28-2", of_images=True,
        photographs=True)
def tfds_set(name, data_dir=None, image_size=0, train_split="", test_split="", unlabeled_split="",
             download=True):
    """Reads (class names, {"train": Split, "test": Split, and "extra" where there are more images}).

    Args:
      name: as the flag has it. data_dir: TFDS's folder; None: its default one.
      image_size: side in pixels to which the central square of each image is resized; 0: their own,
        which has to be one for all.
      train_split, test_split: names of splits, or parts of them as TFDS writes these, such as
        "train[:80%]". "" stands for train, and for test or validation.
      unlabeled_split: more unlabeled images, whose labels are not read; "": a split unlabelled or
        unlabeled, where there is one; "none": none.
      download: False prepares, and so downloads, nothing.

    Raises:
      ValueError, FileNotFoundError: in one line.
    """
    return read(made(name, data_dir, download), name, image_size, train_split, test_split, unlabeled_split)


def made(name, data_dir=None, download=True):
    """The builder of TFDS called `name`, its files prepared.

    Raises:
      ValueError, FileNotFoundError: in one line: there is none, or it cannot be downloaded.
    """
    import tensorflow_datasets
    own = name[len("tfds:"):]
    if own == FOLDER:
        return _folder(tensorflow_datasets, name, data_dir)
    folder = None if data_dir is None else str(data_dir)
    try:
        builder = tensorflow_datasets.builder(own, data_dir=folder)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        known += os.listdir(data_dir) if data_dir and os.path.isdir(data_dir) else []
        near = difflib.get_close_matches(re.split("[/:]", own)[0], sorted(set(known)), n=3)
        near = [f"tfds:{each}" for each in near]
        raise ValueError(
            f"{name}: TensorFlow Datasets has no such set, and there is none of this name in "
            f"--data_dir={data_dir}: " + (f"did you mean {', '.join(near)}?" if near else
                                        "see https://www.tensorflow.org/datasets/catalog")) from error
    except (ValueError, AssertionError, RuntimeError) as error:     # its configs and versions
        reason = _line(str(error).rpartition('}": ')[2])
        raise ValueError(f"{name} is not to be had ({reason}): correct the name, or leave out config "
                         "and version") from error
    keys(builder.info, name)    # before anything is downloaded
    if not os.path.exists(builder.data_dir):
        if not download:
            tfds.missing(name, folder)
        _prepare(builder, name, folder or "TensorFlow Datasets' own folder")
    return builder


def _folder(tensorflow_datasets, name, data_dir):
    if not data_dir or not os.path.isdir(data_dir):
        raise ValueError(f"{name} with --data_dir={data_dir}: expected a folder SPLIT/CLASS/IMAGE, such "
                         "as DIR/train/cat/1.jpg; add --data_dir=DIR")
    builder = tensorflow_datasets.folder_dataset.ImageFolder(str(data_dir))
    if not builder.info.splits:
        raise ValueError(f"{name}: {data_dir} has no images at SPLIT/CLASS/IMAGE, such as "
                         "train/cat/1.jpg: correct --data_dir, or use data_prep.image_folder")
    return builder


def _prepare(builder, name, folder):
    """Downloads and prepares a set; refuses at once where there is no network."""
    urls = dict(getattr(builder, "url_infos", None) or {})
    try:
        if urls:
            tfds.require_network(next(iter(urls)))      # TFDS itself would try again for minutes
            size = sum(getattr(info, "size", 0) or 0 for info in urls.values())
            log.warning("%s: downloading up to %.1f GB and preparing them in %s", name, size / 1e9,
                        builder.data_dir)
        builder.download_and_prepare()
    except MemoryError:
        raise
    except Exception as error:      # no network, no disk, files to fetch by hand: anything
        if room.full_disk(error, builder.data_dir):
            raise
        raise FileNotFoundError(
            f"{name} is not prepared in {folder}, and TensorFlow Datasets cannot download or prepare it "
            f"({_line(error)}): connect to the internet, or give the folder in which it was prepared "
            "elsewhere as --data_dir") from error


def read(builder, name="tfds", image_size=0, train_split="", test_split="", unlabeled_split=""):
    """Reads a builder whose files are prepared; arguments, result and errors are `tfds_set`'s."""
    image_key, label_key = keys(builder.info, name)
    chosen = chosen_splits(builder.info.splits, name, train_split, test_split, unlabeled_split)
    feature, label = builder.info.features[image_key], builder.info.features[label_key]
    if np.dtype(feature.np_dtype) != np.uint8:
        raise ValueError(f"{name}: its images are {np.dtype(feature.np_dtype).name}, expected uint8: "
                         "use another set, or convert them for data_prep.image_folder")
    height, width, channels = feature.shape
    if not image_size and (height is None or height != width):
        said = "of several sizes" if height is None else f"of {height} x {width} pixels"
        raise ValueError(f"{name}: its images are {said}, expected squares of one size: add "
                         "--image_size=64, to which their central squares are resized")
    size = image_size or height
    counts = {part: builder.info.splits[split].num_examples for part, split in chosen.items()}
    _check_memory(name, counts, size, channels or 3)
    if not label.num_classes or label.num_classes < 2:
        raise ValueError(f"{name}: its {label_key!r} has {label.num_classes} classes, expected at least "
                         "2: use another set")
    splits = {part: _read_split(builder, name, split, counts[part], size, image_key,
                                None if part == "extra" else label_key)
              for part, split in chosen.items()}
    return tuple(label.names), splits


def keys(info, name):
    """The names of the features that are image and label: those of TFDS's own pair, or the only ones.

    Raises:
      ValueError: in one line, where a set has no image, or no label, or several.
    """
    import tensorflow_datasets
    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    of_kind = {what: [key for key, feature in features.items() if isinstance(feature, kind)]
               for what, kind in (("image", tensorflow_datasets.features.Image),
                                  ("label", tensorflow_datasets.features.ClassLabel))}
    pair = info.supervised_keys if isinstance(info.supervised_keys, tuple) else ()
    found = []
    for what, have in of_kind.items():
        best = [key for key in (*pair, what) if key in have] or have
        if not best or (len(have) > 1 and best == have):
            said = f"several {what}s ({', '.join(have)})" if have else f"no {what}s"
            raise ValueError(f"{name} has {said}: expected one image and one class label an example, "
                             f"but its features are {', '.join(sorted(features)) or 'none'}; use a set "
                             "of image classification")
        found.append(best[0])
    return tuple(found)


def chosen_splits(splits, name, train_split="", test_split="", unlabeled_split=""):
    """{"train": split, "test": split, and "extra" where there is one}; see `tfds_set`.

    Raises:
      ValueError: in one line, for a split that there is not, or is empty or used twice.
    """
    have = ", ".join(splits) or "none"
    test = test_split or next((split for split in TESTS if split in splits), "")
    extra = unlabeled_split or next((split for split in UNLABELED if split in splits), "none")
    if not test:
        raise ValueError(f"{name} has no split {' or '.join(TESTS)}, only {have}: add "
                         "'--train_split=train[:80%]' and '--test_split=train[80%:]', for example")
    chosen = {"train": train_split or "train", "test": test, "extra": extra}
    for part, split in list(chosen.items()):
        flag = f"--{'unlabeled' if part == 'extra' else part}_split={split}"
        if part == "extra" and split == "none":
            del chosen[part]
            continue
        try:
            count = splits[split].num_examples
        except Exception as error:      # TFDS's, for a name, a part or a number that it cannot read
            raise ValueError(f"{flag}: {name} has no such split, only {have}: name one, or a part such "
                             "as train[:80%]") from error
        if not count:
            raise ValueError(f"{flag}: {name} has no examples there: name another of {have}")
        if split in [other for which, other in chosen.items() if which == "test" != part]:
            raise ValueError(f"{flag} is the test split of {name} too: expected examples that no "
                             f"training sees; name another of {have}, or parts such as train[:80%]")
    return chosen


def _check_memory(name, counts, size, channels):
    need = 2 * sum(counts.values()) * size * size * channels    # TensorFlow has a copy
    have = room.memory()
    if have is not None and need > have:
        raise ValueError(
            f"{name}: {sum(counts.values()):,} images of {size} pixels take {need / 1e9:,.1f} GB, and "
            f"this machine has {have / 1e9:,.1f} GB of memory: use a smaller --image_size or parts of "
            "its splits, or write its images into class folders and prepare these by `python -m "
            "data_prep.image_folder`, whose shards are read image by image")


def _read_split(builder, name, split, count, size, image_key, label_key):
    import tensorflow_datasets
    try:
        examples = builder.as_dataset(
            split=split, shuffle_files=False,
            read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1))
        images, labels = None, np.zeros(count, np.int64)
        for i, example in enumerate(tensorflow_datasets.as_numpy(examples)):
            pixels = crops.square(example[image_key], size)
            if images is None:
                images = np.zeros([count, *pixels.shape], np.uint8)
            if pixels.shape != images.shape[1:]:
                raise ValueError(f"image {i} has {pixels.shape[-1]} channels, those before "
                                 f"{images.shape[-1]}")
            images[i] = pixels
            labels[i] = 0 if label_key is None else example[label_key]
    except MemoryError:
        raise
    except Exception as error:      # damaged or incomplete files: TFDS and TensorFlow raise anything
        raise ValueError(f"{name}: its split {split} cannot be read ({_line(error)}): prepare it again "
                         f"in {builder.data_dir}") from error
    if images is None or i + 1 != count:
        raise ValueError(f"{name}: its split {split} has {0 if images is None else i + 1} examples "
                         f"instead of {count}: prepare it again in {builder.data_dir}")
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"{name}: its images have {images.shape[-1]} channels, expected 1 or 3: use "
                         "another set")
    return Split(images, labels)


def _line(error):
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]

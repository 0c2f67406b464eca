"""Data sets by TensorFlow Datasets, in their official order. Nothing else here imports it."""

import contextlib
import pathlib
import urllib.error
import urllib.request

import numpy as np

from mpl_tf.datasets.splits import Split, official_order


def require_network(url):
    """Raises OSError at once where the server of `url` cannot be reached."""
    with contextlib.suppress(urllib.error.HTTPError):    # then it has answered
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20).close()


def read(name, data_dir=None, splits=("train", "test"), url="", download=True):
    """{split: Split} from TensorFlow Datasets, in the official order.

    TFDS writes examples in the order of a hash and keeps the official one only in `id`.

    Args:
      name: TFDS's, "cifar10" or "svhn_cropped".
      data_dir: its folder; None: its default.
      splits: names of what to read.
      url: of the raw files, for the line of an error and to see whether there is a network.
      download: False: only what TFDS has prepared in data_dir; None is returned without it.

    Raises:
      FileNotFoundError: not there, and could not be downloaded.
    """
    try:
        import tensorflow_datasets as tfds
        builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
        if not pathlib.Path(builder.data_dir).exists():
            if not download:
                return None
            require_network(url)    # TFDS itself would try again for minutes
        builder.download_and_prepare()
        parts = builder.as_dataset(split=list(splits), shuffle_files=False)
        parts = [list(tfds.as_numpy(part)) for part in parts]
    except Exception as error:    # no network, no disk, a changed download: TFDS raises anything
        reason = " ".join(str(error).split())[:120]
        raise FileNotFoundError(
            f"no {name} files in data_dir={data_dir}, and TensorFlow Datasets could not download "
            f"them ({type(error).__name__}: {reason}): get {url} and put it into data_dir"
        ) from error
    result = {}
    for split, examples in zip(splits, parts):
        order = official_order([example["id"] for example in examples])
        result[split] = Split(np.stack([examples[i]["image"] for i in order]),
                              np.array([examples[i]["label"] for i in order], np.int64))
    return result

"""Reads data sets through TensorFlow Datasets and restores their official order.

TensorFlow Datasets (TFDS) is imported here alone.
"""

import contextlib
import pathlib
import urllib.error
import urllib.request

import numpy as np

from mpl_tf.datasets.splits import Split, official_order


def require_network(url):
    """Raises OSError within 20 seconds if the server of `url` cannot be reached."""
    with contextlib.suppress(urllib.error.HTTPError):    # an error page is an answer too
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20).close()


def missing(name, data_dir):
    """Raises FileNotFoundError: there is no such data set, and none is to be downloaded."""
    raise FileNotFoundError(f"{name} is not in {data_dir or 'the default folder'} (any more)")


def read(name, data_dir=None, splits=("train", "test"), url="", download=True):
    """Reads a data set through TFDS.

    TFDS writes examples in the order of a hash and keeps the official order only in their `id`.

    Args:
      name: TFDS's name of the data set, "cifar10" or "svhn_cropped".
      data_dir: TFDS's folder; None: its default one.
      splits: names of the splits to read.
      url: where the raw files are; the error names it, and it is asked whether there is a network.
      download: False: reads only what TFDS has prepared in data_dir, and downloads nothing.

    Returns:
      {split: Split} in the official order; None where nothing is prepared and download is False.

    Raises:
      FileNotFoundError: the data set is not there and could not be downloaded.
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
            f"no {name} files in --data_dir={data_dir}, and TensorFlow Datasets could not download "
            f"them ({type(error).__name__}: {reason}): get {url} and put it into data_dir"
        ) from error
    result = {}
    for split, examples in zip(splits, parts):
        order = official_order([example["id"] for example in examples])
        result[split] = Split(np.stack([examples[i]["image"] for i in order]),
                              np.array([examples[i]["label"] for i in order], np.int64))
    return result

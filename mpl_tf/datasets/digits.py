"""The handwritten digits that scikit-learn ships: 1,797 images of 8 x 8 pixels."""

import numpy as np

from mpl_tf.datasets.sources import source
from mpl_tf.datasets.splits import Split, class_rounds

_TEST, _TEST_SEED = 500, 20200310    # the same images for every split_seed


@source("digits", "scikit-learn's 8x8 digits, nothing to download", labeled_examples=50,
        labeled_selection="random", objective="uda", student_network="small_conv",
        class_names=tuple("0123456789"), sizes={"train": 1297, "test": _TEST}, image_size=8,
        per_class=100)
def digits():
    """Reads {"train": Split, "test": Split}, images uint8 [N, 8, 8, 1] scaled to 0..255.

    The test set has 50 images of each class.
    """
    from sklearn.datasets import load_digits
    loaded = load_digits()
    images = np.round(loaded.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    labels = loaded.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    test[class_rounds(labels, _TEST_SEED)[:_TEST]] = True
    return {"train": Split(images[~test], labels[~test]), "test": Split(images[test], labels[test])}

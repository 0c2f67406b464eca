"""Image files and folders for the tests of data_prep."""

import io
import os

import numpy as np
from PIL import Image


def picture(seed, height=24, width=32):
    """Smooth random uint8 [H, W, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, [3, 4, 3]).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(image, kind, **options):
    """The bytes of a Pillow image or uint8 array as a file of `kind`."""
    stream = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg(seed, **options):
    return saved(picture(seed), "JPEG", **options)


def put(path, data):
    """Writes bytes or text to a path, with the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def contents(folder):
    """{name: bytes} of the shards and indices in a folder."""
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))
            if name != "dataset.json"}


def small_imagenet(root, synsets=("n01440764", "n02084071", "n15075141"), images=4):
    """train/ with `images` JPEGs a synset, val/ with one; returns root."""
    for c, synset in enumerate(synsets):
        for i in range(images):
            put(str(root / "train" / synset / f"{synset}_{i}.JPEG"), jpeg(100 * c + i))
        put(str(root / "val" / synset / f"ILSVRC2012_val_0000000{c}.JPEG"), jpeg(1000 + c))
    return root

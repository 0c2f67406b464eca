"""Measures how many views are made in a second of CPU time, of 32 x 32 images and of photographs.

In each round all rows are measured in turn, each for at least MEASURED seconds of CPU time of the
whole process. The median over the rounds is printed, and so are ratios of rows.
"""

import contextlib
import functools
import io
import itertools
import os
import statistics
import tempfile
import time

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

import mpl_tf  # noqa: F401

MEASURED = 1.0
SMALL, BATCH = 32, 128
LARGE, LARGE_BATCH = 224, 32
LAYERS, MAGNITUDE = 2, 9.0


def smooth_images(count, height, width, seed=0):
    """Random images, uint8 [count, height, width, 3], with roughly the spectrum of photographs."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        layers = [np.asarray(Image.fromarray(generator.integers(
            0, 256, [side, side, 3]).astype(np.uint8)).resize((width, height), Image.BICUBIC), float)
            * weight for side, weight in ((4, 0.6), (16, 0.3), (64, 0.1))]
        images.append(sum(layers))
    return np.stack(images).astype(np.uint8)


# ------------------------------------------------------------------------- Pillow, as a reference

def pillow_policy(magnitude, size):
    """The 14 published operations, as functions of one Pillow image."""
    m, grey = magnitude / 10.0, (128, 128, 128)
    factor, pixels = 1 + 0.9 * m, size * 150 / 331 * m
    affine = lambda *values: lambda image: image.transform(
        image.size, Image.Transform.AFFINE, values, fillcolor=grey)
    return [
        lambda image: image, ImageOps.autocontrast, ImageOps.equalize,
        lambda image: image.rotate(30 * m, fillcolor=grey),
        lambda image: ImageOps.solarize(image, 256 - int(256 * m)),
        lambda image: ImageEnhance.Color(image).enhance(factor),
        lambda image: ImageOps.posterize(image, 8 - round(4 * m)),
        lambda image: ImageEnhance.Contrast(image).enhance(factor),
        lambda image: ImageEnhance.Brightness(image).enhance(factor),
        lambda image: ImageEnhance.Sharpness(image).enhance(factor),
        affine(1, 0.3 * m, 0, 0, 1, 0), affine(1, 0, 0, 0.3 * m, 1, 0),
        affine(1, 0, -pixels, 0, 1, 0), affine(1, 0, 0, 0, 1, -pixels)]


def pillow_strong(images, generator):
    """Crop, flip, RandAugment and Cutout of uint8 [B, H, W, 3], one image at a time."""
    size = images.shape[1]
    operations = pillow_policy(MAGNITUDE, size)
    padded = np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)], mode="reflect")
    results = []
    for pixels in padded:
        row, column = generator.integers(0, 9, 2)
        pixels = pixels[row:row + size, column:column + size]
        pixels = pixels[:, ::-1] if generator.random() < 0.5 else pixels
        image = Image.fromarray(np.ascontiguousarray(pixels))
        for chosen in generator.integers(0, len(operations), LAYERS):
            image = operations[chosen](image)
        pixels = np.array(image)
        row, column = generator.integers(0, size, 2)
        pixels[max(row - 8, 0):row + 8, max(column - 8, 0):column + 8] = 128
        results.append(pixels)
    return np.stack(results)


# --------------------------------------------------------------------------------- what is timed

def small_rows():
    """The rows of 32 x 32 images in memory: {name: a function () -> number of images made}."""
    import tensorflow as tf
    from mpl_tf.benchmark import addons
    from mpl_tf.data import augment
    images = smooth_images(1024, SMALL, SMALL)
    held = tf.constant(images)
    strong = dict(layers=LAYERS, magnitude=MAGNITUDE, cutout=16)

    def views(weak, strong_too):
        def batch_of(step):
            examples = (step * BATCH + tf.range(BATCH, dtype=tf.int64)) % len(images)
            epochs, batch = tf.zeros_like(examples), tf.gather(held, examples)
            made = []
            if weak:
                made.append(augment.weak_view(batch, 0, examples, epochs, 3))
            if strong_too:
                made.append(augment.strong_view(batch, 0, examples, epochs, 4, **strong))
            return [augment.normalize(view) for view in made or [batch]]
        return tf.data.Dataset.range(10 ** 12).map(batch_of, num_parallel_calls=1)

    def by_addons(step):
        u = tf.random.stateless_uniform([5], [0, step])
        image = tf.pad(held[step % len(images)], [[4, 4], [4, 4], [0, 0]], "REFLECT")
        image = tf.image.stateless_random_crop(image, [SMALL, SMALL, 3], [1, step])
        image = tf.image.stateless_random_flip_left_right(image, [2, step])
        image = addons.rand_augment(image, tf.cast(u[:LAYERS] * 14, tf.int32), MAGNITUDE)
        row, column = tf.cast(u[3] * SMALL, tf.int32), tf.cast(u[4] * SMALL, tf.int32)
        grid = tf.range(SMALL)
        hole = ((abs(grid - row) <= 8)[:, None] & (abs(grid - column) <= 8))[..., None]
        return augment.normalize(tf.where(hole, tf.constant(128, tf.uint8), image))

    rows = {name: functools.partial(next_batch, iter(views(*which))) for name, which in {
        "32 px, as it is": (False, False), "32 px, weak": (True, False),
        "32 px, strong": (False, True), "32 px, both views": (True, True)}.items()}
    generator, starts = np.random.default_rng(0), itertools.cycle(range(0, len(images), BATCH))

    def by_pillow():
        start = next(starts)
        return len(pillow_strong(images[start:start + BATCH], generator))

    rows["32 px, strong, Pillow by image"] = by_pillow
    if addons.available:
        singles = tf.data.Dataset.range(10 ** 12).map(by_addons, num_parallel_calls=1).batch(BATCH)
        rows["32 px, strong, TensorFlow Addons by image"] = functools.partial(
            next_batch, iter(singles))
    return rows


def next_batch(iterator):
    """Takes the next batch of an iterator; returns the number of its examples."""
    import tensorflow as tf
    return int(tf.nest.flatten(next(iterator))[0].shape[0])


def large_rows(folder):
    """The rows of images in a folder's shards: {name: a function () -> number of images made}."""
    import tensorflow as tf
    from mpl_tf.data import augment
    from mpl_tf.datasets import shard_sets
    images = shard_sets.load_unlabeled(folder, LARGE, "inception")

    def views(strong, both=False):
        def batch_of(step):
            examples = (step * LARGE_BATCH + tf.range(LARGE_BATCH, dtype=tf.int64)) % len(images)
            epochs = tf.zeros_like(examples) + step
            made, _ = images.training_views(examples, epochs, 0, [1, 2] if both else [1])
            if strong:
                made[-1] = augment.strong_view(made[-1], 0, examples, epochs, 4, padding=0,
                                               layers=LAYERS, magnitude=MAGNITUDE, cutout=0)
            if both or not strong:
                made[0] = augment.weak_view(made[0], 0, examples, epochs, 3, padding=0)
            return [augment.normalize(view) for view in made]
        return tf.data.Dataset.range(10 ** 12).map(batch_of, num_parallel_calls=1)

    return {name: functools.partial(next_batch, iter(views(*which))) for name, which in {
        "224 px, decoded, cropped and mirrored": (False,), "224 px, decoded, strong": (True,),
        "224 px, decoded, both views": (True, True)}.items()}


@contextlib.contextmanager
def shards_of(data_dir):
    """Yields `data_dir`, or a temporary folder with a shard of 64 JPEGs of 500 x 375 pixels."""
    if data_dir:
        yield data_dir
        return
    from mpl_tf.shards import schema, tfrecord
    with tempfile.TemporaryDirectory() as folder:
        payloads = []
        for number, pixels in enumerate(smooth_images(64, 375, 500)):
            stream = io.BytesIO()
            noisy = Image.fromarray(pixels).filter(ImageFilter.DETAIL)
            noisy.save(stream, "JPEG", quality=95)
            payloads.append(schema.encode(schema.Record(stream.getvalue(), f"drawn{number}")))
        tfrecord.write(os.path.join(folder, tfrecord.shard_name("drawn", 0, 1)), payloads)
        yield folder


def timed(row):
    """The images that a row makes per CPU second, measured for at least MEASURED seconds."""
    made, begin = 0, time.process_time()
    while time.process_time() - begin < MEASURED:
        made += row()
    return made / (time.process_time() - begin)


def measure_input(rounds=5, data_dir=None):
    """Prints the table of `--what=input`; returns {row: images per CPU second}."""
    import tensorflow as tf
    print(f"RandAugment of {LAYERS} operations at magnitude {MAGNITUDE}, batches of {BATCH} (224 px: "
          f"{LARGE_BATCH}), {rounds} rounds, TensorFlow {tf.__version__}, {os.cpu_count()} cores")
    with shards_of(data_dir) as folder:
        rows = {**small_rows(), **large_rows(folder)}
        for row in rows.values():
            row()       # traces
        by_round = [{name: timed(row) for name, row in rows.items()} for _ in range(rounds)]
    references = {name: reference for name, reference in (
        ("32 px, strong", "32 px, strong, Pillow by image"),
        ("32 px, strong, Pillow by image", "32 px, strong, TensorFlow Addons by image"),
        ("224 px, decoded, strong", "224 px, decoded, cropped and mirrored"))
        if reference in rows}
    result = {}
    print(f"{'row':45}{'images per CPU second':>22}")
    for name in rows:
        result[name] = statistics.median(one[name] for one in by_round)
        print(f"{name:45}{result[name]:22,.0f}")
    addons = "32 px, strong, TensorFlow Addons by image"
    pairs = [*references.items()] + ([("32 px, strong", addons)] if addons in rows else [])
    for name, reference in pairs:
        ratio = statistics.median(one[name] / one[reference] for one in by_round)
        print(f"{name} / {reference}: {ratio:.2f}")
    return result

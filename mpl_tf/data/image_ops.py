"""Image operations on batches; every image of a batch has its own argument.

Everywhere: images are float32 [B, H, W, C] holding whole numbers 0..255, C = 1 or 3, any static H
and W, B may be 0; an argument is float32 or int32 [B]; the result has the dtype, shape and range of
the images. Point, histogram and blend operations follow Pillow. Geometric ones follow TensorFlow
Addons: the pixel in column x and row y sits at the point (x, y), the nearest pixel is taken, and
points outside the image get the value FILL.

Float32 holds these numbers exactly and is what TensorFlow's CPU kernels are fast at: an addition
costs 0.2 ns a value, a conversion from or to uint8 2 ns, a gather 9 ns an index. So a batch is
converted once, and there are few gathers.
"""

import math

import tensorflow as tf

FILL = 128.0


def _per_image(values, dtype=tf.float32):
    """[B] -> [B, 1], to broadcast against flattened images [B, H*W*C]."""
    return tf.cast(tf.convert_to_tensor(values), dtype)[:, tf.newaxis]


def _flat(images):
    """[B, H, W, C] -> [B, H*W*C]; the size is spelled out because B may be 0."""
    return tf.reshape(images, [tf.shape(images)[0], math.prod(images.shape[1:])])


def _like(values, images):
    return tf.reshape(values, tf.shape(images))


def _truncate(values):
    return tf.floor(tf.clip_by_value(values, 0.0, 255.0))


# ---------------------------------------------------------------------------------- points

def identity(images):
    """The images as they are."""
    return images


def invert(images):
    """255 - x."""
    return 255.0 - images


def posterize(images, bits):
    """Keeps the highest `bits` (0-8) bits of every value."""
    step = tf.pow(2.0, 8.0 - _per_image(bits))
    return _like(tf.floor(_flat(images) / step) * step, images)


def solarize(images, threshold):
    """x where x < threshold, else 255 - x; threshold 0-256."""
    x = _flat(images)
    return _like(tf.where(x < _per_image(threshold), x, 255.0 - x), images)


def solarize_add(images, addition, threshold=128):
    """x + addition, at most 255, where x < threshold; else x."""
    x = _flat(images)
    added = tf.clip_by_value(x + _per_image(addition), 0.0, 255.0)
    return _like(tf.where(x < float(threshold), added, x), images)


# ---------------------------------------------------------------------------------- blends

def _blend(degenerate, x, factor):
    """degenerate + factor (x - degenerate), clipped and truncated as Pillow does."""
    return _truncate(degenerate + factor * (x - degenerate))


def _planes(images):
    """[B, H, W, 3] -> three float32 [B, H*W], contiguous."""
    planes = tf.transpose(tf.reshape(images, [-1, 3]))
    return tf.reshape(planes, [3, tf.shape(images)[0], math.prod(images.shape[1:3])])


def _grey(planes):
    """Pillow's "L" of RGB: (19595 R + 38470 G + 7471 B + 2^15) >> 16, exact in float32 [B, H*W].

    The sum stays below 2^24, where float32 has every whole number.
    """
    return tf.floor((19595.0 * planes[0] + 38470.0 * planes[1] + 7471.0 * planes[2] + 32768.0)
                    * 2.0 ** -16)


def color(images, factor):
    """Changes saturation: 0 gives grey, 1 the image. Images of one channel stay as they are."""
    if images.shape[3] == 1:
        return images
    planes = _planes(images)
    blended = _blend(_grey(planes), planes, _per_image(factor))
    return _like(tf.transpose(tf.reshape(blended, [3, -1])), images)


def contrast(images, factor):
    """Changes contrast: 0 gives the mean grey level everywhere, 1 the image.

    The mean is Pillow's. The released TensorFlow code divides the number of pixels by 256
    instead: for a 32x32 image its "mean" is always 4.
    """
    grey = _flat(images) if images.shape[3] == 1 else _grey(_planes(images))
    mean = tf.floor(tf.reduce_mean(grey, axis=1, keepdims=True) + 0.5)
    return _like(_blend(mean, _flat(images), _per_image(factor)), images)


def brightness(images, factor):
    """Changes brightness: 0 gives black, 1 the image."""
    return _like(tf.floor(tf.minimum(_flat(images) * _per_image(factor), 255.0)), images)


def sharpness(images, factor):
    """Changes sharpness: 0 gives the image smoothed by Pillow's SMOOTH, 1 the image.

    SMOOTH is [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13. The border of one pixel stays as it is, as in
    Pillow.
    """
    height, width, channels = images.shape[1:]
    if height < 3 or width < 3:
        return images
    x = tf.reshape(images, [-1, height, width * channels])
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    total = rows[:, :, :-2 * channels] + rows[:, :, channels:-channels] + rows[:, :, 2 * channels:]
    inner = x[:, 1:-1, channels:-channels]
    smooth = tf.floor((total + 4.0 * inner) * (1 / 13) + 0.5)
    change = _blend(smooth, inner, _per_image(factor)[:, :, tf.newaxis]) - inner
    change = tf.pad(change, [[0, 0], [1, 1], [channels, channels]])
    return _like(x + change, images)


# ------------------------------------------------------------------------------- histograms

def _per_channel(values, images):
    """[B, C] -> [B, 1, W*C], to broadcast against rows [B, H, W*C]; a long last axis is fast."""
    return tf.tile(values, [1, images.shape[2]])[:, tf.newaxis]


def _extreme(reduce, images):
    """Smallest or largest value of each channel, [B, C]; by rows first, which is faster."""
    height, width, channels = images.shape[1:]
    rows = reduce(tf.reshape(images, [-1, height, width * channels]), axis=1)
    return reduce(tf.reshape(rows, [-1, width, channels]), axis=1)


def autocontrast(images):
    """Stretches each channel so that its smallest value is 0 and its largest 255."""
    height, width, channels = images.shape[1:]
    low, high = _extreme(tf.reduce_min, images), _extreme(tf.reduce_max, images)
    scale = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    # The small term keeps a value that is whole but for rounding from being truncated.
    offset = tf.where(high > low, -low * scale + 1e-4, 0.0)
    x = tf.reshape(images, [-1, height, width * channels])
    return _like(_truncate(x * _per_channel(scale, images) + _per_channel(offset, images)), images)


def equalize(images):
    """Equalizes the histogram of each channel, by Pillow's integer rule."""
    height, width, channels = images.shape[1:]
    batch, pixels = tf.shape(images)[0], height * width
    # One table of 256 places for each image and channel.
    start = 256 * tf.reshape(tf.range(batch * channels), [batch, channels])
    index = tf.cast(tf.reshape(images, [batch, height, width * channels]), tf.int32)
    index = tf.reshape(index + _per_channel(start, images), [-1])
    histogram = tf.raw_ops.DenseBincount(
        input=index, size=256 * channels * batch, weights=tf.zeros([0], tf.int32),
        binary_output=False)
    histogram = tf.reshape(histogram, [batch * channels, 256])
    values = tf.range(256)
    last = tf.reduce_max(tf.cast(histogram > 0, tf.int32) * values, axis=1)
    step = (pixels - tf.gather(histogram, last, batch_dims=1))[:, tf.newaxis] // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.cast(tf.where(step > 0, table, values), tf.float32)
    return _like(tf.gather_nd(tf.reshape(table, [-1]), index[:, tf.newaxis]), images)


# --------------------------------------------------------------------------------- geometry

def transform(images, matrix):
    """Transforms affinely by matrix float32 [B, 6], (a, b, c, d, e, f).

    The output's pixel (x, y) is the input's pixel nearest to (a x + b y + c, d x + e y + f).
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    a, b, c, d, e, f = tf.unstack(tf.cast(matrix, tf.float32)[:, :, tf.newaxis], num=6, axis=1)
    column, row = tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32)

    def nearest(by_column, by_row):    # [B, W] + [B, H] -> int32 [B, H, W]
        point = by_column[:, tf.newaxis, :] + by_row[:, :, tf.newaxis]
        return tf.cast(tf.floor(point), tf.int32)

    x = nearest(a * column, b * row + (c + 0.5))
    y = nearest(d * column, e * row + (f + 0.5))
    # All ones (-1) where any of the four is negative, else zero. Pixel 0 below is the fill.
    either, shift = tf.bitwise.bitwise_or, tf.bitwise.right_shift
    outside = shift(either(either(x, (width - 1) - x), either(y, (height - 1) - y)), 31)
    first = height * width * tf.range(batch)[:, tf.newaxis, tf.newaxis] + 1
    index = tf.bitwise.bitwise_and(first + (y * width + x), tf.bitwise.invert(outside))
    pixels = tf.reshape(images, [-1, channels])
    pixels = tf.concat([tf.fill([1, channels], FILL), pixels], axis=0)
    return _like(tf.gather(pixels, index), images)


def matrix(**entries):
    """A matrix [B, 6] for `transform`: the identity, but for the given ones of a..f, each [B]."""
    some = tf.zeros_like(next(iter(entries.values())))
    identity_entries = {"a": some + 1.0, "e": some + 1.0}
    return tf.stack([entries.get(name, identity_entries.get(name, some)) for name in "abcdef"], 1)


def rotation(degrees, height, width):
    """A matrix [B, 6] for `transform` that rotates counterclockwise about the centre."""
    angle = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    return matrix(a=cosine, b=-sine, c=middle_x - cosine * middle_x + sine * middle_y,
                   d=sine, e=cosine, f=middle_y - sine * middle_x - cosine * middle_y)


def rotate(images, degrees):
    """Rotates counterclockwise about the centre."""
    return transform(images, rotation(degrees, *images.shape[1:3]))


def shear_x(images, level):
    """The output's (x, y) is the input's (x + level y, y)."""
    return transform(images, matrix(b=level))


def shear_y(images, level):
    """The output's (x, y) is the input's (x, y + level x)."""
    return transform(images, matrix(d=level))


def translate_x(images, pixels):
    """Moves the content right by `pixels`, left where negative."""
    return transform(images, matrix(c=-pixels))


def translate_y(images, pixels):
    """Moves the content down by `pixels`, up where negative."""
    return transform(images, matrix(f=-pixels))


def cutout(images, row, column, half):
    """Cutout: fills a square with FILL (DeVries and Taylor, arXiv 1708.04552).

    The square covers rows row - half to row + half - 1 and columns alike, as far as they lie inside
    the image; row, column and half are int32 [B].
    """
    height, width, channels = images.shape[1:]

    def outside(size, middle):    # float32 [B, size]: 0 in the hole, else 1
        offset = tf.range(size) - (middle - half)[:, tf.newaxis]
        return tf.cast((offset < 0) | (offset >= 2 * half[:, tf.newaxis]), tf.float32)

    rows, columns = outside(height, row), tf.repeat(outside(width, column), channels, axis=1)
    kept = tf.maximum(rows[:, :, tf.newaxis], columns[:, tf.newaxis])
    x = tf.reshape(images, [-1, height, width * channels])
    return _like(FILL + kept * (x - FILL), images)


def crop_and_flip(images, down, right, mirrored, padding):
    """Crops H x W pixels from the reflect-padded image, and mirrors columns where `mirrored`.

    Args:
      images: any dtype.
      down, right: int32 [B], 0 to 2 * padding: the crop's corner in the padded image.
      mirrored: bool [B].
      padding: pixels on each side, less than H and W.
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]

    def reflected(size, start):    # int32 [B, size]: ..., 2, 1, 0, 1, 2, ..., n-1, n-2, ...
        position = tf.abs(tf.range(size) + start[:, tf.newaxis] - padding)
        return (size - 1) - tf.abs((size - 1) - position)

    rows, columns = reflected(height, down), reflected(width, right)
    columns = tf.where(mirrored[:, tf.newaxis], columns[:, ::-1], columns)
    first = height * width * tf.range(batch)[:, tf.newaxis]
    index = (first + width * rows)[:, :, tf.newaxis] + columns[:, tf.newaxis, :]
    return _like(tf.gather(tf.reshape(images, [-1, channels]), index), images)

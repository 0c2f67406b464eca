"""Random bits as functions of numbers: no generator here has a state.

There are two generators. Philox makes the masks of layers: TensorFlow and XLA both have it as one
operation that fills a tensor of any shape from one seed. It is asked for by name, because the
default algorithm gives other bits in XLA than in TensorFlow. splitmix64 makes the views of examples:
in a batch each example and epoch has a seed of its own, and a few integer operations, the same in
NumPy, compute a hash of (seed, example, epoch, ...) for all of them at once.
"""

import tensorflow as tf

# ------------------------------------------------------------------ Philox: one seed a tensor
#
# tf.random scrambles a seed by some fifty small operations each time that it is used. A step uses
# dozens of seeds, and building these operations was a third of the time that tracing a step took.
# These functions give the same bits in a tenth of the operations.

_PHILOX = 1                         # tf.random.Algorithm.PHILOX
_KEY = 0x02461E293EC8F720           # TensorFlow's own, with which it scrambles seeds


def philox_bits(shape, seed):
    """Random int32 of `shape`, uniform on [-2^31, 2^31), from a seed int32 [2].

    The bits are those of tf.random.stateless_uniform(shape, seed, None, None, tf.int32,
    alg="philox").
    """
    scrambled = _scrambled(seed)
    return _draw(shape, scrambled[:1], scrambled * tf.constant([0, 1], tf.uint64), tf.int32)


def philox_part(first, count, seed):
    """The elements `first` to `first` + `count` - 1, flat, of philox_bits(shape, seed) of any larger shape.

    Philox makes four numbers of each value of its counter, so the counter begins where the part does.

    Args:
      first, count: int scalars.
    """
    first = tf.cast(first, tf.int64)
    scrambled = _scrambled(seed)
    counter = scrambled * tf.constant([0, 1], tf.uint64) + tf.stack(
        [tf.cast(first // 4, tf.uint64), tf.constant(0, tf.uint64)])
    bits = _draw([count + 3], scrambled[:1], counter, tf.int32)
    return tf.slice(bits, [tf.cast(first % 4, tf.int32)], [count])


def _scrambled(seed):
    return _draw([2], tf.constant([_KEY], tf.uint64), tf.cast(seed, tf.uint64), tf.uint64)


def fold_in(seed, number):
    """The seed, int32 [2], of stream `number` (int32 scalar) of a seed int32 [2].

    It is that of tf.random.experimental.stateless_fold_in(seed, number, alg="philox").
    """
    return tf.stack([philox_bits([], seed), number])


def _draw(shape, key, counter, dtype):
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.convert_to_tensor(shape, tf.int32), key=key, counter=counter, alg=_PHILOX,
        dtype=dtype)


# -------------------------------------------------------------- splitmix64: a hash of each example

_MASK = 2 ** 64 - 1


def mix(x):
    """The output function of splitmix64 (Steele et al., 2014) on uint64 tensors of any shape."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64)))
        x *= tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))


def random_bits(seed, *counters):
    """A hash of (seed, counter, counter, ...): uint64, of the shape to which the counters broadcast.

    Args:
      seed: Python int; taken modulo 2^64.
      *counters: at least one integer tensor or int; none may be negative.
    """
    increment = 0x9E3779B97F4A7C15
    key, known = _mix_known((seed & _MASK) + increment), 0
    for counter in counters:    # leading ints are hashed here, without an operation
        if not isinstance(counter, int):
            break
        key, known = _mix_known(key + (counter + 1) * increment), known + 1
    key, increment = tf.constant(key, tf.uint64), tf.constant(increment, tf.uint64)
    for counter in counters[known:]:
        key = mix(key + (tf.cast(counter, tf.uint64) + 1) * increment)
    return key


def _mix_known(x):
    """`mix` of a Python int modulo 2^64, as a Python int."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x & _MASK) ^ (x & _MASK) >> shift) * factor & _MASK
    return x ^ x >> 31


def uniforms(seed, examples, epochs, count, stream):
    """Draws `count` uniform numbers for each example in its epoch.

    Args:
      seed: Python int.
      examples, epochs: integer tensors [B], not negative.
      count: how many numbers an example gets.
      stream: Python int. Different streams, such as those of weak and strong views, are
        independent.

    Returns:
      float32 [B, count], multiples of 2^-24 in [0, 1).
    """
    bits = random_bits(seed, stream, examples[:, tf.newaxis], epochs[:, tf.newaxis],
                       tf.range(count)[tf.newaxis])
    top = tf.bitwise.right_shift(bits, tf.constant(40, tf.uint64))
    return tf.cast(tf.cast(top, tf.int32), tf.float32) * 2.0 ** -24


def integers(u, count):
    """Turns uniform numbers in [0, 1), of any shape, into uniform integers 0 to count - 1, int32."""
    return tf.minimum(tf.cast(u * count, tf.int32), count - 1)

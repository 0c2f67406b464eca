"""Random bits as functions of numbers: nothing that is random here has a state.

There are two generators. Masks of layers are Philox's, by name: TensorFlow and XLA both have it as
one operation that fills a tensor of any shape from one seed, and give the same bits, which the
default algorithm does not. Views of examples are splitmix64's: in a batch each example and epoch
has a seed of its own, and a hash of (seed, example, epoch, ...) is computed for all of them at once
by a few integer operations, the same in NumPy.
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
    """int32 of `shape`, uniform on [-2^31, 2^31), from a seed int32 [2].

    As tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox").
    """
    scrambled = _draw([2], tf.constant([_KEY], tf.uint64), tf.cast(seed, tf.uint64), tf.uint64)
    return _draw(shape, scrambled[:1], scrambled * tf.constant([0, 1], tf.uint64), tf.int32)


def fold_in(seed, number):
    """The seed, int32 [2], of stream `number` (int32 scalar) of a seed int32 [2].

    As tf.random.experimental.stateless_fold_in(seed, number, alg="philox").
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
    """uint64, shape of the broadcast counters: a hash of (seed, counter, counter, ...).

    Args:
      seed: Python int; taken modulo 2^64.
      *counters: non-negative integer tensors or ints, at least one.
    """
    increment = 0x9E3779B97F4A7C15
    key, known = _mix_known((seed & _MASK) + increment), 0
    for counter in counters:    # what is known now needs no operation
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
    """`count` uniform numbers for each example in each epoch.

    Args:
      seed: Python int.
      examples, epochs: integer tensors [B], not negative.
      count: how many numbers an example gets.
      stream: Python int; different streams are independent (weak and strong views, for one).

    Returns:
      float32 [B, count], multiples of 2^-24 in [0, 1).
    """
    bits = random_bits(seed, stream, examples[:, tf.newaxis], epochs[:, tf.newaxis],
                       tf.range(count)[tf.newaxis])
    top = tf.bitwise.right_shift(bits, tf.constant(40, tf.uint64))
    return tf.cast(tf.cast(top, tf.int32), tf.float32) * 2.0 ** -24


def integers(u, count):
    """Uniform numbers of [0, 1) of any shape -> uniform integers 0 to count - 1, int32."""
    return tf.minimum(tf.cast(u * count, tf.int32), count - 1)

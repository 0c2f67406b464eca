"""tf.random's Philox streams in few operations: the same bits as `alg="philox"` gives there.

TensorFlow scrambles a seed by some fifty small operations each time that it is used. A step uses
dozens of seeds, and building these operations was a third of the time that tracing a step took.
The streams are Philox's by name because the default algorithm is another one under XLA.
"""

import tensorflow as tf

_PHILOX = 1                         # tf.random.Algorithm.PHILOX
_KEY = 0x02461E293EC8F720           # TensorFlow's own, with which it scrambles seeds


def bits(shape, seed):
    """int32 of `shape`, uniform on [-2^31, 2^31), from a seed int32 [2].

    As tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox").
    """
    scrambled = _draw([2], tf.constant([_KEY], tf.uint64), tf.cast(seed, tf.uint64), tf.uint64)
    return _draw(shape, scrambled[:1], scrambled * tf.constant([0, 1], tf.uint64), tf.int32)


def fold_in(seed, number):
    """The seed, int32 [2], of stream `number` (int32 scalar) of a seed int32 [2].

    As tf.random.experimental.stateless_fold_in(seed, number, alg="philox").
    """
    return tf.stack([bits([], seed), number])


def _draw(shape, key, counter, dtype):
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.convert_to_tensor(shape, tf.int32), key=key, counter=counter, alg=_PHILOX,
        dtype=dtype)

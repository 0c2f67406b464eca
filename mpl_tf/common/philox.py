"""The names under which layers and passes use the Philox streams of random_bits.py."""

from mpl_tf.common.random_bits import fold_in, philox_bits as bits      # noqa: F401

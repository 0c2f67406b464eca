"""The flags, and the checked settings of a run that are made of them; without TensorFlow."""

from mpl_tf.config.config import (RESULT_NEUTRAL, SHORT_WARMUP, USAGE, Config, differences,
                                  from_arguments, of, parse, resolve)
from mpl_tf.config.flags import FIELDS, Flags

__all__ = ["FIELDS", "RESULT_NEUTRAL", "SHORT_WARMUP", "USAGE", "Config", "Flags",
           "differences", "from_arguments", "of", "parse", "resolve"]

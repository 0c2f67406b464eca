"""Flags, and the checked settings that they make. No TensorFlow."""

from mpl_tf.config.config import (RESULT_NEUTRAL, USAGE, Config, differences, from_argv,
                                  parse)

__all__ = ["RESULT_NEUTRAL", "USAGE", "Config", "differences", "from_argv", "parse"]

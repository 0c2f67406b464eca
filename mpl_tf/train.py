"""Trains a student: `python -m mpl_tf.train --flagfile=flags/digits.cfg`; --help shows all flags.

Exit codes: 0 finished, or stopped by SIGTERM or Ctrl-C and saved; 1 a loss was not finite; 2 bad
input, which is one line on stderr; 130 a second Ctrl-C.
"""

import os
import sys

from mpl_tf import config


def main(argv):
    """Runs the command line `argv`; returns the exit code."""
    settings = config.from_argv(argv)   # bad flags end here, before TensorFlow is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from mpl_tf.run import training
        training.make_deterministic(settings.seed)
        training.run(settings)
    except FloatingPointError as error:
        return fail(error, 1)
    except (ValueError, OSError) as error:
        if "\n" in str(error):      # TensorFlow's or Keras's, not bad input: show where it arose
            raise
        return fail(error, 2)
    except KeyboardInterrupt:
        return fail("aborted; the last checkpoint stays", 130)
    return 0


def fail(message, code):
    """Says why in one line on stderr; returns `code`."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))

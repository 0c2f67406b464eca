"""Trains a student: `python -m mpl_tf.train --flagfile=digits.cfg`; --help shows all flags."""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Optional

from mpl_tf import config as config_module
from mpl_tf.common import command


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command line, a list of str (None: the process's); returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    config = config_module.from_arguments(arguments)    # bad flags end here, before TensorFlow
    train(config)


def train(config: config_module.Config) -> Dict[str, Any]:
    """A whole run of a Config in this process, as every program here makes it: deterministic.

    Returns:
      The results, as in results.json.

    Raises:
      command.Stopped: a signal ended the run early, after a checkpoint. Others as training.run.
    """
    from mpl_tf.run import devices, training
    devices.make_deterministic(config.seed)
    figures = None
    if config.dataset == "two_moons" and config.plots:
        from mpl_tf.two_moons import figures as two_moons_figures
        figures = two_moons_figures.write_figures
    return training.run(config, figures)


if __name__ == "__main__":
    sys.exit(main())

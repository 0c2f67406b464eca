"""Trains a student: `python -m mpl_tf.train --flagfile=digits.cfg`; --help shows all flags."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, List, Optional

from mpl_tf import config as config_module
from mpl_tf.common import command


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    # This refuses bad flags before TensorFlow is imported.
    config = config_module.from_arguments(arguments)
    train(config)


def train(config: config_module.Config,
          observe: Optional[Callable[[int, Dict[str, float]], None]] = None) -> Dict[str, Any]:
    """Makes the whole run of a Config in this process, deterministically. All programs train by it.

    Args:
      config: the run's Config.
      observe: is called after every evaluation, see run.training.run.

    Returns:
      The results, as in results.json.

    Raises:
      command.Stopped: if a signal ended the run early. A checkpoint has been saved.
      The other errors are those of run.training.run.
    """
    from mpl_tf.run import devices, training
    devices.make_deterministic(config.seed)
    figures = None
    if config.dataset == "two_moons" and config.plots and config.evaluate == "all":     # of all points
        from mpl_tf.two_moons import figures as two_moons_figures
        figures = two_moons_figures.write_figures
    report = None
    if config.report and config.evaluate == "all":      # it is of test images
        from mpl_tf.report import of_run
        report = of_run.at_its_end
    return training.run(config, figures, report, observe)


if __name__ == "__main__":
    sys.exit(main())

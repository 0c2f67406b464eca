"""Watches a run: its losses and its meta gradient, and its times."""

import logging
import math
import time

from mpl_tf.run import curves, evaluation

log = logging.getLogger("mpl_tf")


class SignalWatch:
    """Checks what each execution of steps logs.

    A loss that is not finite stops the run. A meta gradient that is zero or not finite is warned of
    once.
    """

    def __init__(self, config):
        self._stride = config.steps_per_execution
        self._warn = config.has_teacher and config.meta_weight != 0

    def check(self, step, logs, saved):
        """Checks `logs`, {name: float}, of the execution that ended after step `step`.

        Raises:
          FloatingPointError: in one line that names the step, if a loss is not finite.
        """
        steps = f"step {step}" if self._stride == 1 else f"steps {step - self._stride + 1}-{step}"
        for name, value in logs.items():
            if curves.is_loss(name) and not math.isfinite(value):
                left = (f"the checkpoint of step {saved.step} is kept" if saved.step is not None
                        else "there is no checkpoint yet")
                raise FloatingPointError(
                    f"{name} is {value} in {steps}: training stopped, {left}; start anew with a "
                    "lower learning rate or a longer warm-up")
        norm = logs.get("meta_gradient_norm", 1.0)
        if self._warn and not (norm and math.isfinite(norm)):
            self._warn = False
            log.warning("%s: the meta gradient's norm is %s, so the teacher gets no feedback from "
                        "the student (said once)", steps, norm)


class Clock:
    """Keeps the times in a journal: that of the whole run, and that of its steps alone.

    Args:
      journal: the run's checkpoints.Journal.
      start: the time.monotonic() at which this process began with the run.
    """

    def __init__(self, journal, start):
        self._journal, self._start = journal, start
        self._before = journal.wall_seconds
        self._step_start, self._first = None, True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.note()

    def note(self):
        """Brings the journal's wall time up to date."""
        self._journal.wall_seconds = self._before + time.monotonic() - self._start

    def start_step(self):
        """Notes that an execution of steps begins."""
        self._step_start = time.monotonic()

    def end_step(self, steps):
        """Notes that the execution of `steps` steps ended.

        A process's first execution is not counted, because TensorFlow traces the step in it.
        """
        if not self._first:
            self._journal.timed_steps += steps
            self._journal.timed_seconds += time.monotonic() - self._step_start
        self._first = False

    def examples_per_second(self, config):
        """The mean rate of training so far, or None if nothing has been timed."""
        return evaluation.rate(config, self._journal.timed_steps, self._journal.timed_seconds)

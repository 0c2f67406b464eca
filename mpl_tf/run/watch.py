"""What is watched while a run goes on: its losses and signal, its clock, and requests to stop it."""

import logging
import math
import signal
import sys
import threading
import time

from mpl_tf.run import evaluation, tensorboard

log = logging.getLogger("mpl_tf")


class SignalWatch:
    """Looks at what each execution logs: stops at a loss that is not finite, warns of no signal."""

    def __init__(self, config):
        self._stride = config.steps_per_execution
        self._warn = config.has_teacher and config.meta_weight != 0

    def check(self, step, logs, saved):
        """Raises FloatingPointError, in one line, naming the step."""
        steps = f"step {step}" if self._stride == 1 else f"steps {step - self._stride + 1}-{step}"
        for name, value in logs.items():
            if tensorboard.is_loss(name) and not math.isfinite(value):
                left = (f"the checkpoint of step {saved.step} stays" if saved.step is not None
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
    """Keeps a journal's times: of the whole run over all processes, and of its steps alone."""

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
        """Begins an execution of steps."""
        self._step_start = time.monotonic()

    def end_step(self, steps):
        """Ends it; a process's first, which compiles, is not counted."""
        if not self._first:
            self._journal.timed_steps += steps
            self._journal.timed_seconds += time.monotonic() - self._step_start
        self._first = False

    def examples_per_second(self, config):
        """The mean so far, None before the second execution."""
        return evaluation.rate(config, self._journal.timed_steps, self._journal.timed_seconds)


class StopRequest:
    """While it is open, SIGTERM and Ctrl-C ask for a stop between steps; a second Ctrl-C aborts.

    Attributes:
      asked: number of the signal that asked for it, 0 before.
    """

    def __init__(self):
        self.asked, self._previous = 0, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():   # Python's rule for signals
            self._previous = {number: signal.signal(number, self._ask)
                              for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        print("\nstopping after this step; Ctrl-C again aborts without saving", file=sys.stderr,
              flush=True)

"""Shows the progress of training: a bar on a terminal, a line now and then in a log file."""

import collections
import math
import sys
import time

from tqdm import tqdm

LINE_SECONDS = 10.0     # from line to line if stderr is no terminal
RATE_LINES = 4          # the time left is told at the rate since so many lines before the last


class Progress:
    """Shows the progress of training on stderr, and prints lines to stdout without spoiling the bar.

    Args:
      train_steps: the number of steps of the training.
      start_step: the number of steps that were taken before this process.
    """

    def __init__(self, train_steps, start_step):
        self._train_steps, self._step = train_steps, start_step
        self._seen = collections.deque(maxlen=2 + RATE_LINES)    # (steps taken, when): of each line
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=train_steps, initial=start_step, unit="step", dynamic_ncols=True,
                         disable=not terminal)
        self._line_at = math.inf if terminal else time.monotonic() + LINE_SECONDS

    def update(self, step, logs, examples_per_second=None):
        """Shows that `step` steps are taken, and `logs`, the floats that the last one logged."""
        self._bar.set_postfix_str(describe(logs, examples_per_second), refresh=False)
        self._bar.update(step - self._step)
        self._step = step
        if not self._seen:
            self._seen.append((step, time.monotonic()))
        if time.monotonic() >= self._line_at:
            print(f"step {step}/{self._train_steps}: {describe(logs, examples_per_second)}"
                  + self._left(), file=sys.stderr, flush=True)
            self._line_at = time.monotonic() + LINE_SECONDS
            self._seen.append((step, time.monotonic()))

    def _left(self):
        """Words for the time left, at the rate of the last minute: the first steps trace much."""
        first, began = self._seen[0]
        if self._step == first:
            return ""
        seconds = (time.monotonic() - began) / (self._step - first) * (self._train_steps - self._step)
        return f", {tqdm.format_interval(seconds)} left"

    def say(self, text):
        """Prints `text` to stdout."""
        with tqdm.external_write_mode(file=sys.stdout):
            print(text, flush=True)

    def close(self):
        """Ends the bar, and leaves it on the screen as it is."""
        self._bar.close()


def describe(logs, examples_per_second=None):
    """Writes what a step logged in a few words: of the student, or of a baseline."""
    whose = "student " if "student_loss" in logs else ""
    shown = [f"{whose}loss {logs.get('student_loss', logs.get('loss')):.4f}"]
    if "R" in logs:
        shown.append(f"R {logs['R']:.4f}")
    if "accuracy" in logs:
        shown.append(f"{whose}accuracy {100 * logs['accuracy']:.1f} %")
    if examples_per_second:
        shown.append(f"{examples_per_second:.0f} examples/s")
    return ", ".join(shown)

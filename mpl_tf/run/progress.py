"""Shows the progress of training: a bar on a terminal, a line now and then in a log file."""

import collections
import contextlib
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
        # (steps taken, when, without what was traced) of each line.
        self._seen = collections.deque(maxlen=2 + RATE_LINES)
        self._traced, self._tracing = set(), 0.0
        self._terminal = sys.stderr.isatty()
        # tqdm's own rate and time left count what traces.
        self._bar = tqdm(total=train_steps, initial=start_step, unit="step", dynamic_ncols=True,
                         disable=not self._terminal,
                         bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]")
        self._line_at = time.monotonic() + LINE_SECONDS

    def update(self, step, logs, examples_per_second=None):
        """Shows that `step` steps are taken, and `logs`, the floats that the last one logged."""
        now = time.monotonic()
        taken, self._step = step - self._step, step
        if not self._seen:      # the first step traces: rates begin after it
            self._seen.append((step, now - self._tracing))
        words = describe(logs, examples_per_second) + self._left(now)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(taken)
        if now >= self._line_at:
            if not self._terminal:
                print(f"step {step}/{self._train_steps}: {words}", file=sys.stderr, flush=True)
            self._line_at = now + LINE_SECONDS
            self._seen.append((step, now - self._tracing))

    @contextlib.contextmanager
    def first_traces(self, name):
        """A context whose first time, of those of its name, does not count in the time left."""
        began = time.monotonic()
        yield
        if name not in self._traced:
            self._traced.add(name)
            self._tracing += time.monotonic() - began

    def _left(self, now):
        """Words for the time left, at the rate of the last minute, without what was traced."""
        first, began = self._seen[0]
        if self._step == first:
            return ""
        seconds = (now - self._tracing - began) / (self._step - first) * (self._train_steps - self._step)
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

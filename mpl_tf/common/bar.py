"""Shows the progress of counted work on stderr: a bar on a terminal, else a line now and then."""

import sys
import time

from tqdm import tqdm

LINE_SECONDS = 10.0


class Bar:
    """A context manager that counts what is done, and shows the rate and the time left.

    Args:
      total: how many there are in all.
      unit: what is counted, with a space before it, such as " images".
      what: the first words of a line.
      initial: how many were done before.
      show: whether to show anything.
    """

    def __init__(self, total, unit, what, initial=0, show=True):
        terminal = sys.stderr.isatty()
        self._total, self._unit, self._what, self._initial = total, unit, what, initial
        self._done, self._began = initial, time.monotonic()
        self._line_at = self._began + LINE_SECONDS
        self._lines = show and not terminal
        self._bar = tqdm(total=total, initial=initial, unit=unit, desc=what, dynamic_ncols=True,
                         disable=not (show and terminal))

    def began(self, moment):
        """Says when work began, a time of time.monotonic(), where that is later than the bar: it is told once.

        Processes take seconds to start and to import TensorFlow, which would count as work otherwise.
        """
        waited = moment - self._began
        if waited > 0 and self._done == self._initial:
            self._began = moment
            if not self._bar.disable:
                self._bar.start_t += waited
                self._bar.last_print_t += waited

    def update(self, count):
        """Counts `count` more as done."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._lines and now >= self._line_at:
            print(self.line(now), file=sys.stderr, flush=True)
            self._line_at = now + LINE_SECONDS

    def line(self, now):
        """One line of what is done at the time `now` of time.monotonic()."""
        rate = (self._done - self._initial) / max(now - self._began, 1e-9)
        left = "" if not rate else f", {tqdm.format_interval((self._total - self._done) / rate)} left"
        return (f"{self._what}: {self._done}/{self._total}{self._unit}, {rate:.4g}"
                f"{self._unit}/s{left}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()

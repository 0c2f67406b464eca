"""Requests by signals to stop after what is being done."""

import signal
import sys
import threading


class StopRequest:
    """A context in which SIGTERM and Ctrl-C ask for a stop, of which one line says what it does.

    A second Ctrl-C raises KeyboardInterrupt.

    Args:
      words: that line.

    Attributes:
      asked: the number of the signal that asked for a stop, or 0.
    """

    def __init__(self, words):
        self.asked, self._previous, self._words = 0, {}, words

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
        print(f"\n{self._words}", file=sys.stderr, flush=True)

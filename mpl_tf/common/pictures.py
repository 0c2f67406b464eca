"""What all pictures share: text in them is shown as it is, and one that fails ends no run."""

import contextlib
import errno
import logging

from mpl_tf.common import command, room, storage

log = logging.getLogger("mpl_tf")
_warned = set()     # what this process has said already: a picture may be tried every 100 steps


@contextlib.contextmanager
def or_warn(what):
    """Context manager that draws a picture: if that fails, it warns, once, and goes on.

    Args:
      what: the picture in words, or its file, with which the warning begins.

    Raises:
      OSError: the disk is full or broken, which other files will find too.
    """
    try:
        yield
    except Exception as error:      # of drawing libraries, their fonts and settings: anything
        if room.explained(error) or getattr(error, "errno", None) == errno.EIO:
            raise
        reason = f"{type(error).__name__}: {' '.join(command.readable(error).split())[:200]}"
        if (what, reason) not in _warned:
            _warned.add((what, reason))
            log.warning("%s could not be drawn (%s); everything else goes on", what, reason)


def write(path, draw):
    """Writes a picture's file, whole or not at all, if it can be drawn; see `or_warn`.

    Args:
      draw: a function of an open binary file.
    """
    with or_warn(command.readable(path)), storage.partial(path) as temporary, open(temporary, "wb") as file:
        draw(file)

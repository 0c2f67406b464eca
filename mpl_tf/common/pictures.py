"""What all pictures share: text in them is shown as it is, and one that fails ends no run."""

import contextlib
import errno
import logging
import re
import warnings

from mpl_tf.common import command, room, storage

log = logging.getLogger("mpl_tf")
MOST_LETTERS = 60   # of a name in a picture, whatever the room
_NO_GLYPH = r"Glyph (\d+) .*missing from"      # matplotlib's words
_warned = set()     # what this process has said already: a picture may be tried every 100 steps


@contextlib.contextmanager
def or_warn(what):
    """Context manager that draws a picture: if that fails, it warns, once, and goes on.

    Characters that matplotlib's font lacks, which it draws as boxes, are one line in all.

    Args:
      what: the picture in words, or its file, with which the warning begins.

    Raises:
      OSError: the disk is full or broken, which other files will find too.
    """
    try:
        with _glyphs_told_once():
            yield
    except Exception as error:      # of drawing libraries, their fonts and settings: anything
        if room.explained(error) or getattr(error, "errno", None) == errno.EIO:
            raise
        reason = f"{type(error).__name__}: {' '.join(command.readable(error).split())[:200]}"
        if (what, reason) not in _warned:
            _warned.add((what, reason))
            log.warning("%s could not be drawn (%s); everything else goes on", what, reason)


@contextlib.contextmanager
def _glyphs_told_once():
    with warnings.catch_warnings():
        warnings.filterwarnings("always", _NO_GLYPH)
        others = warnings.showwarning

        def tell(message, *where, **more):
            found = re.match(_NO_GLYPH, str(message))
            if not found:
                others(message, *where, **more)
            elif "glyphs" not in _warned:
                _warned.add("glyphs")
                log.warning("the font of the pictures lacks characters such as U+%04X, which are drawn "
                            "as boxes", int(found.group(1)))

        warnings.showwarning = tell
        yield


def shortened(text, fits):
    """A name for a picture: as text in one line, without its middle where it is too long.

    Args:
      text: a name, whatever it holds. fits: a function of str, whether there is room for it.
    """
    text = command.shown(command.readable(text))
    if len(text) <= MOST_LETTERS and fits(text):
        return text
    short = "…"
    for left in range(min(len(text) - 1, MOST_LETTERS), 1, -1):
        short = f"{text[:left - left // 2]}…{text[len(text) - left // 2:]}"
        if fits(short):
            break
    return short


def write(path, draw):
    """Writes a picture's file, whole or not at all, if it can be drawn; see `or_warn`.

    Args:
      draw: a function of an open binary file.
    """
    with or_warn(command.readable(path)), storage.partial(path) as temporary, open(temporary, "wb") as file:
        draw(file)

"""What a file of JSON has to hold, in a few words of Python, and the one check of it.

    {"name": str, "class_names?": ([str], None), "shards": {...: WHOLE}}

is a dict with a "name"; with "class_names", a list of str or null, if it is there; and with
"shards", a dict of whole numbers under any names. Further keys are let be: later versions may have
written them.

    str, bool, dict, list       a value of this type
    int, float                  a number; an int where a float is expected is one
    WHOLE                       a whole number from 0 on that 64 bits can hold
    SHARE                       a number from 0 to 1
    NAME                        text that can be written to a file or a terminal as bytes
    None                        null
    (A, B)                      what A or B describes
    [A]                         a list of what A describes
    {"a": A, "b?": B}           a dict with "a", and "b" if it is there
    {...: A}                    a dict of any keys
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

WHOLE, SHARE, NAME = object(), object(), object()
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number",
          None: "null", SHARE: "a number from 0 to 1", NAME: "a name without stray surrogates",
          dict: "an object {...}", list: "a list [...]"}
_MOST = 2 ** 63 - 1


def mismatch(value: Any, expected: Any, place: str = "") -> str:
    """In what `value`, as read from JSON, is not what is `expected`; "" where it is.

    Args:
      expected: a description, see above.
      place: of the value in the file, such as "splits.train", with which the text begins.
    """
    if isinstance(expected, tuple):
        found = [mismatch(value, each, place) for each in expected]
        # Of a list or an object, what is wrong in it says more than that there might be null.
        inner = [text for each, text in zip(expected, found) if _is(value, _kind(each))]
        return "" if "" in found else (inner or [_wrong(value, expected, place)])[0]
    if not _is(value, _kind(expected)):
        return _wrong(value, (expected,), place)
    if isinstance(expected, list):
        return _first(mismatch(each, expected[0], f"{place}[{i}]") for i, each in enumerate(value))
    if isinstance(expected, dict):
        return _first(_of_key(value, key, each, place) for key, each in expected.items())
    return ""


def _of_key(value, key, expected, place):
    if key is ...:
        return _first(mismatch(each, expected, _join(place, name)) for name, each in value.items())
    name = key.rstrip("?")
    if name not in value:
        return "" if key.endswith("?") else f"{place or 'it'} lacks {name!r}"
    return mismatch(value[name], expected, _join(place, name))


def _first(texts):
    return next(filter(None, texts), "")


def _join(place, name):
    return f"{place}.{name}" if place else name


def _kind(expected):
    """The part of a description that `_is` looks at."""
    return expected if expected in (WHOLE, SHARE, NAME) or isinstance(expected, type) else (
        None if expected is None else type(expected))


def _is(value, kind):
    if kind is WHOLE:
        return type(value) is int and 0 <= value <= _MOST
    if kind is None:
        return value is None
    if kind is NAME:
        return type(value) is str and _has_bytes(value)
    if kind is float:
        return type(value) is float and math.isfinite(value) or (
            type(value) is int and abs(value) <= _MOST)
    if kind is SHARE:
        return type(value) in (int, float) and 0 <= value <= 1
    return type(value) is kind


def _has_bytes(text):
    try:
        os.fsencode(text)
    except UnicodeEncodeError:      # half of a pair of surrogates
        return False
    return True


def _wrong(value, expected, place):
    words = " or ".join(_NAMES.get(_kind(each), "a whole number of 0 or more (below 2^63)")
                        for each in expected)
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= 40 else shown[:40] + "..."
    return f"{place or 'it'} is {shown}, expected {words}"

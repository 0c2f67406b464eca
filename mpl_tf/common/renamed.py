"""Errors of a step of a program that name a flag which the program itself does not have."""

import contextlib
import re


@contextlib.contextmanager
def flag(inner, outer, with_value=False):
    """Context manager that raises a ValueError which names the flag `inner` with `outer` in its place.

    Args:
      inner, outer: names of flags, such as --model_dir. with_value: whether outer=VALUE is what the user gave;
        else `inner`=VALUE becomes VALUE alone, as where the program has put it together.
    """
    try:
        yield
    except ValueError as error:
        name = rf"(?<![\w-]){re.escape(inner)}(?![\w-])"
        text = re.sub(f"{name}=", lambda _: f"{outer}=" if with_value else "", str(error))
        text = re.sub(name, lambda _: outer, text)
        if text == str(error):
            raise
        raise ValueError(text) from error

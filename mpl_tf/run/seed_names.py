"""The names of the folders that runs of one flag file over several seeds have: digits_seed0, digits_seed1."""

from __future__ import annotations

import re


def join(row: str, seed: int) -> str:
    """The name of the folder of `row`'s run with `seed`."""
    return f"{row}_seed{seed}"


def split(name: str) -> tuple[str, int] | None:
    """(row, seed) of a folder's name that `join` made; None of any other name."""
    found = re.fullmatch(r"(.+)_seed(0|[1-9][0-9]*)", name, re.DOTALL)
    return (found[1], int(found[2])) if found else None

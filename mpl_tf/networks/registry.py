"""What networks there are to choose from by name. No TensorFlow at import.

A network is one function, decorated with `network`. That alone makes it known to `networks.build`,
to the flags --student_network and --teacher_network, to --help and to the checks of flags.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Callable, Dict, FrozenSet, Optional, Sequence, Tuple, TypeVar

KINDS = ("image", "point", "probs")     # inputs: images, points, distributions over classes


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, or a family of them whose name has numbers in it.

    Attributes:
      shown: its name in help texts, numbers as words: "wrn-DEPTH-WIDTH".
      example: a name of the family, "wrn-28-2", or "" where there is one name only.
      pattern: regular expression of the whole name; the numbers in its groups are arguments.
      takes: of KINDS, what the network can have as inputs.
      function: (*numbers, num_classes=, input_shape=, **options) -> tf.keras.Model.
      check: function of the numbers that raises ValueError for those that cannot be, or None.
    """
    shown: str
    pattern: str
    takes: Tuple[str, ...]
    function: Callable[..., Any]
    check: Optional[Callable[..., None]] = None
    example: str = ""

    @property
    def options(self) -> FrozenSet[str]:
        """Names of the function's arguments: those of `networks.build` that it takes."""
        return frozenset(inspect.signature(self.function).parameters)

    def numbers(self, name: str) -> Optional[Tuple[int, ...]]:
        """The numbers in `name`, a tuple of int, or None where the name is not of this network."""
        match = re.fullmatch(self.pattern, name)
        return None if match is None else tuple(
            int(number) for group in match.groups() for number in re.findall(r"\d+", group or ""))


NETWORKS: Dict[str, Network] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def network(shown: str, pattern: Optional[str] = None, takes: Sequence[str] = ("image",),
            check: Optional[Callable[..., None]] = None,
            example: str = "") -> Callable[[_Function], _Function]:
    """Decorates the function of a network, which then can be chosen by name.

    Args:
      shown, pattern, takes, check, example: see Network; pattern None: the name is `shown` itself.

    Returns:
      A decorator that returns the function as it is.

    Raises:
      ValueError: in one line, for a kind of input that does not exist.
    """
    unknown = set(takes) - set(KINDS)
    if unknown:
        raise ValueError(f"network {shown!r} takes {min(unknown)!r}: use some of {', '.join(KINDS)}")

    def register(function: _Function) -> _Function:
        NETWORKS[shown] = Network(
            shown, pattern or re.escape(shown), tuple(takes), function, check, example)
        return function
    return register


def find(name: str) -> Tuple[Network, Tuple[int, ...]]:
    """(Network, its numbers) of a name such as "wrn-28-2".

    Raises:
      ValueError: in one line, where there is no such network, or none with these numbers.
    """
    for found in NETWORKS.values():
        numbers = found.numbers(name)
        if numbers is not None:
            if found.check is not None:
                found.check(*numbers)
            return found, numbers
    raise ValueError(f"unknown network {name!r}: available are {available()}")


def available(kind: Optional[str] = None) -> str:
    """The names of all networks, or of those that take a `kind` of input, in words."""
    return ", ".join(shown + (f" (such as {found.example})" if found.example else "")
                     for shown, found in NETWORKS.items() if kind is None or kind in found.takes)

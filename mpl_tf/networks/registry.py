"""The networks that can be chosen by name.

A network is one function, decorated with `network`. That alone makes it known to `networks.build`,
to the flags --student_network and --teacher_network, to --help and to the checks of flags. This
file does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Callable, Dict, FrozenSet, NamedTuple, Optional, Sequence, Tuple, TypeVar

KINDS = ("image", "point", "probs")     # of inputs: images, points, distributions over classes


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, or a family of networks whose names have numbers in them.

    Attributes:
      shown: its name in help texts, with words for the numbers, such as "wrn-DEPTH-WIDTH".
      pattern: a regular expression of the whole name. The numbers in its groups are arguments.
      text: whether the texts of the groups are the arguments instead.
      kept: whether a run keeps the network that was built, because its name does not tell all of it.
      takes: which of KINDS the network can have as inputs.
      function: (*arguments, num_classes=, input_shape=, **options) -> tf.keras.Model.
      check: a function of the numbers that raises ValueError if there is no such network, or None.
      counts: a function (*numbers, num_classes=, input_shape=) -> Counts, which builds nothing, or
        None where it is not known.
      example: a name of the family, such as "wrn-28-2", or "" for a network with one name only.
    """
    shown: str
    pattern: str
    takes: Tuple[str, ...]
    function: Callable[..., Any]
    check: Optional[Callable[..., None]] = None
    example: str = ""
    counts: Optional[Callable[..., "Counts"]] = None
    text: bool = False
    kept: bool = False

    @property
    def options(self) -> FrozenSet[str]:
        """The names of the function's arguments. `networks.build` passes no others."""
        return frozenset(inspect.signature(self.function).parameters)

    def numbers(self, name: str) -> Optional[Tuple[Any, ...]]:
        """The numbers (or texts) in `name`, a tuple, or None if it is not a name of this network."""
        match = re.fullmatch(self.pattern, name, re.DOTALL if self.text else 0)
        if match is not None and self.text:
            return match.groups()
        # More digits than any network has would be more than Python reads.
        return None if match is None else tuple(
            int(number.lstrip("0")[:20] or "0") for group in match.groups() for number in re.findall(r"\d+", group or ""))


class Counts(NamedTuple):
    """How large a network is: its weights, and how many activations an example has at the least.

    Activations are those that a backward pass needs.
    """
    weights: int
    activations: int


NETWORKS: Dict[str, Network] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def network(shown: str, pattern: Optional[str] = None, takes: Sequence[str] = ("image",),
            check: Optional[Callable[..., None]] = None, example: str = "",
            counts: Optional[Callable[..., Counts]] = None,
            text: bool = False, kept: bool = False) -> Callable[[_Function], _Function]:
    """Decorates the function of a network, so that it can be chosen by name.

    Args:
      shown, pattern, takes, check, example, counts, text, kept: see Network. If pattern is None,
        `shown` is the name.

    Returns:
      A decorator that returns the function itself.

    Raises:
      ValueError: in one line, for a kind of input that does not exist.
    """
    unknown = set(takes) - set(KINDS)
    if unknown:
        raise ValueError(f"network {shown!r} takes {min(unknown)!r}: use some of {', '.join(KINDS)}")

    def register(function: _Function) -> _Function:
        NETWORKS[shown] = Network(
            shown, pattern or re.escape(shown), tuple(takes), function, check, example, counts, text,
            kept)
        return function
    return register


def find(name: str) -> Tuple[Network, Tuple[Any, ...]]:
    """Finds a network by a name such as "wrn-28-2"; returns (Network, the numbers or texts in it).

    Raises:
      ValueError: in one line, if there is no such network, or none with these numbers.
    """
    for found in NETWORKS.values():
        numbers = found.numbers(name)
        if numbers is not None:
            if found.check is not None:
                found.check(*numbers)
            return found, numbers
    raise ValueError(f"unknown network {name!r}: available are {available()}")


def counts(name: str, num_classes: int, input_shape: Sequence[int]) -> Optional[Counts]:
    """The Counts of a network, without building it; None where they are not known.

    Raises:
      ValueError: as `find`.
    """
    found, numbers = find(name)
    return found.counts and found.counts(
        *numbers, num_classes=num_classes, input_shape=tuple(input_shape))


def available(kind: Optional[str] = None) -> str:
    """Lists, in words, the names of all networks, or of those that take a `kind` of input."""
    return ", ".join(shown + (f" (such as {found.example})" if found.example else "")
                     for shown, found in NETWORKS.items() if kind is None or kind in found.takes)

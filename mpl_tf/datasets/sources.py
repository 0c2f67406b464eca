"""The registry of data sets: which can be chosen by name, and the facts about each.

A data set is one function, decorated with `source`, or a family of them, with `family`. That alone
makes it known to `datasets.load`, to --dataset and the flags whose defaults depend on it, to --help
and to the checks of flags.
Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Callable, Mapping, TypeVar

Reader = TypeVar("Reader", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Source:
    """The facts of a data set.

    Attributes:
      name: the value of --dataset. about: a few words for --help.
      read: the function that reads the data set. It gets those arguments of `load` that it names
        as its parameters. A data set in memory returns {"train": Split, "test": Split} and may add
        "extra", a Split of more unlabeled images. One with in_shards returns (class names, labeled
        Split, unlabeled images, test Split, holdout Split or None).
      labeled_examples, labeled_selection, objective, student_network: defaults of these flags;
        labeled_examples 0 stands for all.
      class_names: K names; () where the files give them.
      sizes: {split: number of examples}; {} where only the files tell.
      image_size: side of the images in pixels, with in_shards only a default; 0 for points, and
        where only the files tell.
      of_images: whether the examples are images although image_size is 0.
      in_shards: whether images are decoded from shards on demand instead of being held in memory.
      flip: whether the mirror image of an example still belongs to its class.
      photographs: whether the images are RGB. Only then can --unlabeled_dir supply its unlabeled
        images, and can its colours be distorted.
      backbone: whether the examples are features that a pretrained network made of images. They are
        points, and the exported model takes images all the same.
      per_class: how many images of each class Section 4.2's selection keeps; 0 where the paper
        gives no number.
    """
    name: str
    about: str
    read: Callable[..., Any]
    labeled_examples: int
    labeled_selection: str
    objective: str
    student_network: str
    class_names: tuple[str, ...] = ()
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    image_size: int = 0
    in_shards: bool = False
    flip: bool = False
    photographs: bool = False
    per_class: int = 0
    of_images: bool = False
    backbone: bool = False

    @property
    def options(self) -> frozenset[str]:
        """Names of the arguments of `load` that the data set takes."""
        return frozenset(inspect.signature(self.read).parameters)

    @property
    def points(self) -> bool:
        """Whether the examples are points, not images."""
        return not self.image_size and not self.of_images

    @property
    def serves_images(self) -> bool:
        """Whether the exported model takes images."""
        return not self.points or self.backbone


SOURCES: dict[str, Source] = {}
FAMILIES: dict[str, Callable[[str], Source]] = {}     # by how the names in each begin


def source(name: str, about: str, **facts: Any) -> Callable[[Reader], Reader]:
    """Decorator of a function that reads a data set: makes it known under `name`.

    Args:
      name, about, facts: the attributes of Source, all but `read`.
    """
    def register(read: Reader) -> Reader:
        SOURCES[name] = Source(name, about, read, **facts)
        return read
    return register


def family(shown: str, about: str, begins: str, check: Callable[[str], Mapping[str, Any]],
           **facts: Any) -> Callable[[Reader], Reader]:
    """Decorator of a function that reads any of a family of data sets, whose `name` it gets.

    Args:
      shown: a name of the family for help texts, such as "tfds:NAME".
      about: as of Source.
      begins: how the names of all of them begin, such as "tfds:".
      check: a function of a name. It returns the facts of this data set that differ from `facts`,
        and raises ValueError, in one line, where there can be no such name.
      facts: the attributes of Source, all but `read`.
    """
    def register(read: Reader) -> Reader:
        shared = Source(shown, about, read, **facts)
        FAMILIES[begins] = lambda name: shared if name == shown else dataclasses.replace(
            shared, name=name, **check(name))
        _SHOWN[begins] = shown
        return read
    return register


_SHOWN: dict[str, str] = {}


def known() -> dict[str, Source]:
    """{name: Source} of all data sets, and of each family by the name that help texts show."""
    return {**SOURCES, **{shown: FAMILIES[begins](shown) for begins, shown in _SHOWN.items()}}


def find(name: str) -> Source:
    """Returns the Source called `name`.

    Raises:
      ValueError: in one line, where there is none.
    """
    for begins, of_name in FAMILIES.items():
        if name.startswith(begins):
            return of_name(name)
    if name not in SOURCES:
        raise ValueError(f"data set {name!r} is unknown: use one of {', '.join(known())}")
    return SOURCES[name]


def takers(option: str) -> list[str]:
    """Names of the data sets that take the argument `option` of `load`."""
    return [name for name, source in known().items() if option in source.options]

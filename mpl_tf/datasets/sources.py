"""What data sets there are to choose from by name, and every fact about each. No TensorFlow.

A data set is one function, decorated with `source`. That alone makes it known to `datasets.load`, to
--dataset and the flags whose defaults depend on it, to --help and to the checks of flags.
"""

import dataclasses
import inspect
from typing import Callable, Dict, Mapping, Tuple


@dataclasses.dataclass(frozen=True)
class Source:
    """The facts of a data set.

    Attributes:
      name: as --dataset has it. about: a few words for --help.
      read: function of those of `load`'s arguments that it names. In memory: -> {"train": Split,
        "test": Split, maybe "extra": Split of more unlabeled images}. in_shards: -> (class names,
        labeled Split, unlabeled images, test Split, holdout Split or None).
      labeled_examples, labeled_selection, objective, student_network: defaults of these flags;
        labeled_examples 0 stands for all.
      class_names: K names; (): the files say.
      sizes: {split: number of examples}; {}: the files say.
      image_size: side of the images in pixels, a default where in_shards; 0: points.
      in_shards: whether images stay in their shards, which are read as they are needed.
      flip: whether the mirror image of an example still belongs to its class.
      photographs: whether the images are RGB, so that others can be its unlabeled ones and their
        colours can be distorted.
      per_class: images kept of each class by Section 4.2's selection; 0: the paper has none.
    """
    name: str
    about: str
    read: Callable
    labeled_examples: int
    labeled_selection: str
    objective: str
    student_network: str
    class_names: Tuple[str, ...] = ()
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    image_size: int = 0
    in_shards: bool = False
    flip: bool = False
    photographs: bool = False
    per_class: int = 0

    @property
    def options(self):
        """Names of the arguments of `load` that the data set takes."""
        return frozenset(inspect.signature(self.read).parameters)

    @property
    def points(self):
        """Whether the examples are points, not images."""
        return not self.image_size


SOURCES: Dict[str, Source] = {}


def source(name, about, **facts):
    """Decorates the function that reads a data set, which then can be chosen by name; see Source."""
    def register(read):
        SOURCES[name] = Source(name, about, read, **facts)
        return read
    return register


def find(name):
    """The Source called `name`; ValueError, in one line, where there is none."""
    if name not in SOURCES:
        raise ValueError(f"data set {name!r} is unknown: use one of {', '.join(SOURCES)}")
    return SOURCES[name]


def takers(option):
    """Names of the data sets that take an argument of `load`, a list."""
    return [name for name, source in SOURCES.items() if option in source.options]

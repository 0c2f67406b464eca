"""What is imported when: TensorFlow at its first use, all files of a package at once.

    from mpl_tf.common.lazy import tf

The files that say what there is to choose from (networks, objectives) are read for --help and for
the checks of flags too, which must not wait for the seconds that TensorFlow takes to import.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

__all__ = ["import_all", "tf"]


class _Lazy:
    """Stands for a module; asking it for an attribute imports the module."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:       # a type checker sees the module itself
    import tensorflow as tf
else:
    tf = _Lazy("tensorflow")


def import_all(package, but=()):
    """Imports all modules of `package`, a module object, except those named in `but`.

    So what a module registers is known by the module's being there.
    """
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in but:
            importlib.import_module(f"{package.__name__}.{module.name}")

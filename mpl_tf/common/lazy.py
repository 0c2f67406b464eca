"""Importing later, and importing all: TensorFlow at its first use, and every file of a package.

    from mpl_tf.common.lazy import tf

The files that define networks and objectives are also read for --help and for the checks of flags.
These must not wait the seconds that importing TensorFlow takes.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

__all__ = ["import_all", "tf"]


class _Lazy:
    """Stands for a module, which is imported when it is first asked for an attribute."""

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

    So a new file in the package registers what it defines without being named anywhere.
    """
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in but:
            importlib.import_module(f"{package.__name__}.{module.name}")

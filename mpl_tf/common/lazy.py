"""TensorFlow, imported when it is first used: `from mpl_tf.common.lazy import tf`.

The files that say what there is to choose from (networks, objectives) are read for --help and for
the checks of flags too, which must not wait for the seconds that TensorFlow takes to import.
"""

import importlib


class _Lazy:
    """Stands for a module; asking it for an attribute imports the module."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self._name), attribute)


tf = _Lazy("tensorflow")

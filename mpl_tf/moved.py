"""Old and short names of modules, and classes that Keras must know to load a model.

`mpl_tf.layers` is `mpl_tf.networks.layers`, the very same module: so are all names of SHORT, and
those of MOVED, which `.keras` files of earlier versions hold. Keras finds a class that is not its
own only once it is registered, and otherwise takes its own of that name, in silence. As this package
imports nothing before it is needed, `install` sees to it that all our classes are registered as soon
as TensorFlow has been imported.
"""

import importlib
import importlib.abc
import importlib.util
import sys

SHORT = {
    "objectives": "method.objectives", "targets": "method.targets",
    "update_rules": "method.update_rules", "meta_gradient": "method.meta_gradient",
    "schedules": "method.schedules", "layers": "networks.layers", "augment": "data.augment",
    "strategy": "run.devices"}
MOVED = {"mpl": "method.mpl", "baselines": "method.baselines"}
REGISTERED = ("method.mpl", "method.baselines", "method.schedules", "networks.layers")


class _Aliases(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `mpl_tf.layers` as what it is now called."""

    _targets = {f"mpl_tf.{old}": f"mpl_tf.{new}" for old, new in {**SHORT, **MOVED}.items()}

    def find_spec(self, name, path=None, target=None):
        """A spec for the names above, None for others."""
        return importlib.util.spec_from_loader(name, self) if name in self._targets else None

    def create_module(self, spec):
        """Python's own empty one; `exec_module` puts the right one in its place."""

    def exec_module(self, module):
        """Makes the old name another name of the module."""
        sys.modules[module.__name__] = importlib.import_module(self._targets[module.__name__])
        register()


class _AfterTensorFlow(importlib.abc.MetaPathFinder):
    """Calls `register` at the end of TensorFlow's import."""

    def find_spec(self, name, path=None, target=None):
        """TensorFlow's own spec, whose loader calls `register` when it is done."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                register()

            spec.loader.exec_module = execute_and_register
        return spec


def register():
    """Registers all classes with Keras, unless one of our modules is just being imported.

    That one may be the first to import TensorFlow, and is not complete yet: whoever asked for it
    comes here again through `mpl_tf.NAME`, or registers what it needs by importing it.
    """
    if "tensorflow" not in sys.modules:
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("mpl_tf.") and name not in _Aliases._targets and getattr(
                getattr(module, "__spec__", None), "_initializing", False):
            return
    for name in REGISTERED:
        importlib.import_module(f"mpl_tf.{name}")


def install():
    """Makes the names importable, and the classes known to Keras from now on."""
    sys.meta_path.insert(0, _Aliases())
    if "tensorflow" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterTensorFlow())

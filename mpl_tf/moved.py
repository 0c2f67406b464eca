"""Old and short names of modules, and the registration of classes with Keras.

`mpl_tf.layers` is the same module as `mpl_tf.networks.layers`, and likewise for all names in SHORT.
The names in MOVED are those that `.keras` files of earlier versions hold.

Keras finds a class of ours only if it is registered; otherwise it silently takes its own class of
that name. This package imports nothing before it is needed, so `install` makes sure that all our
classes are registered as soon as TensorFlow has been imported.
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
    """Imports a module by an old or short name, such as `mpl_tf.layers`."""

    _targets = {f"mpl_tf.{old}": f"mpl_tf.{new}" for old, new in {**SHORT, **MOVED}.items()}

    def find_spec(self, name, path=None, target=None):
        """Returns a spec for an old or short name, and None for others."""
        return importlib.util.spec_from_loader(name, self) if name in self._targets else None

    def create_module(self, spec):
        """Lets Python make an empty module, which `exec_module` replaces."""

    def exec_module(self, module):
        """Makes the old name another name of the module that it now is."""
        sys.modules[module.__name__] = importlib.import_module(self._targets[module.__name__])
        register()


class _AfterTensorFlow(importlib.abc.MetaPathFinder):
    """Calls `register` when TensorFlow has been imported."""

    def find_spec(self, name, path=None, target=None):
        """Returns TensorFlow's own spec, its loader changed to call `register` at its end."""
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
    """Registers all classes with Keras, unless a module of ours is being imported at the moment.

    Such a module may be the one that imports TensorFlow first. It is not complete yet, and modules
    that need it cannot be imported. This function is called again when `mpl_tf.NAME` is used, and an
    import of our module itself registers the classes that it needs.
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
    """Makes the old and short names importable, and has the classes registered with Keras."""
    sys.meta_path.insert(0, _Aliases())
    if "tensorflow" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterTensorFlow())

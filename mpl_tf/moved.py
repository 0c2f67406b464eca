"""Old and short names of modules, and the registration of classes with Keras.

`mpl_tf.layers` is the same module as `mpl_tf.networks.layers`, and likewise for all names in SHORT.
The names in MOVED are those that `.keras` files of earlier versions hold.

Keras finds a class of ours only if it is registered; otherwise it silently takes its own class of
that name. This package imports nothing before it is needed, so `install` puts a hook on the import of
TensorFlow and of our own modules: whenever the outermost of them has been executed and TensorFlow is
there, all our classes are registered. Not before, because a module of ours may be the first to import
TensorFlow, and what builds on that module cannot be imported until it is complete.
"""

import importlib
import importlib.abc
import importlib.util
import sys
import threading

SHORT = {
    "objectives": "method.objectives", "targets": "method.targets",
    "update_rules": "method.update_rules", "meta_gradient": "method.meta_gradient",
    "schedules": "method.schedules", "layers": "networks.layers", "augment": "data.augment",
    "strategy": "run.devices"}
MOVED = {"mpl": "method.mpl", "baselines": "method.baselines"}
REGISTERED = ("method.mpl", "method.baselines", "method.schedules", "networks.layers")


_TARGETS = {f"mpl_tf.{old}": f"mpl_tf.{new}" for old, new in {**SHORT, **MOVED}.items()}


class _Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the aliases, and counts the modules that are being executed."""

    def __init__(self):
        self._lock, self._executing, self._registered = threading.Lock(), 0, False

    def find_spec(self, name, path=None, target=None):
        """The spec of an alias; of TensorFlow and our modules the usual one, with `_execute` in it."""
        if name in _TARGETS:
            return importlib.util.spec_from_loader(name, self)
        if self._registered or not (name == "tensorflow" or name.startswith("mpl_tf.")):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    execute = spec.loader.exec_module
                    spec.loader.exec_module = lambda module: self._execute(execute, module)
                return spec
        return None

    def create_module(self, spec):
        """Python's own empty module; `exec_module` replaces it by the right one."""

    def exec_module(self, module):
        """Makes the alias another name of its module."""
        sys.modules[module.__name__] = importlib.import_module(_TARGETS[module.__name__])

    def _execute(self, execute, module):
        with self._lock:
            self._executing += 1
        try:
            execute(module)
        finally:
            with self._lock:
                self._executing -= 1
        self.register()

    def register(self):
        """Registers all our classes, once TensorFlow is there and no module is being executed."""
        with self._lock:
            if self._registered or self._executing or "tensorflow" not in sys.modules:
                return
            self._registered = True
        try:
            for name in REGISTERED:
                importlib.import_module(f"mpl_tf.{name}")
        except BaseException:
            self._registered = False    # the next import tries again
            raise


def install() -> None:
    """Makes the aliases importable, and our classes known to Keras from now on."""
    hook = _Hook()
    sys.meta_path.insert(0, hook)
    hook.register()

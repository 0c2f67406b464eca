"""Saving a whole model, with its networks, objective and optimizers, in Keras's .keras format."""

from __future__ import annotations

import os
import warnings
from typing import Any, Dict, Optional, Union

import tensorflow as tf

from mpl_tf.method import optimizer_state

SUFFIX = ".keras"


class Saving:
    """What a base.TrainingModel has of saving; it is mixed into that class."""

    def save(self, filepath: Union[str, os.PathLike[str]], *args: Any, **kwargs: Any) -> None:
        """Saves the whole model, as Keras's save does, to a name that ends in ".keras".

        A model that the format cannot hold as a whole is saved as far as it can be, and a warning
        says what the file lacks: the state of an optimizer, or what compile was given. Where the
        class of a network, a layer or the objective does not say how to build it again (get_config),
        the weights and the
        optimizers' state are written to NAME.weights.h5 instead.

        Raises:
          ValueError: for any other format. A SavedModel or HDF5 file would come back without the
            networks or without the second optimizer.
        """
        path = os.fspath(filepath)
        if not path.endswith(SUFFIX) or kwargs.get("save_format") not in (None, "keras"):
            raise ValueError(
                f"cannot save the whole model as {path!r}: only the .keras format keeps all "
                'networks and optimizers, so give a name ending in ".keras"; to export for '
                "serving, save the network alone (model.student.save)")
        try:
            tf.keras.utils.serialize_keras_object(self)     # layers and the objective too
            for network in self.networks.values():
                _check_described(network)
        except Exception as error:      # of somebody's class: NotImplementedError, or its own
            weights = path[:-len(SUFFIX)] + ".weights.h5"
            self.save_weights(weights)
            warnings.warn(f"{path} is not written, because the model cannot be described "
                          f"({_first_line(error)}): {weights} has all weights and the optimizers' "
                          "state instead; build and compile the model again, and load_weights",
                          stacklevel=2)
            return
        super().save(filepath, *args, **kwargs)
        if self._compile_error:
            warnings.warn(f"{path} lacks what compile was given ({self._compile_error}), and the "
                          "state of the optimizers: compile the model again after loading it",
                          stacklevel=2)
        elif self._lost_states() and not self._told_of_file:
            self._told_of_file = True
            warnings.warn(f"{path} lacks state of {' and '.join(self._lost_states())}: a model that is "
                          "loaded from it has other updates than this one would have had",
                          stacklevel=2)

    def _lost_states(self):
        """The optimizers, named, whose state a .keras file does not hold; looked for once."""
        if not hasattr(self, "_compile_arguments"):
            return []
        if self._lost is None:
            self._lost = optimizer_state.lost(self.optimizers)
        return self._lost

    def _warn_of_lost_states(self):
        """Says before the first step, once for each compile, what `save` will not be able to keep."""
        if self._lost is None and self._lost_states():
            warnings.warn(f"{' and '.join(self._lost)} has state that a .keras file does not hold: a "
                          "model that is saved and loaded has other updates than one that goes on; "
                          "give another optimizer of tf.keras.optimizers if you mean to do that",
                          stacklevel=3)

    def get_config(self) -> Dict[str, Any]:
        """The constructor's arguments, serialised."""
        serialize = tf.keras.utils.serialize_keras_object
        config = {role: serialize(network) for role, network in self.networks.items()}
        if self.objective is not None:
            config["objective"] = serialize(self.objective)
        return {**config, "seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that get_config describes."""
        restore = tf.keras.utils.deserialize_keras_object
        return cls(**{key: restore(value, custom_objects) if isinstance(value, dict) else value
                      for key, value in config.items()})

    def get_compile_config(self) -> Optional[Dict[str, Any]]:
        """The arguments of compile, serialised; None where one of them cannot be."""
        self._compile_error = ""
        if not hasattr(self, "_compile_arguments"):
            return None
        serialize = tf.keras.utils.serialize_keras_object
        found = {}
        for name, value in {**self._compile_arguments, **self._optimizer_arguments()}.items():
            try:
                found[name] = serialize(value)
            except Exception as error:      # of somebody's class without get_config
                self._compile_error = f"{name} cannot be described: {_first_line(error)}"
                return None
        return found

    def compile_from_config(self, config: Dict[str, Any]) -> None:
        """Compiles the model with the arguments that get_compile_config serialised."""
        self.compile(**tf.keras.utils.deserialize_keras_object(config))

    def _optimizer_arguments(self):
        return {f"{role}_optimizer": optimizer for role, optimizer in self.optimizers.items()}


def _check_described(network):
    """Raises what a class of somebody's own raises if its config does not make the network again.

    Where such a class has no get_config, Keras writes an empty one, which nothing can be loaded from.
    """
    if type(network).__module__.split(".")[0] not in ("keras", "tf_keras"):
        type(network).from_config(network.get_config())


def _first_line(error):
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0].strip()[:160]}"

"""What the models here share: batches, logs, evaluation and saving, but no algorithm."""

from __future__ import annotations

import types
import warnings
from typing import Any, ContextManager, Dict, List, Optional, Union

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import batches, derivatives, objectives, passes, replay, targets
from mpl_tf.method.calls import Calls
from mpl_tf.method.requirements import FLOAT16, check_networks
from mpl_tf.method.saving import Saving
from mpl_tf.method.update_rules import check_scale

for _objective in objectives.OBJECTIVES.values():   # their own file must not import TensorFlow
    tf.keras.utils.register_keras_serializable(package="mpl_tf")(_objective)


class TrainingModel(Calls, Saving, keras_seam.Model):
    """A Keras model around networks. Its `call` and its evaluation are those of the first network.

    Subclasses define `networks`, `optimizers`, `compile` and `train_step`, and call `_add_means`
    with the names of the scalars that a step logs.
    """

    _needs_unlabeled = True
    _unsaved = ()           # running means that are not among `metrics`
    _needs_probs = ()       # parts of the batch whose stored distributions are used

    def __init__(self, network: tf.keras.Model, objective: Optional[objectives.Objective],
                 seed: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, autocast=False, **kwargs)
        self.objective = objective
        self.seed = int(seed)
        self._network = network
        self.loss_dtype = (
            tf.float64 if any(layer.dtype == "float64" for layer in keras_seam.layers_of(network))
            else tf.float32)
        self._means, self._unsaved_means = {}, types.SimpleNamespace()
        self.average, self._average_decay = None, 0.0

    # Not tracked, or Keras would count the running means among the weights.
    @keras_seam.untracked
    def _add_means(self, *names):
        made = {name: tf.keras.metrics.Mean(name, dtype=self.loss_dtype)
                for name in (*names, *self._unsaved)}
        # Keras would save what is in a dict or list, and files of earlier versions have less.
        self._unsaved_means = types.SimpleNamespace(
            **{name: made.pop(name) for name in self._unsaved})
        self._means = made

    @property
    def metrics(self):
        """The compiled metrics and the running means, which Keras resets at every epoch.

        Keras saves the list with the whole model, so it stays as long as that of earlier versions.
        """
        return [*self._own_metrics, *self._means.values()]

    @property
    def metrics_names(self) -> List[str]:
        """The names in the order of the lists that evaluate and train_on_batch return."""
        return list(dict.fromkeys(["loss", *(
            metric.name for metric in keras_seam.metrics_of_compile(self)), *self._means]))

    def reset_metrics(self) -> None:
        """Resets all metrics, those that are not in `metrics` too."""
        super().reset_metrics()
        for mean in vars(self._unsaved_means).values():
            mean.reset_state()

    @keras_seam.as_written
    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Returns the logits [B, K] of the student, or of a baseline's only network."""
        return self._network(inputs, training=training)

    def _compile(self, optimizer, metrics, kwargs):
        strategy = self.distribute_strategy
        if (kwargs.get("jit_compile") and strategy.num_replicas_in_sync > 1
                and not isinstance(strategy, tf.distribute.TPUStrategy)):
            raise ValueError(
                f"jit_compile=True on {strategy.num_replicas_in_sync} replicas: TensorFlow compiles "
                "a step on one device (or a TPU) only; leave jit_compile out or use one device")
        policy = tf.keras.mixed_precision.global_policy()
        if policy.compute_dtype == "float16":
            raise ValueError(f"the global policy is {policy.name}: {FLOAT16}")
        check_scale(optimizer)
        given = [name for name in ("loss", "loss_weights") if kwargs.get(name) is not None]
        if given:
            raise ValueError(f"compile has {given[0]}, but the losses of {type(self).__name__} follow "
                             "from its method and its objective: leave it out, and write an "
                             "mpl_tf.objectives.Objective for another loss")
        for role, network in self.networks.items():
            if any(layer.variable_dtype == "bfloat16" for layer in keras_seam.layers_of(network)):
                warnings.warn(f"{role} keeps its weights in bfloat16, which rounds away updates below "
                              "1/256 of a weight: the policy mixed_bfloat16 keeps them in float32",
                              stacklevel=3)
        super().compile(
            optimizer=optimizer, metrics=metrics,
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **{**kwargs, "jit_compile": bool(kwargs.get("jit_compile"))})
        if self._network.built and not self.built:
            self.build(self._network.input_shape)

    @keras_seam.untracked
    def _remember(self, **arguments):
        """Keeps the arguments of compile, so that they can be saved."""
        self._compile_arguments = arguments
        self._checked = []
        self._lost, self._told_of_file = None, False        # see Saving

    @property
    def classifiers(self) -> Dict[str, tf.keras.Model]:
        """{role: network} of the networks that take images, as evaluation sees them.

        The student is the one of averaged weights if `average_weights` was called.
        """
        return {**self.networks, **self._averaged}

    @property
    def _averaged(self):
        return {} if self.average is None else {"student": self.average}

    # Not tracked: the averaged network is no part of the saved model, and checkpoints name it.
    @keras_seam.untracked
    def average_weights(self, network: tf.keras.Model, decay: float) -> None:
        """Keeps in `network` the exponential moving average of the student's weights.

        After the student's step t, counted from 0, as in Tan & Le's training:

            average <- d average + (1 - d) weights,     d = min(decay, (1 + t) / (10 + t))

        The averages that batch norm keeps are averaged as the weights are.

        Args:
          network: a network built as the student was, with the student's initial weights.
          decay: a number in [0, 1), such as 0.9999.

        Raises:
          ValueError: in one line, for a network whose weights have other shapes.
        """
        shapes = [[weight.shape for weight in each.weights] for each in (network, self._network)]
        if shapes[0] != shapes[1]:
            raise ValueError("average_weights: the network has other weights than the student; "
                             "build it as the student was")
        self.average, self._average_decay = network, float(decay)

    def _update_average(self):
        step = tf.cast(self.optimizers["student"].iterations - 1, tf.float32)
        decay = tf.minimum(self._average_decay, (1.0 + step) / (10.0 + step))
        passes.assign(keras_seam.tf_variables(self.average.weights), [
            average + tf.cast(1.0 - decay, average.dtype) * (tf.convert_to_tensor(weight) - average)
            for average, weight in zip(map(tf.convert_to_tensor, self.average.weights),
                                       self._network.weights)])

    def _share_averages(self):
        """Gives each replica the mean of all replicas' batch-norm averages, as a saved model has."""
        if self.distribute_strategy.num_replicas_in_sync > 1:
            for variable in passes.averages(self._network):
                variable.assign(variable.numpy())

    def _unpack(self, data):
        network = self._network
        known = self._needs_probs and network.built and getattr(network, "output_shape", None)
        return batches.unpack(data, self.objective, self._needs_unlabeled, self._needs_probs,
                              known[-1] if known else None)

    def errors_in_one_line(self) -> ContextManager[None]:
        """A context, as `fit` opens, in which an error of a step is a ValueError of one line."""
        return derivatives.in_one_line(self)

    def check_layers(self, images: Union[tf.Tensor, tf.TensorSpec]) -> None:
        """Looks for layers that do not repeat their numbers: `replay.check_before_steps`.

        `fit` calls it, and so does a step on one device. Call it before a loop of your own on
        several replicas, from outside of them.
        """
        replay.check_before_steps(self, images)

    def _networks_and_inputs(self, shape, dtype):
        """{role: (network, the specification of its inputs for a batch of images)}."""
        return {role: (network, tf.TensorSpec(shape, dtype))
                for role, network in self.networks.items()}

    def _build(self, images):
        """Builds the networks and optimizers that have no variables yet, before the first step."""
        if not self.built:
            with tf.init_scope():
                self.build((None, *images.shape[1:]))
        check_networks(**self.networks)
        with tf.init_scope():
            self._build_state()
        self.check_layers(images)

    def _build_state(self):
        """Makes the slots and metrics of the networks that have weights, before Keras would do it.

        Variables that appear inside a traced step make TensorFlow trace it twice.
        """
        for role, optimizer in self.optimizers.items():
            if self.networks[role].built:
                variables = self.networks[role].trainable_variables
                keras_seam.build_optimizer(optimizer, variables)
                unknown = keras_seam.unknown_variables(optimizer, variables)
                if unknown:
                    raise ValueError(
                        f"the {role}'s optimizer was built for other variables and has no state for "
                        f"{keras_seam.name_of(unknown[0])!r}, as after layers were unfrozen: give "
                        "compile a new optimizer, such as type(old).from_config(old.get_config())")
        shape = getattr(self._network, "output_shape", None) if self._network.built else None
        if shape:
            keras_seam.build_metrics(self, shape[-1], self.loss_dtype)

    def _apply(self, role, gradients, weight_decay):
        """Updates a network by its gradients, averaged over replicas, and its weight decay.

        Returns the gradients that the optimizer was given. Weight decay is added after averaging.
        """
        return self._apply_averaged(role, passes.replica_mean(
            [tf.convert_to_tensor(g) for g in gradients]), weight_decay)

    def _apply_averaged(self, role, gradients, weight_decay):
        """`_apply` for gradients that are averaged over replicas already."""
        network = self.networks[role]
        variables = passes.weights(network)
        gradients = passes.add_weight_decay(gradients, variables, weight_decay)
        keras_seam.apply_gradients(self.optimizers[role], gradients, network.trainable_variables)
        if role == "student" and self.average is not None:
            self._update_average()
        return gradients

    def _log(self, scalars, labels=None, logits=None, sample_weight=None):
        """Updates the running means by this step's scalars, and the compiled metrics.

        Returns the present value of each, by name. Without labels the compiled metrics are left out.
        """
        means = {**self._means, **vars(self._unsaved_means)}
        # Of one dtype, as replicas exchange them in one piece.
        scalars = {name: tf.cast(value, self.loss_dtype) for name, value in scalars.items()}
        for name, value in passes.replica_mean(scalars).items():
            means[name].update_state(value)
        if labels is not None:
            keras_seam.update_metrics(self, labels, logits, sample_weight)
        measured = keras_seam.metrics_of_compile(self) if labels is not None else []
        for network in (*self.networks.values(), *self._averaged.values()):
            keras_seam.share_averages(network.non_trainable_weights)
        return self._results([*measured, *(means[name] for name in scalars)])

    @keras_seam.as_written
    def test_step(self, data: Any) -> Dict[str, tf.Tensor]:
        """Updates cross-entropy and compiled metrics by a batch (images, labels[, weights]).

        Returns their values so far, by name.
        """
        images, labels, weights = tf.keras.utils.unpack_x_y_sample_weight(data)
        # Keras takes a list, tuple or dict of one for each of them.
        images, labels, weights = (nest if nest is None else tf.nest.flatten(nest)[0]
                                   for nest in (images, labels, weights))
        with tf.control_dependencies(batches.check_lengths({"evaluation": {
                name: value for name, value in (("image", images), ("label", labels),
                                                ("sample_weight", weights)) if value is not None}})):
            logits = targets.full_precision(self(images, training=False))
        losses = keras_seam.update_loss(self, labels, logits, weights)
        keras_seam.update_metrics(self, labels, logits, weights)
        return self._results([*losses, *keras_seam.metrics_of_compile(self)])

    @keras_seam.untracked
    def _results(self, metrics):
        """{name: present value} of `metrics`; Keras 3 looks for them once more in `_logged`."""
        self._logged = {**getattr(self, "_logged", {}),
                        frozenset(metric.name for metric in metrics): metrics}
        return {metric.name: metric.result() for metric in metrics}

    def build(self, input_shape):
        """Builds the networks; called by Keras when a saved model is loaded."""
        for network in self.networks.values():
            keras_seam.build(network, input_shape)
        super().build(input_shape)

"""What the models of this package share: batches, logs, evaluation, saving. No algorithm in here."""

from typing import NamedTuple

import tensorflow as tf

from mpl_tf import layers, passes, targets


class Batch(NamedTuple):
    """A training batch by the part each piece plays; views float [B, ...], labels int [B_l]."""

    labels: tf.Tensor
    labeled_image: tf.Tensor    # the weak view: R's data
    labeled_view: tf.Tensor     # the view that the objective asks for
    weak_view: tf.Tensor        # x_u as "image"
    student_view: tf.Tensor     # x_u as the student learns on it and the teacher labels it


_LAYOUT = ('{"labeled": {"image", "label"}, "unlabeled": {"image", "augmented"}}, '
           '"augmented" where views differ')


def unpack(data, objective=None, need_unlabeled=True):
    """Takes a dataset's element apart; ValueError, in one line, where something is missing."""
    if isinstance(data, (tuple, list)) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        raise ValueError(f"training data yields {type(data).__name__}, expected dicts {_LAYOUT}")
    for part, views in data.items():
        if not isinstance(views, dict):
            raise ValueError(f'training data\'s ["{part}"] is {type(views).__name__}, expected dicts '
                             f"{_LAYOUT}")
    labeled, unlabeled = data.get("labeled", {}), data.get("unlabeled", {})
    needed = [("labeled", labeled, "image"), ("labeled", labeled, "label")]
    if objective is not None and objective.labeled_view != "image":
        needed.append(("labeled", labeled, objective.labeled_view))
    if need_unlabeled or objective.unlabeled:
        needed.append(("unlabeled", unlabeled, "image"))
    if objective is not None and objective.unlabeled:
        needed.append(("unlabeled", unlabeled, "augmented"))
    for part, views, key in needed:
        if key not in views:
            reason = f" ({type(objective).__name__} needs it)" if key == "augmented" else ""
            raise ValueError(f'training data has no ["{part}"]["{key}"]{reason}: got '
                             f"{ {p: sorted(v) for p, v in data.items()} }, expected {_LAYOUT}")
    if labeled["label"].shape.rank != 1 or not labeled["label"].dtype.is_integer:
        raise ValueError(
            f'["labeled"]["label"] is {labeled["label"].dtype.name} {labeled["label"].shape}, '
            "expected class numbers: int [B_l]")
    view = objective.labeled_view if objective is not None else "image"
    return Batch(labeled["label"], labeled["image"], labeled[view], unlabeled.get("image"),
                 unlabeled.get("augmented", unlabeled.get("image")))


def check_networks(**networks):
    """ValueError unless all are Keras models for the same classes, without losses of their own.

    Regularizers, the student's constraints and mixed_float16 are refused by the layer's name: they
    would change the update behind the differentiated formulas.
    """
    classes = {}
    for role, network in networks.items():
        if not isinstance(network, tf.keras.Model):
            raise ValueError(f"{role} is a {type(network).__name__}, expected a tf.keras.Model "
                             "from images to logits [B, K]")
        if network.built and getattr(network, "output_shape", None):
            classes[role] = network.output_shape[-1]
        for layer in network._flatten_layers():
            _check_layer(role, layer)
    weights = [id(weight) for network in networks.values() if network.built
               for weight in network.weights]
    if len(set(weights)) < len(weights):
        raise ValueError(f"{' and '.join(networks)} share weights: build them as separate models")
    if len(set(classes.values())) > 1:
        raise ValueError("networks disagree on the number of classes: "
                         + ", ".join(f"{role} has {k}" for role, k in classes.items())
                         + "; build them with the same number of logits")


def _check_layer(role, layer):
    for name, value in vars(layer).items():
        if isinstance(value, tf.keras.regularizers.Regularizer):
            raise ValueError(f"{role}'s layer {layer.name!r} has a {name.lstrip('_')}, which is not "
                             "differentiated here: remove it and set the weight decay in compile")
        if isinstance(value, tf.keras.constraints.Constraint) and role == "student":
            raise ValueError(f"student's layer {layer.name!r} has a {name}, which changes its update "
                             "and is not differentiated: remove it")
    if layer.dtype_policy.name == "mixed_float16":
        raise ValueError(f"{role}'s layer {layer.name!r} has the policy mixed_float16, whose loss "
                         "scaling would change the update that is differentiated: use "
                         "mixed_bfloat16")


def check_divisible(element_spec, replicas):
    """ValueError if global batches cannot be split into equal shares for replicas.

    Means over replicas are means over the batch only where every replica has as many examples.
    Sizes that are not known before the data come cannot be judged: batch with drop_remainder.
    """
    for spec in tf.nest.flatten(element_spec):
        size = spec.shape[0] if spec.shape.rank else None
        if replicas > 1 and (size is None or size % replicas):
            raise ValueError(
                f"training data has batches of {'unknown size' if size is None else size} for "
                f"{replicas} replicas, which need equal shares: batch it by a multiple of "
                f"{replicas} with drop_remainder=True")


class TrainingModel(tf.keras.Model):
    """A Keras model around networks: `call` is the first one's, evaluation is that of its logits.

    Subclasses define `networks`, `optimizers`, `compile` and `train_step`, and call `_add_means`
    with the names of the scalars that a step logs.
    """

    _needs_unlabeled = True

    def __init__(self, network, objective, seed, name, **kwargs):
        super().__init__(name=name, autocast=False, **kwargs)
        self.objective = objective
        self.seed = int(seed)
        self._network = network
        self.loss_dtype = (
            tf.float64 if any(layer.dtype == "float64" for layer in network._flatten_layers())
            else tf.float32)
        self._means = {}

    # Not tracked, or Keras would count the running means among the weights.
    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _add_means(self, *names):
        self._means = {name: tf.keras.metrics.Mean(name, dtype=self.loss_dtype) for name in names}

    @property
    def metrics(self):
        """The compiled metrics and the running means; Keras resets them at every epoch."""
        return [*super().metrics, *self._means.values()]

    def call(self, inputs, training=None):
        """Logits [B, K] of the student (of the only network, in a baseline)."""
        return self._network(inputs, training=training)

    def _compile(self, optimizer, metrics, kwargs):
        strategy = self.distribute_strategy
        if (kwargs.get("jit_compile") and strategy.num_replicas_in_sync > 1
                and not isinstance(strategy, tf.distribute.TPUStrategy)):
            raise ValueError(
                f"jit_compile=True on {strategy.num_replicas_in_sync} replicas: TensorFlow compiles "
                "a step on one device (or a TPU) only; leave jit_compile out or use one device")
        if tf.keras.mixed_precision.global_policy().name == "mixed_float16":
            raise ValueError("the global policy is mixed_float16, whose loss scaling would change "
                             "the update that is differentiated: use mixed_bfloat16")
        super().compile(
            optimizer=optimizer, metrics=metrics,
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), **kwargs)
        if self._network.built and not self.built:
            self.build(self._network.input_shape)

    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _remember(self, **arguments):
        """Keeps the arguments of compile, for saving."""
        self._compile_arguments = arguments

    def fit(self, x=None, *args, **kwargs):
        """Keras's fit, on a dataset of dicts; under a strategy each is the global batch."""
        if isinstance(x, tf.data.Dataset):      # judged here, an error stays one line
            batch = self._unpack(x.element_spec)
            with self.distribute_strategy.scope():
                self._build(batch.labeled_image)
            check_divisible(x.element_spec, self.distribute_strategy.num_replicas_in_sync)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Keras's evaluate, of the student as it would be saved."""
        self._share_averages()
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """Keras's predict, of the student as it would be saved."""
        self._share_averages()
        return super().predict(*args, **kwargs)

    def _share_averages(self):
        """Gives each replica the mean of all replicas' batch-norm averages, which is what is saved."""
        if self.distribute_strategy.num_replicas_in_sync > 1:
            for variable in self._network.non_trainable_variables:
                variable.assign(variable.numpy())

    def _unpack(self, data):
        return unpack(data, self.objective, self._needs_unlabeled)

    def _build(self, images):
        """Builds networks and optimizers that are still without variables, before the first step."""
        if not self.built:
            with tf.init_scope():
                self.build((None, *images.shape[1:]))
        check_networks(**self.networks)
        with tf.init_scope():
            self._build_state()

    def _build_state(self):
        """Makes slots and metrics where the networks have weights; before Keras does it.

        Variables that appear inside a traced step make TensorFlow trace it twice.
        """
        for role, optimizer in self.optimizers.items():
            if self.networks[role].built and hasattr(optimizer, "build"):   # not the legacy ones
                optimizer.build(self.networks[role].trainable_variables)
        shape = getattr(self._network, "output_shape", None) if self._network.built else None
        if shape and not self.compiled_metrics.metrics:
            self.compiled_metrics.build(
                tf.zeros([1, shape[-1]], self.loss_dtype), tf.zeros([1], tf.int64))

    def _check_replayable(self):
        for role, network in self.networks.items():
            stuck = layers.not_replayable(network)
            if stuck:
                raise ValueError(
                    f'meta_gradient="jvp" replays passes, but {role} has {", ".join(stuck)}, whose '
                    'random numbers cannot be drawn again: use mpl_tf.layers.Dropout, or '
                    '"nested_tape"')

    def _apply(self, role, gradients, weight_decay):
        """Updates a network by the mean over replicas of its gradients, weight decay counted once."""
        variables = self.networks[role].trainable_variables
        gradients = passes.replica_mean([tf.convert_to_tensor(g) for g in gradients])
        gradients = passes.add_weight_decay(gradients, variables, weight_decay)
        self.optimizers[role].apply_gradients(
            zip(gradients, variables), experimental_aggregate_gradients=False)
        return gradients

    def _log(self, scalars, labels=None, logits=None):
        """Updates the running means by this step's scalars, and the compiled metrics."""
        for name, value in passes.replica_mean(scalars).items():
            self._means[name].update_state(value)
        if labels is not None:
            self.compiled_metrics.update_state(labels, logits)
        logged = [*self.compiled_metrics.metrics, *(self._means[name] for name in scalars)]
        return {metric.name: metric.result() for metric in logged}

    def test_step(self, data):
        """Cross-entropy from logits and the compiled metrics on (images, labels[, weights])."""
        images, labels, weights = tf.keras.utils.unpack_x_y_sample_weight(data)
        logits = targets.full_precision(self(images, training=False))
        self.compiled_loss(labels, logits, weights)
        self.compiled_metrics.update_state(labels, logits, weights)
        logged = [*self.compiled_loss.metrics, *self.compiled_metrics.metrics]
        return {metric.name: metric.result() for metric in logged}

    # Saving. Networks, objective and optimizers are all part of the saved model.

    def save(self, filepath, *args, **kwargs):
        """Keras's save, to a name ending in ".keras"; ValueError for any other format.

        A SavedModel or HDF5 file would come back without the networks or the second optimizer.
        """
        if not str(filepath).endswith(".keras") or kwargs.get("save_format") not in (None, "keras"):
            raise ValueError(
                f"cannot save the whole model as {str(filepath)!r}: only the .keras format keeps all "
                'networks and optimizers, so give a name ending in ".keras"; to export for '
                "serving, save the network alone (model.student.save)")
        return super().save(filepath, *args, **kwargs)

    def get_config(self):
        """The constructor's arguments, serialised."""
        serialize = tf.keras.saving.serialize_keras_object
        config = {role: serialize(network) for role, network in self.networks.items()}
        if self.objective is not None:
            config["objective"] = serialize(self.objective)
        return {**config, "seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that get_config describes."""
        restore = tf.keras.saving.deserialize_keras_object
        return cls(**{key: restore(value, custom_objects) if isinstance(value, dict) else value
                      for key, value in config.items()})

    def get_compile_config(self):
        """The arguments of compile, serialised."""
        if not hasattr(self, "_compile_arguments"):
            return None
        serialize = tf.keras.saving.serialize_keras_object
        return {key: serialize(value) for key, value in
                {**self._compile_arguments, **self._optimizer_arguments()}.items()}

    def compile_from_config(self, config):
        """Compiles as get_compile_config says."""
        self.compile(**tf.keras.saving.deserialize_keras_object(config))

    def _optimizer_arguments(self):
        return {f"{role}_optimizer": optimizer for role, optimizer in self.optimizers.items()}

    def build(self, input_shape):
        """Builds the networks; called by Keras when a saved model is loaded."""
        for network in self.networks.values():
            if not network.built:
                network.build(input_shape)
        super().build(input_shape)

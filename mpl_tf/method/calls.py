"""The calls that a Keras user makes of a model: fit, train_on_batch, evaluate, predict and summary.

Each is Keras's own, after checks that Keras does not make. What does not fit is refused in one line,
before anything is traced.
"""

from __future__ import annotations

import inspect
from typing import Any, Dict, List, Optional, Union

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import batches, fit_bar
from mpl_tf.method.requirements import check_images


class Calls:
    """What a base.TrainingModel has of Keras's calls; it is mixed into that class.

    _compile_call: how the model is compiled, in words for a message.
    """

    _compile_call = 'compile(optimizer="adam")'

    def _require_compiled(self):
        if not hasattr(self, "_compile_arguments"):
            raise RuntimeError(f"{type(self).__name__} is not compiled: call model."
                               f"{self._compile_call} first")

    def fit(self, x: Optional[tf.data.Dataset] = None, *args: Any,
            **kwargs: Any) -> tf.keras.callbacks.History:
        """Trains as Keras's fit does.

        Args:
          x: a dataset of dicts, each a training batch, or the zip of two datasets, of (x, y) and of
            x_u or (weak, strong), in batches; under a strategy each is the global batch.
          class_weight: {class number: weight}, factors of the labeled examples' losses and so of R;
            a class that it lacks has 1.

        Raises:
          ValueError: in one line, for data that do not fit the model.
          RuntimeError: in one line, if `compile` was not called.
        """
        self._require_compiled()
        given = inspect.signature(super().fit).bind(x, *args, **kwargs).arguments
        batches.check_given(x, given.get("y"), given.get("steps_per_epoch"))
        if given.get("class_weight"):
            given["x"] = x = self._weighted(x, given.pop("class_weight"))
        if isinstance(x, tf.data.Dataset):      # checked here, before anything is traced
            self._check_spec(x.element_spec)
            given["shuffle"] = False    # Keras 3 warns that it leaves the order as it is
            if self.jit_compile:        # XLA leaves checks within a step out
                given["x"] = x = batches.with_lengths_checked(x)
            if x.cardinality() == 0:
                raise ValueError("training data has no batches: it is empty, or drop_remainder=True "
                                 "dropped the only batch; give at least one batch")
        elif isinstance(x, dict):
            batches.check_lengths(x, alike=True)
        callbacks = given.get("callbacks")
        if given.get("verbose", "auto") and not isinstance(callbacks, tf.keras.callbacks.CallbackList):
            callbacks = list(tf.nest.flatten(callbacks)) if callbacks else []
            if not any(isinstance(each, tf.keras.callbacks.ProgbarLogger) for each in callbacks):
                given["callbacks"] = [*callbacks, fit_bar.FitBar(["loss", "R", *(
                    metric.name for metric in keras_seam.metrics_of_compile(self))])]
        self._warn_of_lost_states()
        with self.errors_in_one_line():
            return super().fit(**given)

    def _check_spec(self, spec):
        """Checks batches, and builds what has no weights yet, by the specification of a batch."""
        batch = self._unpack(spec)
        for view in (batch.labeled_image, batch.labeled_view, batch.weak_view, batch.student_view):
            if view is not None:
                check_images(self.classifiers, view.shape)
        with self.distribute_strategy.scope():
            self._build(batch.labeled_image)
        batches.check_divisible(spec, self.distribute_strategy.num_replicas_in_sync)

    def _weighted(self, dataset, class_weight):
        if self.objective is None:
            raise ValueError(f"class_weight is given, but {type(self).__name__} learns from no labels: "
                             "leave it out")
        if not isinstance(dataset, tf.data.Dataset):
            raise ValueError("class_weight is given, which is taken with a tf.data.Dataset only: put "
                             'the weight of each example into ["labeled"]["sample_weight"]')
        self._unpack(dataset.element_spec)
        shape = getattr(self._network, "output_shape", None) if self._network.built else None
        return batches.with_class_weight(dataset, class_weight, shape[-1] if shape else None)

    def train_on_batch(self, x: Dict[str, Dict[str, Any]], y: Any = None, sample_weight: Any = None,
                       class_weight: Optional[Dict[int, float]] = None, reset_metrics: bool = True,
                       return_dict: bool = False) -> Union[List[float], Dict[str, float]]:
        """Takes one step on a batch, as Keras's train_on_batch does.

        Args:
          x: a training batch as `fit` takes it, of tensors or arrays; B_l and B_u may differ.

        Raises:
          ValueError: in one line, for a batch that does not fit the model.
        """
        self._require_compiled()
        if y is not None or sample_weight is not None:
            raise ValueError('train_on_batch takes labels and weights within x: {"labeled": {"image", '
                             '"label", "sample_weight"}, "unlabeled": ...}')
        dataset = tf.data.Dataset.from_tensors(x)
        if class_weight:
            dataset = self._weighted(dataset, class_weight)
        self._check_spec(dataset.element_spec)
        with self.errors_in_one_line(), self.distribute_strategy.scope():
            iterator = iter(self.distribute_strategy.experimental_distribute_dataset(dataset))
            logs = {}
            for name, value in keras_seam.step_function(self)(iterator).items():
                value = tf.nest.map_structure(lambda tensor: tensor.numpy(), value)
                logs.update(value if isinstance(value, dict) else {name: value})
        if reset_metrics:
            self.reset_metrics()
        names = [name for name in self.metrics_names if name in logs]
        return logs if return_dict else [logs[name] for name in dict.fromkeys([*names, *logs])]

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints a summary, as Keras's summary does."""
        if not self.built:
            shape = getattr(self._network, "input_shape", None) if self._network.built else None
            if shape is None:
                raise ValueError(f"{self._network.name} has no weights yet, so there is nothing to "
                                 "summarise: build the networks (network.build), or fit first")
            self.build(shape)
        super().summary(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates, as Keras's evaluate does, the student as it would be saved.

        Raises:
          ValueError: in one line, for a training dataset: it takes images and labels.
        """
        self._require_compiled()
        _refuse_training_data("evaluate", args[0] if args else kwargs.get("x"), "(images, labels)",
                              "mpl_tf.data.eval_dataset")
        self._share_averages()
        with self.errors_in_one_line():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predicts, as Keras's predict does, by the student as it would be saved."""
        _refuse_training_data("predict", args[0] if args else kwargs.get("x"), "images",
                              "mpl_tf.data.eval_dataset(split).map(lambda image, label: image)")
        self._share_averages()
        return super().predict(*args, **kwargs)


def _refuse_training_data(call, data, expected, remedy):
    spec = data.element_spec if isinstance(data, tf.data.Dataset) else data
    if isinstance(spec, dict) and {"labeled", "unlabeled"} & set(spec):
        raise ValueError(f'{call} was given training data, dicts of {", ".join(map(repr, sorted(spec)))}: expected '
                         f"{expected}; make them with {remedy}")

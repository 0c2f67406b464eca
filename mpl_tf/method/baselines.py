"""Models that train one network: Table 1's rows without MPL, and students of fixed teachers."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Union

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import objectives, passes, targets
from mpl_tf.method.base import TrainingModel
from mpl_tf.method.requirements import check_networks, check_objective
from mpl_tf.method.update_rules import learning_rate

register = tf.keras.utils.register_keras_serializable(package="mpl_tf")


class _OneNetwork(TrainingModel):
    """What the models below share: one trained network, called the student, and one optimizer."""

    @property
    def networks(self) -> Dict[str, tf.keras.Model]:
        """{"student": the trained network}."""
        return {"student": self.student}

    @property
    def optimizers(self) -> Dict[str, tf.keras.optimizers.Optimizer]:
        """{"student": the optimizer}."""
        return {"student": self.optimizer}

    def compile(self, optimizer: Union[str, tf.keras.optimizers.Optimizer],
                weight_decay: float = 0.0, metrics: Optional[List[Any]] = None,
                **kwargs: Any) -> None:
        """Sets the optimizer.

        Args:
          optimizer: any Keras optimizer, or its name.
          weight_decay: lambda of (lambda/2) |weights|^2, not on biases and batch-norm scales.
          metrics: Keras metrics of the student's logits.
          **kwargs: Keras's jit_compile, steps_per_execution, run_eagerly, weighted_metrics.
        """
        self._compile(tf.keras.optimizers.get(optimizer), metrics, kwargs)
        self.weight_decay = weight_decay
        self._remember(weight_decay=weight_decay, metrics=metrics, **kwargs)
        with self.distribute_strategy.scope():
            self._build_state()

    def _optimizer_arguments(self):
        return {"optimizer": self.optimizer}

    def _minimise(self, tape, loss):
        gradients = tape.gradient(loss, passes.weights(self.student),
                                  unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._apply("student", gradients, self.weight_decay)


@register
class Baseline(_OneNetwork):
    """One network trained alone on an objective: supervised, label smoothing, RandAugment or UDA.

    Args:
      student: Keras model, images [B, ...] -> logits [B, K].
      objective: what the network minimises; see mpl_tf.objectives.
      seed: the seed of the dropout masks.

    `fit` takes the dataset that MetaPseudoLabels takes; "unlabeled" may be absent if the objective
    does not use it. A step logs the loss, the objective's terms, learning_rate, and the compiled
    metrics of the logits on the view of x_l that the objective learns from.
    """

    _needs_unlabeled = False

    def __init__(self, student: tf.keras.Model, objective: objectives.Objective, seed: int = 0,
                 name: str = "baseline", **kwargs: Any) -> None:
        check_networks(student=student)
        check_objective(objective)
        super().__init__(student, objective=objective, seed=seed, name=name, **kwargs)
        self.student = student
        self._add_means("loss", *objective.terms, "learning_rate")

    @keras_seam.as_written
    def train_step(self, data: Dict[str, Dict[str, tf.Tensor]]) -> Dict[str, tf.Tensor]:
        """Takes one step on a batch; returns the means since the last reset, by name."""
        batch = self._unpack(data)
        self._build(batch.labeled_view)
        rate = learning_rate(self.optimizer)
        step = tf.identity(self.optimizer.iterations)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(passes.weights(self.student))
            loss, terms, logits, _ = passes.objective_passes(
                self.student, self.objective, batch, self.seed, step)
        self._minimise(tape, loss)
        return self._log({"loss": loss, **terms, "learning_rate": rate}, batch.labels, logits,
                         batch.sample_weight)


class _Imitator(_OneNetwork):
    """What the models below share: a student that learns given target distributions."""

    def __init__(self, student, seed, name, **kwargs):
        super().__init__(student, objective=None, seed=seed, name=name, **kwargs)
        self.student = student
        self._add_means("loss", "pseudo_label_entropy", "pseudo_label_confidence", "agreement",
                        "learning_rate")

    @keras_seam.as_written
    def train_step(self, data: Dict[str, Dict[str, tf.Tensor]]) -> Dict[str, tf.Tensor]:
        """Takes one step on the unlabeled part of a batch; returns the means since the last reset."""
        batch = self._unpack(data)
        self._build(batch.student_view)
        rate = learning_rate(self.optimizer)
        step = tf.identity(self.optimizer.iterations)
        pseudo_labels = self._pseudo_labels(batch)
        seed = passes.pass_seed(self.seed, step, passes.STUDENT_UNLABELED)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(passes.weights(self.student))
            student_logits = passes.forward(self.student, batch.student_view, seed)
            loss = targets.cross_entropy(pseudo_labels, student_logits)
        self._minimise(tape, loss)
        return self._log({
            "loss": loss, "pseudo_label_entropy": targets.entropy(pseudo_labels),
            "pseudo_label_confidence": tf.reduce_mean(tf.reduce_max(pseudo_labels, axis=-1)),
            "agreement": targets.agreement(pseudo_labels, student_logits), "learning_rate": rate})


@register
class FixedTeacher(_Imitator):
    """A student of a fixed teacher: pseudo labels and distillation (Section 2).

    Args:
      student: the network that is trained, images [B, ...] -> logits [B, K].
      teacher: the network that labels, in inference mode. It is set to be not trainable.
      hard: True for one-hot(argmax) targets, False for softmax(logits / temperature).
      temperature: the temperature of the soft targets, above 0. The paper's soft pseudo labels have
        1; another one makes it distillation (Hinton et al., 2015).
      seed: the seed of the dropout masks.
    """

    def __init__(self, student: tf.keras.Model, teacher: tf.keras.Model, hard: bool = False,
                 temperature: float = 1.0, seed: int = 0, name: str = "fixed_teacher",
                 **kwargs: Any) -> None:
        check_networks(student=student, teacher=teacher)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} must be above 0: 1 leaves the teacher's "
                             "distribution as it is")
        super().__init__(student, seed, name, **kwargs)
        self.teacher = teacher
        teacher.trainable = False
        self.hard, self.temperature = hard, temperature

    def _pseudo_labels(self, batch):
        logits = targets.full_precision(self.teacher(batch.student_view, training=False))
        return targets.hard(logits) if self.hard else targets.soft(logits, self.temperature)

    def get_config(self) -> Dict[str, Any]:
        """The constructor's arguments, serialised."""
        return {**super().get_config(), "hard": self.hard, "temperature": self.temperature,
                "teacher": tf.keras.utils.serialize_keras_object(self.teacher)}


@register
class StoredTargets(_Imitator):
    """NoisyStudent (Xie et al., 2019b) as Section 4.2 compares it: a student of stored targets.

    The student minimises CE(teacher_probs, student(x_u)) on the noised view ("augmented" where
    there is one, else "image"), with whatever dropout and stochastic depth it has. Section 4.2:
    "the only difference between NoisyStudent and ReducedMPL is that ReducedMPL has a teacher that
    adapts". So this student sees the unlabeled batches that ReducedMPL's student sees. It sees no
    labels: q_large has learned from them, and the unlabeled images may hold the labeled ones.

    Args:
      student: the network that is trained, images [B, ...] -> logits [B, K].
      seed: the seed of the dropout masks.

    `fit` takes the dataset that MetaPseudoLabels takes, with "teacher_probs" float [B_u, K] in
    "unlabeled".
    """

    _needs_probs = ("unlabeled",)

    def __init__(self, student: tf.keras.Model, seed: int = 0, name: str = "stored_targets",
                 **kwargs: Any) -> None:
        check_networks(student=student)
        super().__init__(student, seed, name, **kwargs)

    def _pseudo_labels(self, batch):
        return tf.cast(batch.unlabeled_probs, self.loss_dtype)

"""Meta Pseudo Labels as a Keras model (Section 3, Figures 2 and 4).

What one `train_step` does:
  1. The teacher labels x_u softly:                       q = softmax(T(x_u; Psi))
  2. The student learns from q alone (Eq. 1):             Theta' = Theta + f(g), g = dCE(q, p)/dTheta
  3. Its loss on labeled data judges the update (Eq. 2):  R(Theta'), v = dR/dTheta'
  4. That signal goes back through the update (Eq. 3):    dR/dq, then dR/dPsi
  5. The teacher descends along dR/dPsi and the gradient of its own objective.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Union

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import (meta_gradient, meta_scale as scales, objectives, passes, slices,
                           targets)
from mpl_tf.method.base import TrainingModel
from mpl_tf.method.diagnostics import Diagnostics
from mpl_tf.method.jvp_step import JvpStep
from mpl_tf.method.requirements import (check_microbatch_size, check_networks, check_objective,
                                        check_replayable, check_sliceable, check_teacher_input)
from mpl_tf.method.steps import Steps
from mpl_tf.method.update_rules import Rule, check_optimizer, check_scale, learning_rate


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class MetaPseudoLabels(Steps, JvpStep, Diagnostics, TrainingModel):
    """A student, and the teacher that learns to teach it.

    `call`, `evaluate` and `predict` are those of the student.

    Args:
      student, teacher: Keras models, images [B, ...] -> logits [B, K], with the same K.
      objective: what the teacher minimises beside the meta signal; see mpl_tf.objectives.
      meta_weight: the factor of the meta signal. 0.0 is the control at equal compute: it makes the
        same passes and multiplies the signal by zero, so that the teacher trains as its baseline
        (with microbatch_size only where no network has batch norm). It is a weight of the model: a file
        that `load_weights` reads has its own, so assign a control's 0.0 again after that.
      meta_gradient: how the meta gradient is computed. "nested_tape" takes the least computation.
        "jvp" gives the same gradient by one forward-mode pass and takes less memory: it never
        keeps the activations of more than one backward pass. It replays passes, so the random
        layers of both networks have to be those of mpl_tf.layers.
      meta_scale: "absolute": the teacher descends along objective + meta_weight dR/dPsi, as in the
        paper. "relative": the norm of the meta gradient over the teacher's weights is meta_weight
        times that of the objective's gradient, in every step. "measured": meta_weight is in units
        of both gradients' mean norms so far, times how far the objective's gradient has come down:
        a weight of 1 suits many tasks, schedules and optimizers; see mpl_tf.method.meta_scale. The
        direction is the exact one with each.
      meta_signal: "exact", or "shuffled": dR/dq of another example of the batch, a control that
        tells what the signal knows from what any push of its kind does.
      microbatch_size: None or 0, or the number of labeled and of unlabeled examples that a step of
        "jvp" has in memory at a time; it divides both batches of a replica. The step is that of the
        whole batch, masks of mpl_tf.layers included, but for rounding, where no layer looks across
        examples. Batch norm's statistics are those of a slice, and its averages move once a slice.
      teacher_input: "image", or "teacher_probs" for ReducedMPL (Section 3.2). The teacher is then a
        small network from distributions [B, K] to logits [B, K], such as networks.calibration. In
        every pass it sees, instead of the images, the batch's "teacher_probs": the stored
        predictions of a large pre-trained network. Its objective is then objectives.Supervised.
      seed: the seed of the dropout masks.

    `fit` takes a dataset of {"labeled": {"image" [B_l, ...], "label" int [B_l]}, "unlabeled":
    {"image" [B_u, ...], "augmented" [B_u, ...]}}. The teacher labels "augmented" where there is
    one, else "image", and the student learns on the same view. The labeled batch supervises the
    teacher, and R is measured on it. With teacher_input="teacher_probs" both parts also have
    "teacher_probs" float [B, K].

    Raises:
      ValueError: in one line, for networks, objective, optimizers or data that do not fit.
    """

    _compile_call = 'compile(student_optimizer="sgd", teacher_optimizer="adam")'

    def __init__(self, student: tf.keras.Model, teacher: tf.keras.Model,
                 objective: objectives.Objective, meta_weight: float = 1.0,
                 meta_gradient: str = "nested_tape", seed: int = 0, teacher_input: str = "image",
                 name: str = "meta_pseudo_labels", meta_scale: str = "absolute",
                 meta_signal: str = "exact", microbatch_size: Optional[int] = None,
                 **kwargs: Any) -> None:
        if meta_gradient not in ("nested_tape", "jvp"):
            raise ValueError(f'meta_gradient={meta_gradient!r}: give "nested_tape" or "jvp"')
        check_networks(student=student, teacher=teacher)
        check_objective(objective)
        check_teacher_input(teacher_input, teacher, objective)
        scales.check(meta_scale, meta_signal, objective)
        check_microbatch_size(microbatch_size, meta_gradient)
        super().__init__(student, objective=objective, seed=seed, name=name, **kwargs)
        self.student, self.teacher = student, teacher
        self.meta_gradient, self.teacher_input = meta_gradient, teacher_input
        self.meta_scale, self.meta_signal = meta_scale, meta_signal
        self.microbatch_size = microbatch_size or None
        # A variable, because graph optimizers would fold "0 * signal" and skip the control's passes.
        self.meta_weight = self.add_weight(
            name="meta_weight", shape=(), dtype=self.loss_dtype, trainable=False,
            # Keras 3's own Constant goes through float32.
            initializer=lambda shape, dtype=None: tf.constant(meta_weight, dtype, shape))
        if meta_scale == "measured":
            self.signal_statistics = self.add_weight(
                name="signal_statistics", shape=(scales.STATISTICS,), dtype=self.loss_dtype,
                trainable=False, initializer="zeros")
        self._add_means("student_loss", "R", *(f"teacher_{name}" for name in objective.terms),
                        "teacher_meta_loss", "meta_gradient_norm", "pseudo_label_entropy",
                        "pseudo_label_confidence", "agreement", "student_learning_rate",
                        "teacher_learning_rate")

    @property
    def networks(self) -> Dict[str, tf.keras.Model]:
        """{"student": network, "teacher": network}."""
        return {"student": self.student, "teacher": self.teacher}

    @property
    def classifiers(self) -> Dict[str, tf.keras.Model]:
        """{role: network} of the networks that take images, as evaluation sees them.

        The student is the one of averaged weights if `average_weights` was called.
        """
        images = {"student": self.student} if self._needs_probs else self.networks
        return {**images, **self._averaged}

    @property
    def _unsaved(self):
        return ("loss",) if self.meta_scale == "absolute" else ("loss", *scales.MEASURED)

    @property
    def _needs_probs(self):
        return ("labeled", "unlabeled") if self.teacher_input == "teacher_probs" else ()

    @property
    def optimizers(self) -> Dict[str, tf.keras.optimizers.Optimizer]:
        """{"student": optimizer, "teacher": optimizer}."""
        return {"student": self.student_optimizer, "teacher": self.teacher_optimizer}

    def compile(self, student_optimizer: Union[str, tf.keras.optimizers.Optimizer, None] = None,
                teacher_optimizer: Union[str, tf.keras.optimizers.Optimizer, None] = None,
                student_weight_decay: float = 0.0, teacher_weight_decay: float = 0.0,
                metrics: Optional[List[Any]] = None, **kwargs: Any) -> None:
        """Sets the optimizers.

        Args:
          student_optimizer: SGD, RMSprop or Adam of tf.keras.optimizers, or its name; the rate
            may be a schedule. Its update is differentiated, so options that change the update
            (clipping, ...) are refused.
          teacher_optimizer: any Keras optimizer, or its name.
          student_weight_decay, teacher_weight_decay: lambda of (lambda/2) |weights|^2, not on
            biases and batch-norm scales.
          metrics: Keras metrics of the student's logits; in training, of those on x_l.
          **kwargs: Keras's jit_compile, steps_per_execution, run_eagerly, weighted_metrics.

        Raises:
          ValueError: in one line, for an optimizer or a network that the step cannot do with.
        """
        if student_optimizer is None or teacher_optimizer is None or "optimizer" in kwargs:
            raise ValueError(f"{type(self).__name__} has two networks, and compile wants an optimizer "
                             f"for each: {self._compile_call}")
        student_optimizer = tf.keras.optimizers.get(student_optimizer)
        check_optimizer(student_optimizer)
        self._check_layers()
        self._compile(student_optimizer, metrics, kwargs)
        self.teacher_optimizer = tf.keras.optimizers.get(teacher_optimizer)
        check_scale(self.teacher_optimizer)
        if self.teacher_optimizer is student_optimizer:
            raise ValueError("student and teacher have one and the same optimizer object, which keeps "
                             "the state of one network: give each its own")
        self.student_weight_decay = student_weight_decay
        self.teacher_weight_decay = teacher_weight_decay
        self._diagnose_replicas = tf.function(
            lambda data: self.distribute_strategy.run(self._diagnose, args=(data,)))
        self._remember(student_weight_decay=student_weight_decay,
                       teacher_weight_decay=teacher_weight_decay, metrics=metrics, **kwargs)
        with self.distribute_strategy.scope():
            self._build_state()

    @property
    def student_optimizer(self) -> tf.keras.optimizers.Optimizer:
        """The student's optimizer; Keras's callbacks know it as `optimizer`."""
        return self.optimizer

    def get_config(self) -> Dict[str, Any]:
        """The constructor's arguments, serialised."""
        return {**super().get_config(), "meta_gradient": self.meta_gradient,
                "teacher_input": self.teacher_input, "meta_scale": self.meta_scale,
                "meta_signal": self.meta_signal, "microbatch_size": self.microbatch_size,
                "meta_weight": float(self.meta_weight.numpy())}

    def _check_layers(self):
        if self.meta_gradient == "jvp":
            check_replayable(**self.networks)
        if self.microbatch_size:
            check_sliceable(self.distribute_strategy.num_replicas_in_sync, **self.networks)

    def _check_spec(self, spec):
        super()._check_spec(spec)
        slices.check(self._unpack(spec), self.microbatch_size,
                     self.distribute_strategy.num_replicas_in_sync, bool(self.jit_compile))

    def _build(self, images):
        super()._build(images)
        self._check_layers()    # some may have been made with the weights

    def _networks_and_inputs(self, shape, dtype):
        found = super()._networks_and_inputs(shape, dtype)
        if self._needs_probs:
            found["teacher"] = self.teacher, tf.TensorSpec(
                (None, self.teacher.input_shape[-1]), self.loss_dtype)
        return found

    @keras_seam.as_written
    def train_step(self, data: Dict[str, Dict[str, tf.Tensor]]) -> Dict[str, tf.Tensor]:
        """Takes one step of student and teacher on a batch.

        Returns:
          {name: mean since the last reset}, of the compiled metrics of the student's logits on x_l
          and of:
            loss: student_loss, or not a number where R or a term of the teacher's is none.
            student_loss: the student's cross-entropy on the pseudo labels.
            R: the updated student's cross-entropy on x_l.
            teacher_supervised_loss, teacher_consistency_loss: the terms of the teacher's
              objective, unweighted.
            teacher_meta_loss: meta_weight R; meta_factor is the factor in use with other scales.
            meta_gradient_norm: the norm of dR / d(the teacher's logits on x_u), without
              meta_weight.
            pseudo_label_entropy: the mean entropy of the pseudo labels, in nats.
            pseudo_label_confidence: the mean of their largest probabilities.
            agreement: the fraction of x_u on which teacher and student have the same class.
            student_learning_rate, teacher_learning_rate: the rates of this step.
            meta_gradient_ratio, gradient_cosine, meta_factor: unless meta_scale is "absolute",
              |dR/dPsi| in units of the norm of the objective's gradient, before it is scaled, the
              cosine of the two, and what dR/dPsi is multiplied by.
        """
        batch = slices.check(self._unpack(data), self.microbatch_size)
        self._build(batch.student_view)
        rule = Rule(self.student_optimizer, passes.weights(self.student))
        teacher_rate = learning_rate(self.teacher_optimizer)
        step = tf.identity(self.student_optimizer.iterations)
        take_step = self._jvp_step if self.meta_gradient == "jvp" else self._nested_tape_step
        scalars, logits = take_step(batch, rule, step)
        scalars.update(student_learning_rate=rule.learning_rate, teacher_learning_rate=teacher_rate)
        return self._log({"loss": self._loss(scalars), **scalars}, batch.labels, logits,
                         batch.sample_weight)

    def _loss(self, scalars):
        """The student's loss; not a number where R or a term of the teacher's objective is none.

        Keras's callbacks know a run by it: TerminateOnNaN sees what any of the networks suffers.
        """
        watched = ["student_loss", "R", *(f"teacher_{name}" for name in self.objective.terms)]
        values = [tf.cast(scalars[name], self.loss_dtype) for name in watched]
        return tf.where(tf.reduce_all(tf.math.is_finite(tf.stack(values))), values[0],
                        tf.constant(float("nan"), self.loss_dtype))

    def build(self, input_shape):
        """Builds the networks.

        A teacher of "teacher_probs" is built for as many numbers as the student has classes.
        """
        if self._needs_probs and not self.teacher.built:
            keras_seam.build(self.student, input_shape)
            self.teacher.build(self.student.compute_output_shape(input_shape))
        super().build(input_shape)

    def _scalars(self, student_loss, validation_loss, terms, pseudo_labels, student_logits,
                 target_gradient):
        """What a step logs, as measured on this replica; see `train_step`."""
        scalars = {
            "student_loss": student_loss, "R": validation_loss,
            "teacher_meta_loss": tf.cast(self.meta_weight, validation_loss.dtype) * validation_loss,
            "meta_gradient_norm": passes.replica_norm(
                meta_gradient.through_softmax(pseudo_labels, target_gradient)),
            "pseudo_label_entropy": targets.entropy(pseudo_labels),
            "pseudo_label_confidence": tf.reduce_mean(tf.reduce_max(pseudo_labels, axis=-1)),
            "agreement": targets.agreement(pseudo_labels, student_logits)}
        return {**scalars, **{f"teacher_{name}": value for name, value in terms.items()}}

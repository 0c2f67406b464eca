"""What a step of Meta Pseudo Labels does not measure, because it would cost too much in every step."""

from __future__ import annotations

from typing import Dict

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import meta_gradient, meta_scale, passes, slices
from mpl_tf.method.update_rules import Rule


class Diagnostics:
    """What mpl.MetaPseudoLabels can measure beside its steps; it is mixed into that class."""

    def diagnostics(self, data: Dict[str, Dict[str, tf.Tensor]]) -> Dict[str, tf.Tensor]:
        """Measures, at the present weights, what costs too much for every step; changes nothing.

        Args:
          data: a training batch; under a strategy the per-replica values that an iterator gives.

        Returns:
          A dict of scalars, and of the pseudo labels, where dR/dPsi is that of meta_signal:
            R_before: R at Theta, before an update.
            gradient_cosine: the cosine of dR/dPsi and the gradient of the teacher's objective.
            meta_gradient_norm_weights: |dR/dPsi|.
            objective_gradient_norm_weights: the norm of the gradient of the teacher's objective.
            meta_gradient_agreement: the cosine of two meta gradients, one of the first halves of x_l
              and x_u and one of the second (on a replica, of its share): how much of the signal is
              not the choice of examples. Not a number for batches of one example. With
              microbatch_size a half is the whole batch, the other half without weight.
            pseudo_labels: [B_u, K], those of the first replica of this process.
        """
        strategy = self.distribute_strategy
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0],
                                     self._diagnose_replicas(data))

    @keras_seam.as_written
    def _diagnose(self, data):
        batch = slices.check(self._unpack(data), self.microbatch_size)
        self._build(batch.student_view)
        student_weights = passes.weights(self.student)
        teacher_weights = passes.weights(self.teacher)
        rule = Rule(self.student_optimizer, student_weights)
        step = tf.identity(self.student_optimizer.iterations)
        sliced = self.microbatch_size is not None
        with passes.weights_restored(student_weights), passes.averages_restored(self.student), \
                passes.averages_restored(self.teacher):
            teacher, gradients, signal_along = (
                self._of_slices(batch, step) if sliced else self._of_tapes(batch, step))
            loss_before, _, _ = self._validation_gradient(batch, step)
            averaged = passes.add_weight_decay(
                passes.replica_mean(gradients), student_weights, self.student_weight_decay)
            passes.assign(student_weights, [tf.convert_to_tensor(weight) + delta for weight, delta
                                            in zip(student_weights, rule.deltas(averaged))])
            _, _, v = self._validation_gradient(batch, step)
            halves = _halves_by_weight(batch, self.loss_dtype) if sliced else _halves(batch)
            of_halves = [self._validation_gradient(half, step)[-1] for half in halves]
        tape, teacher_loss, pseudo_labels = teacher
        signal, *signals = (self._signal(signal_along(rule.vjp(averaged, each)))
                            for each in (v, *of_halves))
        first = tf.range(tf.shape(signal)[0])[:, None] < tf.shape(signal)[0] // 2
        nothing = tf.zeros_like(signal)
        of_q = [signal, tf.where(first, signals[0], nothing), tf.where(first, nothing, signals[1])]
        meta, *halves = (meta_scale.over_weights(tape, pseudo_labels, each, teacher_weights)
                         for each in of_q)
        objective = meta_scale.over_weights(tape, teacher_loss, None, teacher_weights)
        meta_norm, objective_norm, cosine = meta_scale.compared(meta, objective)
        return {"R_before": passes.replica_mean(loss_before), "gradient_cosine": cosine,
                "meta_gradient_norm_weights": meta_norm,
                "meta_gradient_agreement": meta_scale.compared(*halves)[-1],
                "objective_gradient_norm_weights": objective_norm, "pseudo_labels": pseudo_labels}

    def _of_tapes(self, batch, step):
        """((the teacher's tape, its loss, q), the student's gradient g, w -> dR/dq), of whole batches."""
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(passes.weights(self.teacher))
            loss, _, logits = self._teacher_passes(batch, step)
            pseudo_labels = tf.nn.softmax(logits)
            _, _, gradients, q_tape = meta_gradient.student_gradients(
                lambda: self._student_pass(batch.student_view, step), passes.weights(self.student),
                pseudo_labels, persistent=True)
        return (tape, loss, pseudo_labels), gradients, lambda w: meta_gradient.by_nested_tape(
            q_tape, gradients, pseudo_labels, w)

    def _of_slices(self, batch, step):
        """The same in the memory of a slice; the signal is taken at the student's weights of its time."""
        labelled = self._labelled(batch, step)
        _, _, gradients = self._student_gradient(batch, step, labelled.pseudo_labels)

        def signal_along(w):
            with passes.averages_restored(self.student):
                return self._forward_mode(batch, step, w)

        return (labelled, labelled.loss, labelled.pseudo_labels), gradients, signal_along


def _halves(batch):
    """The labeled batch as R sees it, its first half and its second."""
    seen = {name: getattr(batch, name) for name in ("labels", "labeled_image", "sample_weight")
            if getattr(batch, name) is not None}
    middle = tf.shape(batch.labels)[0] // 2
    return [batch._replace(**{name: value[part] for name, value in seen.items()})
            for part in (slice(None, middle), slice(middle, None))]


def _halves_by_weight(batch, dtype):
    """The whole batch twice, with weights of examples by which R is that of its first or second half."""
    count = tf.shape(batch.labels)[0]
    first = tf.cast(tf.range(count) < count // 2, dtype)
    weights = 1.0 if batch.sample_weight is None else tf.cast(batch.sample_weight, dtype)
    return [batch._replace(sample_weight=weights * half * tf.cast(count, dtype) / tf.reduce_sum(half))
            for half in (first, 1.0 - first)]

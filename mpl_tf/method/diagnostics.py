"""What a step of Meta Pseudo Labels does not measure, because it would cost too much in every step."""

from __future__ import annotations

from typing import Dict

import tensorflow as tf

from mpl_tf.method import meta_gradient, passes
from mpl_tf.method.update_rules import Rule


class Diagnostics:
    """What mpl.MetaPseudoLabels can measure beside its steps; it is mixed into that class."""

    def diagnostics(self, data: Dict[str, Dict[str, tf.Tensor]]) -> Dict[str, tf.Tensor]:
        """Measures, at the present weights, what costs too much for every step; changes nothing.

        Args:
          data: a training batch; under a strategy the per-replica values that an iterator gives.

        Returns:
          A dict of scalars, and of the pseudo labels:
            R_before: R at Theta, before an update.
            gradient_cosine: the cosine of dR/dPsi and the gradient of the teacher's objective.
            meta_gradient_norm_weights: |dR/dPsi|.
            objective_gradient_norm_weights: the norm of the gradient of the teacher's objective.
            pseudo_labels: [B_u, K], those of the first replica of this process.
        """
        strategy = self.distribute_strategy
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0],
                                     self._diagnose_replicas(data))

    def _diagnose(self, data):
        batch = self._unpack(data)
        self._build(batch.student_view)
        student_weights = passes.weights(self.student)
        teacher_weights = passes.weights(self.teacher)
        rule = Rule(self.student_optimizer, student_weights)
        step = tf.identity(self.student_optimizer.iterations)
        with passes.weights_restored(student_weights), passes.averages_restored(self.student), \
                passes.averages_restored(self.teacher):
            with tf.GradientTape(watch_accessed_variables=False, persistent=True) as teacher_tape:
                teacher_tape.watch(teacher_weights)
                teacher_loss, _, teacher_logits = self._teacher_passes(batch, step)
                pseudo_labels = tf.nn.softmax(teacher_logits)
                _, _, gradients, q_tape = meta_gradient.student_gradients(
                    lambda: self._student_pass(batch, step), student_weights, pseudo_labels)
            loss_before, _, _ = self._validation_gradient(batch, step)
            averaged = passes.add_weight_decay(
                passes.replica_mean(gradients), student_weights, self.student_weight_decay)
            passes.assign(student_weights, [tf.convert_to_tensor(weight) + delta for weight, delta
                                            in zip(student_weights, rule.deltas(averaged))])
            _, _, v = self._validation_gradient(batch, step)
        target_gradient = meta_gradient.by_nested_tape(
            q_tape, gradients, pseudo_labels, rule.vjp(averaged, v))
        meta, objective = (
            passes.replica_mean(teacher_tape.gradient(
                target, teacher_weights, output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO))
            for target, upstream in ((pseudo_labels, target_gradient), (teacher_loss, None)))
        norms = tf.linalg.global_norm(meta), tf.linalg.global_norm(objective)
        inner = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(meta, objective)])
        return {"R_before": passes.replica_mean(loss_before),
                "gradient_cosine": tf.math.divide_no_nan(inner, norms[0] * norms[1]),
                "meta_gradient_norm_weights": norms[0],
                "objective_gradient_norm_weights": norms[1], "pseudo_labels": pseudo_labels}

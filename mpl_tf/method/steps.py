"""The step of Meta Pseudo Labels by the nested tape, and what it has in common with that by jvp."""

from __future__ import annotations

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import meta_gradient, meta_scale, passes, slices, targets


class Steps:
    """The parts of a step of mpl.MetaPseudoLabels, in its order; it is mixed into that class."""

    def _nested_tape_step(self, batch, rule, step):
        """Steps 1-5 with the student's tape inside the teacher's.

        Returns (scalars, the student's logits on x_l).
        """
        with self._teacher_tape() as teacher_tape:
            teacher_tape.watch(passes.weights(self.teacher))
            teacher_loss, terms, teacher_logits = self._teacher_passes(batch, step)         # 1.
            pseudo_labels = tf.nn.softmax(teacher_logits)
            student_loss, student_logits, gradients, q_tape = meta_gradient.student_gradients(
                lambda: self._student_pass(batch.student_view, step), passes.weights(self.student),
                pseudo_labels)
        applied = self._apply("student", gradients, self.student_weight_decay)              # 2.
        validation_loss, validation_logits, v = self._validation_gradient(batch, step)      # 3.
        target_gradient = meta_gradient.by_nested_tape(                                     # 4.
            q_tape, gradients, pseudo_labels, rule.vjp(applied, v))
        measured = self._update_teacher(                                                    # 5.
            teacher_tape, teacher_loss, pseudo_labels, target_gradient)
        return {**measured, **self._scalars(
            student_loss, validation_loss, terms, pseudo_labels, student_logits,
            target_gradient)}, validation_logits

    def _teacher_passes(self, batch, step):
        """Returns (the teacher's loss on its objective, its terms, the teacher's logits on x_u).

        The logits are those on the student's view. Batch-norm averages move in the passes that the
        objective makes. A pass that only labels x_u leaves them as they are, so that the control's
        teacher trains as the baseline.
        """
        batch = self._seen_by_teacher(batch)
        loss, terms, _, logits = passes.objective_passes(
            self.teacher, self.objective, batch, self.seed, step)
        if logits is None:
            seed = passes.pass_seed(self.seed, step, passes.TEACHER_UNLABELED)
            with passes.averages_restored(self.teacher):
                logits = passes.forward(self.teacher, batch.student_view, seed)
        return loss, terms, logits

    def _seen_by_teacher(self, batch):
        """The batch with stored distributions in the place of images, where the teacher takes those."""
        if not self._needs_probs:
            return batch
        return batch._replace(labeled_view=batch.labeled_probs, student_view=batch.unlabeled_probs)

    def _student_pass(self, view, step):
        """The student's logits on x_u, or a slice of it, in training mode; its averages move."""
        seed = passes.pass_seed(self.seed, step, passes.STUDENT_UNLABELED)
        return passes.forward(self.student, view, seed)

    def _validation_gradient(self, batch, step):
        """Returns (R, the student's logits on x_l, v = dR/dTheta) at the present weights (Eq. 2).

        R is plain cross-entropy on one-hot labels, taken in training mode. The batch-norm averages
        are put back.
        """
        weights = passes.weights(self.student)
        seed = passes.pass_seed(self.seed, step, passes.STUDENT_LABELED)

        def loss_of(logits, labels, sample_weight=None):
            return targets.cross_entropy(targets.one_hot(labels, logits.shape[-1], logits.dtype),
                                         logits, sample_weight)

        def body(images, *of_examples):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                logits = passes.forward(self.student, images, seed)
                loss = loss_of(logits, *of_examples)
            v = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return [tf.convert_to_tensor(each) for each in v], logits

        of_examples = [each for each in (batch.labels, batch.sample_weight) if each is not None]
        with passes.averages_restored(self.student):
            sums, logits = slices.over(self.microbatch_size, (batch.labeled_image, *of_examples), body,
                                       weights, self.loss_dtype)
        return (loss_of(logits, *of_examples), logits,
                passes.replica_mean(slices.averaged(self.microbatch_size, logits, sums)))

    def _update_teacher(self, teacher_tape, teacher_loss, pseudo_labels, target_gradient):
        """Updates the teacher by dL/dPsi + s dR/dPsi, with dR/dPsi = (dq/dPsi)^T dR/dq.

        s is meta_weight, or follows from it as `meta_scale` says. Returns what is logged of that.
        """
        target_gradient = self._signal(target_gradient)
        weights = passes.weights(self.teacher)
        weight = tf.cast(self.meta_weight, target_gradient.dtype)
        if self.meta_scale == "absolute":
            gradients = passes.replica_mean([tf.convert_to_tensor(g) for g in teacher_tape.gradient(
                [teacher_loss, pseudo_labels], weights,
                output_gradients=[tf.ones_like(teacher_loss), weight * target_gradient],
                unconnected_gradients=tf.UnconnectedGradients.ZERO)])
            measured = {}
        else:
            meta = meta_scale.over_weights(teacher_tape, pseudo_labels, target_gradient, weights)
            with passes.after(meta):     # not both passes' activations at a time
                objective = meta_scale.over_weights(teacher_tape, teacher_loss, None, weights)
            gradients, measured = self._scaled(meta, objective, weight)
        self._apply_averaged("teacher", gradients, self.teacher_weight_decay)
        return measured

    def _scaled(self, meta, objective, weight):
        """(the teacher's gradients, what was measured) of m and g by a scale that compares them."""
        if self.meta_scale == "relative":
            return meta_scale.relative(meta, objective, weight)
        gradients, measured, statistics = meta_scale.measured(
            meta, objective, weight, tf.convert_to_tensor(self.signal_statistics),
            self.teacher_optimizer.iterations)
        passes.assign(keras_seam.tf_variables([self.signal_statistics]),
                      [tf.cast(statistics, self.loss_dtype)])
        return gradients, measured

    def _signal(self, target_gradient):
        """What the teacher gets of dR/dq [B_u, K]: meta_signal."""
        return (meta_scale.shuffled(target_gradient) if self.meta_signal == "shuffled"
                else target_gradient)

    def _teacher_tape(self):
        """A tape for the teacher's last pass, from which both gradients can be had one by one."""
        return tf.GradientTape(watch_accessed_variables=False,
                               persistent=self.meta_scale != "absolute")

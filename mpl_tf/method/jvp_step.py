"""The step by forward mode, in the order that needs least memory, on whole batches or in slices.

At no time are the activations of two backward passes in memory, and with `microbatch_size` only those
of a slice:

    1. teacher on x_u (and x_l), nothing kept: q, and the objective's gradient over the logits
    2. student on x_u, forwards and backwards: g, and the update
    3. student on x_l, forwards and backwards: v
    4. student on x_u, in forward mode along w, at the weights from before the update: dR/dq
    5. teacher on x_l, and then on x_u, forwards and backwards from these gradients over the logits

The objective is evaluated on the logits of the whole batch in stage 1, so that any objective is what it
is without slices. In stage 5 the teacher's passes are made again, each with what comes into it from
stages 1 and 4. So x_l and x_u do not meet there. Where an objective wants two views of x_u in one pass
(UDA with joint_views), batch norm's statistics tie them, and both are held.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import tensorflow as tf

from mpl_tf.method import batches, meta_gradient, objectives, passes, slices, targets

ZERO = tf.UnconnectedGradients.ZERO


class JvpStep:
    """A step of mpl.MetaPseudoLabels in this order; it is mixed into that class."""

    def _jvp_step(self, batch, rule, step):
        """Returns (scalars, the student's logits on x_l)."""
        student_weights = passes.weights(self.student)
        labelled = self._labelled(batch, step)                                              # 1.
        variables = [*student_weights, *passes.averages(self.student)]
        old = [tf.identity(variable) for variable in variables]
        student_loss, student_logits, gradients = self._student_gradient(
            batch, step, labelled.pseudo_labels)
        applied = self._apply("student", gradients, self.student_weight_decay)              # 2.
        validation_loss, validation_logits, v = self._validation_gradient(batch, step)      # 3.
        w = rule.vjp(applied, v)
        # Without this the next pass would begin at once, and its activations would wait for w.
        with passes.after(w):
            updated = [tf.identity(variable) for variable in variables]
            passes.assign(variables, old)
            target_gradient = self._forward_mode(batch, step, w)                            # 4.
        # The teacher's activations are made only now that the student's are gone.
        with passes.after([target_gradient]):
            passes.assign(variables, updated)
            measured = self._update_teacher(                                                # 5.
                labelled, labelled.loss, labelled.pseudo_labels, target_gradient)
        return {**measured, **self._scalars(
            student_loss, validation_loss, labelled.terms, labelled.pseudo_labels, student_logits,
            target_gradient)}, validation_logits

    def _labelled(self, batch, step):
        """The Labelled of a batch. The averages of the teacher move as in a step."""
        return Labelled(self.teacher, self.objective, self._seen_by_teacher(batch), self.seed, step,
                        self.microbatch_size, self.loss_dtype)

    def _student_gradient(self, batch, step, pseudo_labels):
        """Returns (the student's loss on pseudo labels, its logits, its gradient g)."""
        weights = passes.weights(self.student)

        def body(view, labels):
            _, logits, gradients, _ = meta_gradient.student_gradients(
                lambda: self._student_pass(view, step), weights, labels)
            return gradients, logits

        sums, logits = slices.over(self.microbatch_size, (batch.student_view, pseudo_labels), body,
                                   weights, self.loss_dtype)
        return (targets.cross_entropy(pseudo_labels, logits), logits,
                slices.averaged(self.microbatch_size, logits, sums))

    def _forward_mode(self, batch, step, w):
        """dR/dq [B_u, K] at the student's present weights, which are those from before the update."""
        weights = passes.weights(self.student)
        _, of_slices = slices.over(
            self.microbatch_size, (batch.student_view,), lambda view: ((), meta_gradient.by_jvp(
                lambda: self._student_pass(view, step), weights, w)), dtype=self.loss_dtype)
        return slices.averaged(self.microbatch_size, of_slices, [of_slices])[0]


class Labelled:
    """What the teacher makes of a batch, and gradients of that, for which its passes are made again.

    The teacher's batch-norm averages move, by the passes of its objective, when this is made.

    Attributes:
      loss, terms: of the objective.
      pseudo_labels: q [B_u, K].
    """

    def __init__(self, teacher: tf.keras.Model, objective: objectives.Objective, batch: batches.Batch,
                 seed: int, step: tf.Tensor, size: Optional[int], dtype: tf.DType) -> None:
        """Makes the passes, as passes.objective_passes does, and evaluates the objective.

        Args:
          batch: as the teacher sees it.
          seed, step: those of the masks.
          size: of a slice, or None.
          dtype: of the logits.
        """
        self._weights = passes.weights(teacher)
        self._passes = []

        def logits_of(number, *views):
            self._passes.append(_Pass(teacher, views, passes.pass_seed(seed, step, number), size, dtype))
            return self._passes[-1].logits()

        logits = logits_of(passes.TEACHER_LABELED, batch.labeled_view)
        batches.check_labels(batch.labels, logits[0].shape[-1])
        if objective.unlabeled:     # in the order of passes.objective_passes
            if objective.joint_views:
                logits += logits_of(passes.TEACHER_UNLABELED, batch.weak_view, batch.student_view)
            else:
                logits += logits_of(passes.TEACHER_WEAK, batch.weak_view)
                logits += logits_of(passes.TEACHER_UNLABELED, batch.student_view)
            strong_logits = logits[-1]
        else:
            with passes.averages_restored(teacher):
                [strong_logits] = logits_of(passes.TEACHER_UNLABELED, batch.student_view)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(logits)
            self.loss, self.terms = objectives.losses_of(
                objective, batch.labels, *logits, sample_weight=batch.sample_weight)
        self._of_logits = tape.gradient(self.loss, logits)
        self._of_logits += [None] * (not objective.unlabeled)     # of the logits that only q is made of
        self.pseudo_labels = tf.nn.softmax(strong_logits)

    def gradient(self, target: Any, sources: Sequence[tf.Variable], output_gradients: Any = None,
                 unconnected_gradients: tf.UnconnectedGradients = ZERO) -> List[tf.Tensor]:
        """Answers as a tape of the teacher's passes would, by making those that matter again.

        Args:
          target: `loss`, `pseudo_labels`, or a list of both.
          sources: the teacher's trainable weights.
          output_gradients: of each target; None stands for 1 of the loss.
          unconnected_gradients: weights that nothing reaches have zeros.
        """
        asked = tf.nest.flatten(target)
        given = [None] * len(asked) if output_gradients is None else tf.nest.flatten(output_gradients)
        of_targets = {id(each): factor for each, factor in zip(asked, given)}
        upstream = [None] * len(self._of_logits)
        if id(self.loss) in of_targets:
            factor = of_targets[id(self.loss)]
            upstream = [each if each is None or factor is None else tf.cast(factor, each.dtype) * each
                        for each in self._of_logits]
        if id(self.pseudo_labels) in of_targets:
            of_q = meta_gradient.through_softmax(self.pseudo_labels, of_targets[id(self.pseudo_labels)])
            upstream[-1] = of_q if upstream[-1] is None else upstream[-1] + of_q
        found = []
        for each in self._passes:
            own, upstream = upstream[:each.views], upstream[each.views:]
            if any(one is not None for one in own):
                # One after the other: together they would hold the activations of all.
                with passes.after([one for gradients in found for one in gradients]):
                    found.append(each.gradients(own, self._weights))
        if not found:
            return [tf.zeros_like(weight) for weight in self._weights]
        # What comes into a pass here does not come out of its own logits. So nothing but a control edge
        # lets the weights be read before they are updated, and TensorFlow 2.21's graph optimizer loses some.
        with passes.after([each for gradients in found for each in gradients]):
            # Added up in a tape's order, the last pass first, as the control has to be the baseline to the bit.
            return [tf.add_n(each) if len(each) > 1 else tf.identity(each[0]) for each in zip(*found[::-1])]


class _Pass:
    """A pass of the teacher over one or two views of a part of the batch, which can be made again."""

    def __init__(self, network, views, seed, size, dtype):
        self._network, self._views, self._seed, self._size, self._dtype = (
            network, views, seed, size, dtype)
        self.views = len(views)
        self._averages = [tf.identity(variable) for variable in passes.averages(network)]

    def logits(self):
        """The logits [B, K] of each view; the averages move."""
        _, beside = slices.over(
            self._size, self._views, lambda *views: ((), tf.concat(self._run(views), axis=-1)),
            dtype=self._dtype, views=self.views)
        return tf.split(beside, self.views, axis=-1)

    def gradients(self, of_logits, weights):
        """The gradients over `weights` of what has the gradients `of_logits` over each view's logits.

        None stands for zeros; one of them at least is given.
        The pass has the masks and the averages that it had, and leaves the averages as they are.
        """
        def body(*given):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                logits = self._run(given[:self.views])
            found = tape.gradient(logits, weights, output_gradients=given[self.views:],
                                  unconnected_gradients=ZERO)
            return [tf.convert_to_tensor(each) for each in found], None

        nothing = tf.zeros_like(next(each for each in of_logits if each is not None))
        of_logits = [nothing if each is None else each for each in of_logits]
        with passes.averages_restored(self._network):
            passes.assign(passes.averages(self._network), self._averages)
            return slices.over(self._size, [*self._views, *of_logits], body, weights,
                               views=self.views)[0]

    def _run(self, views):
        stacked = views[0] if len(views) == 1 else tf.concat(views, axis=0)
        return tf.split(passes.forward(self._network, stacked, self._seed), len(views))

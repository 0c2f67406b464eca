"""How long the meta gradient is beside the gradient of the teacher's own objective.

    absolute    the teacher descends along  g + w m                       the paper's, w = meta_weight
    relative    the teacher descends along  g + w (|g| / |m|) m
    measured    the teacher descends along  g + w room (<|g|> / <|m|>) m

g is the gradient of the teacher's objective over its weights Psi, m = dR/dPsi the meta gradient, both
averaged over replicas and without weight decay, and |.| the norm over all weights together. Only the
length of m differs: m is proportional to the student's rate of the step (Eq. 1) and fades with it and
with R, so that a weight that fits one task, schedule or optimizer does not fit another.

measured: <.> is the mean over the steps so far in which m was more than rounding noise (none are, while the
student's rate is 0), so that <|g|> / <|m|> brings both to the same units and m keeps its own course: it fades with the student's rate, and stays when a teacher that knows its labels
by heart has no gradient of its own left. room = 1 - recent |g| / largest |g| is what the objective has
come down by: 0 while the teacher learns from its labels as fast as ever, when any other push costs more
than it brings, and near 1 where few labels are learned by heart.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from mpl_tf.method import objectives, passes

SCALES = ("absolute", "relative", "measured")
SIGNALS = ("exact", "shuffled")
# What `relative` and `measured` give beside the gradients.
MEASURED = ("meta_gradient_ratio", "gradient_cosine", "meta_factor")

STATISTICS = 4      # how many numbers `measured` remembers: see there
WINDOW = 100        # steps of the recent mean of |g|
FIRST = 10          # the largest recent mean is looked for from its last value before this step on: earlier
                    # ones are means of few steps


def check(scale: str, signal: str, objective: objectives.Objective) -> None:
    """Raises ValueError, in one line, for an unknown scale or signal, or an objective without weight."""
    for name, value, known in (("meta_scale", scale, SCALES), ("meta_signal", signal, SIGNALS)):
        if value not in known:
            choices = ", ".join(f'"{each}"' for each in known[:-1])
            raise ValueError(f'{name}={value!r}: give {choices} or "{known[-1]}"')
    weights = {name: getattr(objective, name, None) for name, flag in objective.flags.items()
               if flag.endswith("weight")}
    if scale != "absolute" and weights and not any(weights.values()):
        raise ValueError(f'meta_scale="{scale}" with {type(objective).__name__}({min(weights)}=0.0): the '
                         "length of the meta gradient is relative to the objective's, which is 0; give "
                         'it a weight above 0, or use meta_scale="absolute"')


def shuffled(target_gradient: tf.Tensor) -> tf.Tensor:
    """dR/dq [B_u, K] rolled by one example: the same numbers, for the wrong images.

    A control that tells information from noise. It is rolled within the batch of a replica.

    Raises:
      ValueError: in one line, for a batch of one example, which has no wrong image.
      tf.errors.InvalidArgumentError: with that line, where the graph does not know the batch's size.
    """
    line = 'meta_signal="shuffled" with an unlabeled batch of 1 example on a replica: give it at least 2'
    size = target_gradient.shape[0]
    if size == 1:
        raise ValueError(line)
    check = [] if size else [tf.debugging.Assert(tf.shape(target_gradient)[0] > 1, [line])]
    with tf.control_dependencies(check):
        return tf.roll(target_gradient, shift=1, axis=0)


def over_weights(tape: tf.GradientTape, target: tf.Tensor, upstream: Optional[tf.Tensor],
                 weights: Sequence[tf.Variable]) -> List[tf.Tensor]:
    """The gradient of `target` over `weights`, averaged over replicas.

    Args:
      tape: a persistent tape of the teacher's passes.
      target: the teacher's loss, or the pseudo labels q [B_u, K].
      upstream: None for a loss; dR/dq [B_u, K] for q, which gives m.
      weights: Psi.
    """
    return passes.replica_mean([tf.convert_to_tensor(gradient) for gradient in tape.gradient(
        target, weights, output_gradients=upstream,
        unconnected_gradients=tf.UnconnectedGradients.ZERO)])


def compared(meta: Sequence[tf.Tensor], objective: Sequence[tf.Tensor],
             ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(|m|, |g|, their cosine), scalars; the cosine is 0 where one of the norms is.

    They are float32, or float64 if one of the gradients is: bfloat16 would round the sums away.
    """
    dtype = tf.float64 if any(g.dtype == tf.float64 for g in objective) else tf.float32
    meta, objective = ([tf.cast(g, dtype) for g in each] for each in (meta, objective))
    norms = tf.linalg.global_norm(meta), tf.linalg.global_norm(objective)
    inner = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(meta, objective)])
    return (*norms, tf.math.divide_no_nan(inner, norms[0] * norms[1]))


def relative(meta: Sequence[tf.Tensor], objective: Sequence[tf.Tensor], weight: tf.Tensor,
             ) -> Tuple[List[tf.Tensor], Dict[str, tf.Tensor]]:
    """(g + w (|g| / |m|) m, {name: scalar} of what was measured).

    Args:
      meta, objective: m and g.
      weight: w, a scalar.
    """
    meta_norm, objective_norm, cosine = compared(meta, objective)
    stretch = tf.math.divide_no_nan(objective_norm, meta_norm)
    return _sum(meta, objective, tf.cast(weight, stretch.dtype) * stretch, meta_norm, objective_norm, cosine)


def measured(meta: Sequence[tf.Tensor], objective: Sequence[tf.Tensor], weight: tf.Tensor,
             statistics: tf.Tensor, step: tf.Tensor,
             ) -> Tuple[List[tf.Tensor], Dict[str, tf.Tensor], tf.Tensor]:
    """(g + w room (<|g|> / <|m|>) m, {name: scalar} of what was measured, the new statistics).

    Args:
      meta, objective: m and g.
      weight: w, a scalar.
      statistics: float [STATISTICS] of the steps before this one, zeros before the first: the means
        of |g| and |m| over all steps, both counted as 0 where m was rounding noise, which leaves
        their ratio that of the others; the mean of |g| over about the last WINDOW steps; and the
        largest value that this had from the step before FIRST on. A step whose norms are not finite, which an
        optimizer with a loss scale leaves out, changes none.
      step: how many steps were taken before this one, a scalar integer.
    """
    meta_norm, objective_norm, cosine = compared(meta, objective)
    dtype = meta_norm.dtype
    count = tf.cast(step, dtype) + 1.0
    mean_objective, mean_meta, recent, largest = tf.unstack(tf.cast(statistics, dtype))
    heard = tf.cast(_is_heard(meta_norm, objective_norm), dtype)
    mean_objective += (heard * objective_norm - mean_objective) / count
    mean_meta += (heard * meta_norm - mean_meta) / count
    recent += (objective_norm - recent) / tf.minimum(count, float(WINDOW))
    largest = tf.where(count < float(FIRST), recent, tf.maximum(largest, recent))
    room = 1.0 - tf.math.divide_no_nan(recent, largest)
    factor = tf.cast(weight, dtype) * room * tf.math.divide_no_nan(mean_objective, mean_meta)
    new = tf.stack([mean_objective, mean_meta, recent, largest])
    finite = tf.math.is_finite(meta_norm) & tf.math.is_finite(objective_norm)
    return (*_sum(meta, objective, factor, meta_norm, objective_norm, cosine),
            tf.where(finite, new, tf.cast(statistics, dtype)))


def _is_heard(meta_norm, objective_norm):
    """Whether m is more than rounding noise beside g: longer than 8 of the units in the last place of |g|."""
    noise = 8.0 * np.finfo(meta_norm.dtype.as_numpy_dtype).eps
    return meta_norm > noise * objective_norm


def _sum(meta, objective, factor, meta_norm, objective_norm, cosine):
    """(g + factor m, what was measured), without m where it is noise: nothing, made as long as something."""
    factor = tf.where(_is_heard(meta_norm, objective_norm), factor, 0.0)
    ratio = tf.math.divide_no_nan(meta_norm, objective_norm)
    return ([g + tf.cast(factor, g.dtype) * m for g, m in zip(objective, meta)],
            dict(zip(MEASURED, (ratio, cosine, factor))))

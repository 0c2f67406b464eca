"""Learning-rate schedules with a linear warm-up."""

from __future__ import annotations

import math
from typing import Any, Dict, Union

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `learning_rate`, then cosine decay to 0 (Appendix C.1).

        eta(t) = learning_rate (t + 1) / warmup_steps                        t < warmup_steps
        eta(t) = learning_rate (1 + cos(pi (t - warmup_steps)
                                / (total_steps - warmup_steps))) / 2         then
        eta(t) = 0                                                           t >= total_steps

    t counts from 0: it is the optimizer's `iterations` before its update. The warm-up has t + 1
    because with t / warmup_steps the first rate would be 0, and a first step that does not move the
    student has no meta gradient either. The first rate of the decay, at t = warmup_steps, is the
    highest.

    A call with an integer step (a scalar of any integer type) returns a float32 scalar.

    Args:
      learning_rate: the highest rate.
      total_steps: the number of training steps, those of the warm-up included.
      warmup_steps: the number of steps of the warm-up; 0 for none.

    Raises:
      ValueError: in one line, for a negative rate, no steps, or a warm-up longer than the training.
    """

    def __init__(self, learning_rate: float, total_steps: int, warmup_steps: int = 0) -> None:
        if not learning_rate >= 0.0:
            raise ValueError(f"learning_rate={learning_rate}: expected a number of at least 0")
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps}: expected at least 1 training step")
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(f"warmup_steps={warmup_steps} does not lie within the training's "
                             f"total_steps={total_steps}: warm up for fewer steps or train longer")
        self.learning_rate = float(learning_rate)
        self.total_steps, self.warmup_steps = int(total_steps), int(warmup_steps)

    def __call__(self, step: Union[int, tf.Tensor]) -> tf.Tensor:
        step = tf.cast(step, tf.int64)
        warmed = tf.cast(step + 1, tf.float32) / max(self.warmup_steps, 1)
        decayed = (tf.cast(step - self.warmup_steps, tf.float32)
                   / max(self.total_steps - self.warmup_steps, 1))
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(decayed, 0.0, 1.0)))
        # In the warm-up the cosine is 1, and after it `warmed` is at least 1: the smaller applies.
        rate = self.learning_rate * tf.minimum(warmed, cosine)
        return tf.where(step < self.total_steps, rate, 0.0)

    def get_config(self) -> Dict[str, Any]:
        return {"learning_rate": self.learning_rate, "total_steps": self.total_steps,
                "warmup_steps": self.warmup_steps}


@tf.keras.utils.register_keras_serializable(package="mpl_tf")
class WarmupExponential(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, and decay by steps: Tan & Le's (2019) schedule of EfficientNet.

        eta(t) = learning_rate (t + 1) / warmup_steps                 t < warmup_steps
        eta(t) = learning_rate decay_rate^floor(t / decay_steps)      then

    t counts from 0, as for WarmupCosine. In Tan & Le's code decay_rate is 0.97, decay_steps are 2.4
    of 350 epochs, and warmup_steps are 5 epochs.

    A call with an integer step (a scalar of any integer type) returns a float32 scalar.

    Args:
      learning_rate: the highest rate.
      decay_steps: steps from one decay to the next, counted from the training's first step.
      decay_rate: the factor of each decay, above 0 and at most 1.
      warmup_steps: the number of steps of the warm-up; 0 for none.

    Raises:
      ValueError: in one line, for a negative rate or a value outside its range.
    """

    def __init__(self, learning_rate: float, decay_steps: int, decay_rate: float = 0.97,
                 warmup_steps: int = 0) -> None:
        if not learning_rate >= 0.0:
            raise ValueError(f"learning_rate={learning_rate}: expected a number of at least 0")
        if decay_steps < 1 or warmup_steps < 0:
            raise ValueError(f"decay_steps={decay_steps}, warmup_steps={warmup_steps}: expected at "
                             "least 1 step from decay to decay, and at least 0 of warm-up")
        if not 0.0 < decay_rate <= 1.0:
            raise ValueError(f"decay_rate={decay_rate}: expected a number above 0 and at most 1")
        self.learning_rate, self.decay_rate = float(learning_rate), float(decay_rate)
        self.decay_steps, self.warmup_steps = int(decay_steps), int(warmup_steps)

    def __call__(self, step: Union[int, tf.Tensor]) -> tf.Tensor:
        step = tf.cast(step, tf.int64)
        decays = tf.cast(step // self.decay_steps, tf.float32)
        warmed = tf.cast(step + 1, tf.float32) / max(self.warmup_steps, 1)
        factor = tf.where(step < self.warmup_steps, warmed, tf.pow(self.decay_rate, decays))
        return self.learning_rate * factor

    def get_config(self) -> Dict[str, Any]:
        return {"learning_rate": self.learning_rate, "decay_steps": self.decay_steps,
                "decay_rate": self.decay_rate, "warmup_steps": self.warmup_steps}

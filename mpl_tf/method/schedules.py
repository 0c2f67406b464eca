"""Learning-rate schedules."""

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

    t counts from 0, the optimizer's `iterations` before its update. The warm-up has t + 1: with
    t / warmup_steps the first rate would be 0, and a first step that moves no student has no meta
    gradient either. The first rate of the decay, at t = warmup_steps, is the full one.

    Args:
      learning_rate: the highest rate.
      total_steps: training steps in all, warm-up included.
      warmup_steps: 0 for none.

    Called with an integer step (scalar, any type) it returns a float32 scalar.

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

    t counts from 0, as for WarmupCosine. Tan & Le: decay_rate 0.97 every 2.4 epochs of 350, 5
    epochs of warm-up, as in their code.

    Args:
      learning_rate: the highest rate.
      decay_steps: steps from one decay to the next, counted from the training's first step.
      decay_rate: what each multiplies by.
      warmup_steps: 0 for none.

    Called with an integer step (scalar, any type) it returns a float32 scalar.

    Raises:
      ValueError: in one line, for a negative rate or steps that cannot be.
    """

    def __init__(self, learning_rate: float, decay_steps: int, decay_rate: float = 0.97,
                 warmup_steps: int = 0) -> None:
        if not learning_rate >= 0.0:
            raise ValueError(f"learning_rate={learning_rate}: expected a number of at least 0")
        if decay_steps < 1 or warmup_steps < 0:
            raise ValueError(f"decay_steps={decay_steps}, warmup_steps={warmup_steps}: expected at "
                             "least 1 and 0")
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

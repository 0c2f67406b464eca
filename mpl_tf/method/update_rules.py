"""How the student's weights move, f_Theta(Psi), and its derivative (Appendix B, Eqs. 5-8).

For each rule one pure function gives the step Delta = f(g; slots) that Keras's optimizer adds to
Theta, and a second one gives w = (df/dg)^T v for a cotangent v of the updated weights. All rules are
elementwise, and the slots do not depend on the teacher, so w is elementwise in v.

The arguments g (gradient), v, and the slots m, r and s from before the step have the shape of one
variable, and so has the result. `lr` is the learning rate of *this* step.

`Rule` reads the rate and the slots of a Keras optimizer, and applies the pure functions to all its
variables.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Union

import tensorflow as tf

from mpl_tf.common import keras_seam

Scalar = Union[float, tf.Tensor]       # a rate, or another number of a rule


def sgd(g: tf.Tensor, lr: Scalar, momentum: Scalar = 0.0, m: Optional[tf.Tensor] = None,
        nesterov: bool = False) -> tf.Tensor:
    """Eq. 5, Delta = -lr g; with momentum mu Eq. 7, Delta = mu m - lr g.

    With Nesterov's momentum Delta = mu (mu m - lr g) - lr g: one step further from the new m.
    """
    if m is None:
        return -lr * g
    new_m = momentum * m - lr * g
    return momentum * new_m - lr * g if nesterov else new_m


def sgd_vjp(v: tf.Tensor, lr: Scalar, momentum: Scalar = 0.0, nesterov: bool = False) -> tf.Tensor:
    """w = -lr v; for Nesterov w = -(1 + mu) lr v, because g enters its step twice."""
    return -(1.0 + momentum) * lr * v if nesterov else -lr * v


def rmsprop(g: tf.Tensor, lr: Scalar, r: tf.Tensor, rho: Scalar, epsilon: Scalar,
            momentum: Scalar = 0.0, m: Optional[tf.Tensor] = None) -> tf.Tensor:
    """Eq. 8 as Keras writes it: r' = rho r + (1-rho) g^2, Delta = -mu m - lr g / sqrt(r' + eps).

    What Keras calls rho is 1 - rho in the paper. Keras's momentum slot m has the other sign.
    """
    new_r = rho * r + (1.0 - rho) * tf.square(g)
    delta = -lr * g * tf.math.rsqrt(new_r + epsilon)
    return delta if m is None else delta - momentum * m


def rmsprop_vjp(g: tf.Tensor, v: tf.Tensor, lr: Scalar, r: tf.Tensor, rho: Scalar,
                epsilon: Scalar) -> tf.Tensor:
    """w = -lr (rho r + eps) / (r' + eps)^(3/2) v.

    d/dg [g (r'+eps)^(-1/2)] = (r'+eps)^(-3/2) (r' + eps - g^2 (1-rho)), and r' - (1-rho) g^2 = rho r.
    """
    denominator = rho * r + (1.0 - rho) * tf.square(g) + epsilon
    return -lr * (rho * r + epsilon) * tf.math.rsqrt(denominator) / denominator * v


def adam(g: tf.Tensor, alpha: Scalar, m: tf.Tensor, s: tf.Tensor, beta_1: Scalar,
         beta_2: Scalar, epsilon: Scalar) -> tf.Tensor:
    """Delta = -alpha m' / (sqrt(s') + eps); alpha is the bias-corrected rate (Kingma & Ba, 2015).

    m' = m + (1-b1)(g - m), s' = s + (1-b2)(g^2 - s).
    """
    new_m = m + (1.0 - beta_1) * (g - m)
    new_s = s + (1.0 - beta_2) * (tf.square(g) - s)
    return -alpha * new_m / (tf.sqrt(new_s) + epsilon)


def adam_vjp(g: tf.Tensor, v: tf.Tensor, alpha: Scalar, m: tf.Tensor, s: tf.Tensor,
             beta_1: Scalar, beta_2: Scalar, epsilon: Scalar) -> tf.Tensor:
    """w = -alpha [(1-b1)/(sqrt s' + eps) - m'(1-b2) g / (sqrt s' (sqrt s' + eps)^2)] v.

    Where s' = 0, and hence g = 0 and s = 0, the second term is 0/0; it is taken as 0.
    """
    new_m = m + (1.0 - beta_1) * (g - m)
    root = tf.sqrt(s + (1.0 - beta_2) * (tf.square(g) - s))
    second = tf.math.divide_no_nan(new_m * (1.0 - beta_2) * g, root * tf.square(root + epsilon))
    return -alpha * ((1.0 - beta_1) / (root + epsilon) - second) * v


SUPPORTED = "SGD (plain, momentum, Nesterov), RMSprop (not centered) or Adam (no amsgrad)"
# Options that change the step, so that the formulas above would not hold: what to do instead.
_REFUSED = {
    "clipnorm": "leave it out", "clipvalue": "leave it out", "global_clipnorm": "leave it out",
    "weight_decay": "use compile(student_weight_decay=...)", "use_ema": "leave it out",
    "amsgrad": "leave it out", "centered": "leave it out",
    "gradient_accumulation_steps": "leave it out", "loss_scale_factor": "leave it out",
}


def check_optimizer(optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Raises ValueError, in one line, unless the steps of `optimizer` are exactly one of the rules."""
    supported = (tf.keras.optimizers.SGD, tf.keras.optimizers.RMSprop, tf.keras.optimizers.Adam)
    if type(optimizer) not in supported:
        raise ValueError(
            f"student_optimizer is {type(optimizer).__module__}.{type(optimizer).__name__}, whose "
            f"update cannot be differentiated here: use tf.keras.optimizers' {SUPPORTED}")
    for option, remedy in _REFUSED.items():
        value = getattr(optimizer, option, None)
        if value is not None and value is not False and (option, value) != ("weight_decay", 0):
            raise ValueError(
                f"student_optimizer has {option}={value}, which changes its update and is not "
                f"differentiated here: {remedy}")


def check_scale(optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Raises ValueError, in one line, for an optimizer of Keras 3 that divides gradients by a scale.

    It is meant for losses that were multiplied by it, and no step here does that.
    """
    scale = getattr(optimizer, "loss_scale_factor", None)
    if scale is None and keras_seam.IS_KERAS_3 and type(optimizer).__name__ == "LossScaleOptimizer":
        scale = "dynamic"
    if scale is not None:
        raise ValueError(f"{type(optimizer).__name__} has loss_scale_factor={scale}, by which it divides "
                         "gradients of losses that are not multiplied by it here: leave it out")


def learning_rate(optimizer: tf.keras.optimizers.Optimizer) -> tf.Tensor:
    """The learning rate, a scalar tensor, of the step that any Keras optimizer takes next.

    With a schedule, the optimizer's own attribute `learning_rate` is that of the previous step.
    """
    rate = keras_seam.rate_or_schedule(optimizer)
    if isinstance(rate, tf.keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(optimizer.iterations)
    # A variable's own value is on no device, and workers that have one replica could not average it.
    return tf.identity(rate)


class Rule:
    """The next step of a Keras optimizer, as pure functions of the gradients.

    A Rule reads the rate and the slots when it is made. Make it before `apply_gradients`, which
    changes both.

    Args:
      optimizer: a built tf.keras.optimizers.SGD, RMSprop or Adam; see `check_optimizer`.
      variables: the trainable variables, in the order in which the optimizer was built with them.
    """

    def __init__(self, optimizer: tf.keras.optimizers.Optimizer,
                 variables: Sequence[tf.Variable]) -> None:
        self._optimizer = optimizer
        self.learning_rate = learning_rate(optimizer)
        self._kind = type(optimizer).__name__
        self._slots = [self._read_slots(variable) for variable in variables]

    def _read_slots(self, variable):
        """The keyword arguments that the pure functions take for `variable`."""
        optimizer = self._optimizer
        lr = tf.cast(self.learning_rate, variable.dtype)
        kept = keras_seam.slots(optimizer, variable)
        read = lambda slot: tf.convert_to_tensor(kept[slot])
        if self._kind == "SGD":
            if not optimizer.momentum:
                return {"lr": lr}
            # Keras casts SGD's momentum, and only SGD's, by way of float32.
            return {"lr": lr, "momentum": tf.cast(optimizer.momentum, variable.dtype),
                    "m": read("momentum"), "nesterov": optimizer.nesterov}
        if self._kind == "RMSprop":
            slots = {"lr": lr, "r": read("velocity"), "rho": optimizer.rho,
                     "epsilon": optimizer.epsilon}
            if optimizer.momentum:
                slots.update(momentum=optimizer.momentum, m=read("momentum"))
            return slots
        step = tf.cast(optimizer.iterations + 1, variable.dtype)
        powers = [1.0 - tf.pow(tf.cast(beta, variable.dtype), step)
                  for beta in (optimizer.beta_1, optimizer.beta_2)]
        return {"alpha": lr * tf.sqrt(powers[1]) / powers[0], "m": read("momentum"),
                "s": read("velocity"), "beta_1": optimizer.beta_1, "beta_2": optimizer.beta_2,
                "epsilon": optimizer.epsilon}

    def deltas(self, gradients: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The steps Delta that `apply_gradients(gradients)` will add to the variables."""
        rule = {"SGD": sgd, "RMSprop": rmsprop, "Adam": adam}[self._kind]
        return [rule(g, **slots) for g, slots in zip(gradients, self._slots)]

    def vjp(self, gradients: Sequence[tf.Tensor],
            cotangents: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """w = (d Delta / d g)^T v for the cotangents v of the updated variables."""
        if self._kind == "SGD":
            return [sgd_vjp(v, **{k: x for k, x in slots.items() if k != "m"})
                    for v, slots in zip(cotangents, self._slots)]
        rule = {"RMSprop": rmsprop_vjp, "Adam": adam_vjp}[self._kind]
        return [rule(g, v, **{k: x for k, x in slots.items()
                              if self._kind == "Adam" or k not in ("m", "momentum")})
                for g, v, slots in zip(gradients, cotangents, self._slots)]

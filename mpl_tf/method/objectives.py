"""What the teacher minimises beside the meta signal (Section 4.1), and what a baseline minimises.

An objective says which views it needs and turns logits into a loss:

    flags          {argument of the constructor: the flag that gives it}, for `--objective=NAME`
    labeled_view   "image" or "augmented": the view of x_l that the supervised term sees
    unlabeled      True if it needs the network's logits on both views of x_u
    joint_views    True if these come from one pass, so that batch norm's statistics are of both views
    terms          names of the unweighted parts of the loss, for the logs
    losses(labels, labeled_logits, weak_logits, strong_logits, sample_weight=None)
                   -> (loss, {term: scalar})

`loss` is the weighted sum of the terms. `losses` may leave out the last arguments that it does not
use: weak_logits and strong_logits are None unless `unlabeled` is True, and sample_weight, float [B_l],
is given only where the data have "sample_weight" or `fit` has class_weight.

To add an objective to this package, subclass Objective in this file, decorate the class with
`objective`, set `terms` if it has others than "supervised_loss", and write `losses`. It is then
known to --objective, to --help and to the checks of flags. To use one of your own from elsewhere,
decorate it with tf.keras.utils.register_keras_serializable, so that saved models find it.

This file does not import TensorFlow, because the flags are read before that is imported. base.py
registers the classes with Keras.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Type, TypeVar

from mpl_tf.common.lazy import tf
from mpl_tf.method import targets

OBJECTIVES: Dict[str, Type[Objective]] = {}     # classes by their name in --objective
_Kind = TypeVar("_Kind", bound="Type[Objective]")


def objective(name: str, **flags: str) -> Callable[[_Kind], _Kind]:
    """Decorates the class of an objective, so that it can be chosen by name.

    Args:
      name: its name in --objective.
      flags: {argument of its constructor: the flag that gives it}. A flag whose name ends in
        "weight" is the factor of one of its terms.

    Returns:
      A decorator that returns the class itself.
    """
    def register(kind: _Kind) -> _Kind:
        kind.flags = flags
        OBJECTIVES[name] = kind
        return kind
    return register


class Objective:
    """The base class. It keeps the constructor's keyword arguments, as attributes and to be saved.

    Raises:
      ValueError: in one line, for a negative argument, a label_smoothing outside [0, 1), or a
        temperature that is not above 0.
    """

    flags: Mapping[str, str] = {}
    labeled_view: str = "image"
    unlabeled: bool = False
    joint_views: bool = True
    terms: Tuple[str, ...] = ("supervised_loss",)

    def __init__(self, **config: Any) -> None:
        for name, value in config.items():
            if name != "temperature" and isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{type(self).__name__}: {name}={value} is negative: give 0 or more")
        if not 0.0 <= config.get("label_smoothing", 0.0) < 1.0:
            raise ValueError(f"{type(self).__name__}: label_smoothing={config['label_smoothing']} "
                             "is outside [0, 1): 0 means no smoothing")
        if config.get("temperature", 1.0) <= 0:
            raise ValueError(f"{type(self).__name__}: temperature={config['temperature']} must be "
                             "above 0: below 1 it sharpens, above 1 it smooths")
        self._config = config
        self.__dict__.update(config)

    def losses(self, labels: tf.Tensor, labeled_logits: tf.Tensor,
               weak_logits: Optional[tf.Tensor] = None, strong_logits: Optional[tf.Tensor] = None,
               sample_weight: Optional[tf.Tensor] = None,
               ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """The loss of a batch, and its terms.

        Args:
          labels: int [B_l].
          labeled_logits: [B_l, K], on the view of x_l that `labeled_view` names.
          weak_logits, strong_logits: [B_u, K], on "image" and "augmented" of x_u; None unless
            `unlabeled`.
          sample_weight: [B_l], or None for weights of 1.

        Returns:
          (scalar loss, {term name: unweighted scalar}).
        """
        raise TypeError(f"{type(self).__name__} must define losses(...)")

    def _supervised(self, labels, logits, sample_weight=None):
        classes = logits.shape[-1]
        return targets.cross_entropy(
            targets.smooth(labels, classes, self.label_smoothing, logits.dtype), logits,
            sample_weight)

    def get_config(self) -> Dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    @classmethod
    def from_config(cls, config: Dict[str, Any]) -> Objective:
        """The objective that get_config describes."""
        return cls(**config)

    @classmethod
    def strong_views(cls) -> bool:
        """Whether the objective needs strongly augmented views."""
        return cls.unlabeled or cls.labeled_view == "augmented"


@objective("supervised", weight="supervised_weight", label_smoothing="label_smoothing")
class Supervised(Objective):
    """weight * CE(y_l, T(x_l)), with labels smoothed by label_smoothing (Section 4.1, Table 1).

    With weight=0.0 the teacher learns from the meta signal alone.
    """

    weight: float
    label_smoothing: float

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__(weight=weight, label_smoothing=label_smoothing)

    def losses(self, labels: tf.Tensor, labeled_logits: tf.Tensor,
               weak_logits: Optional[tf.Tensor] = None, strong_logits: Optional[tf.Tensor] = None,
               sample_weight: Optional[tf.Tensor] = None,
               ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        supervised = self._supervised(labels, labeled_logits, sample_weight)
        return self.weight * supervised, {"supervised_loss": supervised}


@objective("randaugment", weight="supervised_weight", label_smoothing="label_smoothing")
class RandAugment(Supervised):
    """Supervised, on the strong view of x_l ("augmented"). R still sees "image"."""

    labeled_view = "augmented"


@objective("uda", weight="uda_weight", temperature="uda_temperature", joint_views="uda_joint_views",
           label_smoothing="label_smoothing", supervised_weight="supervised_weight")
class UDA(Objective):
    """CE(y_l, T(x_l)) + weight * CE(stop_gradient(softmax(T(weak)/tau)), T(strong)).

    Unsupervised Data Augmentation (Xie et al., 2019a) as Section 4.1 uses it. `weight` and
    `temperature` (tau) are Table 3's UDA factor and UDA temperature, for CIFAR-10 1.0 and 0.8.
    `supervised_weight` is the factor of the first term.

    With joint_views both views of x_u make one pass, as UDA's published code does: batch norm's
    statistics are those of both, and the gradient goes through the weak half too. Without, each view
    has a pass and statistics of its own, and no gradient goes through the weak one: a step takes less
    time and memory. Without batch norm (and dropout) both are the same.
    """

    unlabeled = True
    terms = ("supervised_loss", "consistency_loss")
    weight: float
    temperature: float
    label_smoothing: float
    supervised_weight: float

    def __init__(self, weight: float = 1.0, temperature: float = 0.8,
                 label_smoothing: float = 0.0, supervised_weight: float = 1.0,
                 joint_views: bool = True) -> None:
        if not isinstance(joint_views, bool):
            raise ValueError(f"{type(self).__name__}: joint_views={joint_views!r}: give True or False")
        # Not in the config while it is the default: subclasses of before know no such argument.
        super().__init__(weight=weight, temperature=temperature, label_smoothing=label_smoothing,
                         supervised_weight=supervised_weight, **({} if joint_views else {"joint_views": False}))

    def losses(self, labels: tf.Tensor, labeled_logits: tf.Tensor,
               weak_logits: Optional[tf.Tensor] = None, strong_logits: Optional[tf.Tensor] = None,
               sample_weight: Optional[tf.Tensor] = None,
               ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        supervised = self._supervised(labels, labeled_logits, sample_weight)
        consistency = targets.cross_entropy(
            tf.stop_gradient(targets.soft(weak_logits, self.temperature)), strong_logits)
        return (self.supervised_weight * supervised + self.weight * consistency,
                {"supervised_loss": supervised, "consistency_loss": consistency})


def takes(objective: Objective) -> Tuple[int, bool]:
    """What its `losses` can be given: (how many of the four tensors, whether sample_weight too)."""
    parameters = inspect.signature(objective.losses).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    named = [each.name for each in parameters
             if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    weighted = (inspect.Parameter.VAR_KEYWORD in kinds
                or any(each.name == "sample_weight" for each in parameters))
    tensors = 4 if inspect.Parameter.VAR_POSITIONAL in kinds else len(
        [name for name in named if name != "sample_weight"])
    return min(tensors, 4), weighted


def losses_of(objective: Objective, labels: tf.Tensor, labeled_logits: tf.Tensor,
              weak_logits: Optional[tf.Tensor] = None, strong_logits: Optional[tf.Tensor] = None,
              sample_weight: Optional[tf.Tensor] = None,
              ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
    """objective.losses of as many of these arguments as it takes; what it returns is checked.

    Raises:
      ValueError: in one line, where there are weights that the objective does not take, or it
        returns other terms than its attribute `terms` names.
    """
    name = type(objective).__name__
    tensors, weighted = takes(objective)
    if sample_weight is not None and not weighted:
        raise ValueError(f"the data have sample weights, and {name}.losses does not take them: give it "
                         "an argument sample_weight=None, or leave sample_weight and class_weight out")
    given = [labels, labeled_logits, weak_logits, strong_logits][:tensors]
    loss, terms = objective.losses(
        *given, **({} if sample_weight is None else {"sample_weight": sample_weight}))
    if set(terms) != set(objective.terms):
        raise ValueError(f"{name}.losses returns the terms {sorted(terms)}, but its attribute `terms` "
                         f"has {sorted(objective.terms)}: make them agree")
    return loss, terms

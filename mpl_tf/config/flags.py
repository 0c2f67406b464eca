"""Every flag of a run: its type, default, help and limits; without TensorFlow.

To add a flag, add a field to Flags. Contradictions and flags without effect are in checks.py. The
data sets, networks, objectives and methods that flags can name are not listed here: the flags ask
the modules that define them.
"""

import dataclasses
from typing import Any, Dict, Mapping, Union

from mpl_tf import datasets, networks
from mpl_tf.common import command
from mpl_tf.config import checks
from mpl_tf.config.methods import METHODS, STRATEGIES
from mpl_tf.method.objectives import OBJECTIVES

_OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")
_SCHEDULES = ("cosine", "exponential", "constant")
_SEEDS = _WHOLE = 2 ** 31 - 1      # 32 bits are enough for every number here
_NUMBER = 3.4e38    # the largest that 32 bits hold
_EXAMPLES = 10 ** 6     # in a batch
Value = Union[bool, int, float, str]     # of a flag


def _flag(default, text, heading=None, path=False, **limits):
    """Makes a field of Flags.

    Args:
      default: the flag's default.
      text: its text in --help.
      heading: the heading of a group in --help that this flag begins, or None.
      path: whether its value is the path of a file or folder.
      limits: of its values, any of choices, above, at_least, below, at_most; `begins`, how values
        that are no choices may begin; and `derived`, words for what an empty or zero value stands
        for.

    `text`, choices, begins and `derived` may be functions without arguments. They are called whenever they
    are needed, because a user may register further choices. A number without an upper limit of its
    own has that of its type.
    """
    if not {"at_most", "below"} & set(limits) and type(default) in (int, float):
        limits["at_most"] = _WHOLE if type(default) is int else _NUMBER
    return dataclasses.field(
        default=default, metadata={"help": text, "heading": heading, "path": path, **limits})


def _asked(value):
    return value() if callable(value) else value


def describe(field: dataclasses.Field) -> Dict[str, Any]:
    """The metadata of a field of Flags, a dict, with the results of its functions."""
    return {name: _asked(value) for name, value in field.metadata.items()}


def _by_dataset(name):
    return lambda: ", ".join(f"{dataset} {getattr(source, name) or 'all'}"
                             for dataset, source in datasets.known().items())


def _only(text, option):
    """A function that gives `text` and, in brackets, the data sets that take an option."""
    return lambda: f"{text} ({', '.join(datasets.takers(option))})."


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags as they were given. Each value is possible by itself; `resolve` makes the Config.

    If a flag has a derived default, its empty or zero value stands for that.

    Raises:
      ValueError: in one line, for a value of another type or outside its limits.
    """

    model_dir: str = _flag(
        "", "The folder to which the run writes checkpoints, logs and results.", "Run", path=True)
    seed: int = _flag(0, "Decides initial weights, batches, views and dropout.", at_least=0,
                      at_most=_SEEDS)
    train_steps: int = _flag(
        1500, "How many updates the student gets; a larger number continues a finished run.",
        at_least=1)
    eval_steps: int = _flag(0, "Steps from one evaluation to the next.", at_least=0,
                            derived="train_steps/20")
    evaluate: str = _flag(
        "all", "holdout: no test data, to choose settings.", choices=("all", "holdout"))
    median_evaluations: int = _flag(
        5, "How many of the last evaluations median_last_evaluations is the median of.", at_least=1)
    checkpoint_steps: int = _flag(0, "Steps from one checkpoint to the next.", at_least=0,
                                  derived="train_steps/20, at most 1000")
    keep_checkpoints: int = _flag(2, "How many checkpoints are kept.", at_least=1)
    summary_steps: int = _flag(
        0, "Steps from one costly summary for TensorBoard (montage, cosine) to the next.",
        at_least=0, derived="train_steps/20, at most 1000")
    plots: bool = _flag(True, "Write figures (PNG) to model_dir.")
    export: bool = _flag(
        True, "Write classifier.keras and saved_model, for predict and other programs, to model_dir; the "
        "same command can do so later.")
    report: bool = _flag(True, "Write report.html, with some of the images, to model_dir.")

    method: str = _flag("mpl", lambda: "What is trained. " + "; ".join(
        f"{name}: {method.about}" for name, method in METHODS.items()) + ".", "Method",
        choices=lambda: tuple(METHODS))
    objective: str = _flag(
        "", "What the teacher minimises beside the meta signal, or what a baseline minimises.",
        choices=lambda: tuple(OBJECTIVES),
        derived=lambda: "supervised with reduced_mpl, else " + _by_dataset("objective")())
    supervised_weight: float = _flag(1.0, "The factor of the objective's loss on labeled images.",
                                     at_least=0)
    label_smoothing: float = _flag(
        0.0, "The share of each label that the objective spreads over all classes; 0 smooths "
        "nothing.",
        at_least=0, below=1)
    uda_weight: float = _flag(1.0, "The factor of UDA's consistency loss (Table 3, UDA factor).",
                              at_least=0)
    uda_temperature: float = _flag(
        0.8, "The temperature of the consistency loss's targets; a value below 1 sharpens "
        "them.", above=0)
    uda_joint_views: bool = _flag(
        True, "Both of UDA's views make one pass, with batch norm's statistics of both; "
        "--nouda_joint_views gives each its own pass, which takes less time and memory.")
    meta_weight: float = _flag(
        1.0, "The factor of the meta gradient; 0 is the control at equal compute.", at_least=0)
    meta_scale: str = _flag(
        "absolute", "What meta_weight means: absolute is a factor of the meta gradient; relative makes "
        "that gradient's length over the teacher's weights meta_weight times the length of the "
        "objective's gradient, in every step; measured sets its length by both gradients' mean lengths "
        "so far, and by how far the objective's has come down, so that 1 suits many tasks.",
        choices=("absolute", "relative", "measured"))
    meta_signal: str = _flag(
        "exact", "The signal that the teacher gets; shuffled gives each image the signal of another one, "
        "a control that tells information from noise.", choices=("exact", "shuffled"))
    meta_gradient: str = _flag(
        "nested_tape", "How the meta gradient is computed. Both ways give the same numbers; jvp "
        "takes less memory and more time.", choices=("nested_tape", "jvp"))
    microbatch_size: int = _flag(
        0, "With jvp, examples in memory at a time; it divides both batches of a replica. Batch norm's "
        "statistics are theirs; 0 takes whole batches.", at_least=0, at_most=_EXAMPLES)
    fixed_teacher: str = _flag(
        "", "The trained network that labels for the student: a finished run's model_dir, or a "
        ".keras file. It is loaded in Keras's safe mode: files that hold code are refused.",
        path=True)
    temperature: float = _flag(1.0, "The temperature of a fixed teacher's soft targets.", above=0)

    dataset: str = _flag("digits", lambda: "The data set. " + "; ".join(
        f"{name}: {source.about}" for name, source in datasets.known().items()) + ".", "Data",
        choices=lambda: tuple(datasets.known()), begins=lambda: tuple(datasets.FAMILIES))
    data_dir: str = _flag(
        "", "The folder of the data set's files, or one that data_prep wrote; CIFAR-10, SVHN and "
        "tfds:NAME are downloaded where they are missing.", derived="TensorFlow Datasets' own folder",
        path=True)
    unlabeled_dir: str = _flag(
        "", "A folder of shards whose images take the place of the data set's unlabeled ones.",
        path=True)
    predictions_dir: str = _flag(
        "", "A folder of stored predictions for the labeled and the unlabeled images, which "
        "data_prep.predict wrote.", path=True)
    selection: str = _flag(
        "", "A folder that data_prep.select wrote; only the images that it selects are unlabeled "
        "ones.", path=True)
    extra_unlabeled: bool = _flag(False, _only(
        "Add the data set's extra images to the unlabeled ones", "extra_unlabeled"))
    image_size: int = _flag(
        0, _only("The side, in pixels, of the images that the networks see", "image_size"),
        at_least=0, at_most=10_000, derived=lambda: ", ".join(
            f"{name} {datasets.known()[name].image_size or 'as they are'}"
            for name in datasets.takers("image_size")))
    train_split: str = _flag("", _only(
        "The split of the training examples, such as train or train[:80%]", "train_split"),
        derived="train")
    test_split: str = _flag("", _only("The split of the test examples", "test_split"),
                            derived="test, or validation where there is none")
    unlabeled_split: str = _flag("", _only(
        "The split of more unlabeled images; none stands for none", "unlabeled_split"),
        derived="unlabelled or unlabeled, where there is one")
    feature_components: int = _flag(
        0, _only("How many principal components of the features the networks see; 0 stands for the "
                 "features themselves", "feature_components"), at_least=0, at_most=100_000)
    feature_unit_length: bool = _flag(False, _only(
        "Divide each point by its length", "feature_unit_length"))
    labeled_shards: int = _flag(
        0, _only("How many shards, the first ones, have labels; 102 of 1,024 are the paper's 10 %",
                 "labeled_shards"), at_least=0, derived="all but those held out")
    holdout_shards: int = _flag(
        0, _only("How many shards, the last ones, are held out; 40 in the paper", "holdout_shards"),
        at_least=0)
    skip_corrupt: bool = _flag(
        False, "Leave out records that cannot be used; each is named, and they are counted.")
    labeled_examples: int = _flag(
        0, "How many training examples keep their labels; the hold-out is a part of them.",
        at_least=0, derived=_by_dataset("labeled_examples"))
    labeled_selection: str = _flag(
        "", "Which examples keep their labels: the first ones in the official order, or ones drawn "
        "by split_seed.", choices=("first", "random"), derived=_by_dataset("labeled_selection"))
    split_seed: int = _flag(0, "Decides which examples are drawn, and two_moons' points.",
                            at_least=0, at_most=_SEEDS)
    holdout: int = _flag(
        0, "How many of the labeled examples are set aside, for choosing settings.", at_least=0)
    noise: float = _flag(
        0.05, _only("The standard deviation of the points about their moons", "noise"), at_least=0)
    batch_size: int = _flag(64, "Labeled examples in a step, over all replicas.", at_least=1,
                            at_most=_EXAMPLES)
    unlabeled_batch_size: int = _flag(
        0, "Unlabeled examples in a step, over all replicas.", at_least=0, at_most=_EXAMPLES,
        derived="batch_size")
    labeled_sampling: str = _flag(
        "uniform", "How labeled batches are drawn: uniform takes each labeled example equally often, "
        "balanced each class, so that rare classes are seen as often as frequent ones.",
        choices=("uniform", "balanced"))
    eval_batch_size: int = _flag(500, "Examples in one pass of an evaluation.", at_least=1,
                                 at_most=_EXAMPLES)
    randaugment_layers: int = _flag(
        2, "How many operations RandAugment applies to each image of a strong view.", at_least=0,
        at_most=100)
    randaugment_magnitude: float = _flag(
        5.0, "The magnitude of RandAugment's operations.", at_least=0, at_most=10)
    randaugment_operations: str = _flag(
        "published", "Which operations and ranges RandAugment has: those of its paper, or those of "
        "the released code of Meta Pseudo Labels.", choices=("published", "released"))
    color: str = _flag(
        "none", "Whether weak views have distorted colours, as in Inception's training.",
        choices=("none", "inception"))
    cutout: int = _flag(
        0, "The side, in pixels, of the square that is cut out of strong views; 0 cuts nothing.",
        at_least=0)

    student_network: str = _flag(
        "", lambda: "The network of the student, or of a baseline, to which all student_ flags "
        f"apply: {networks.available()}. A function MODULE:FUNCTION is imported, so that its module "
        "runs as a program; README has an example.", "Networks and optimizers",
        derived=_by_dataset("student_network"))
    student_weights: str = _flag(
        "", "What the student starts from: a file NAME.keras or NAME.weights.h5 of the same network, "
        "of which the last layer may be for other classes; imagenet, which Keras downloads for "
        "keras.applications; or for an efficientnet its package's file without top (..._notop.h5).",
        path=True)
    student_dropout: float = _flag(
        0.0, "The dropout rate at the prediction; Tan & Le have 0.2 for B0 and B1, 0.3 for B2 and "
        "B3, 0.4 for B4 and B5, 0.5 for B6 and B7.", at_least=0, below=1)
    drop_connect: float = _flag(
        0.2, "The highest rate of EfficientNets' stochastic depth.", at_least=0, below=1)
    student_optimizer: str = _flag("nesterov", "The student's update rule.", choices=_OPTIMIZERS)
    student_learning_rate: float = _flag(0.1, "The highest rate of the student's schedule.",
                                         above=0)
    student_weight_decay: float = _flag(
        0.0, "L in (L/2)|weights|^2, which is added to the student's loss.", at_least=0)
    teacher_network: str = _flag(
        "", lambda: "The teacher's network, one of those that the student can have; with "
        "reduced_mpl one of "
        f"{networks.available('probs')}.", derived="student_network, or calibration-128")
    teacher_weights: str = _flag("", "What the teacher starts from, as student_weights.", path=True)
    teacher_dropout: float = _flag(0.0, "The teacher's dropout rate at the prediction.",
                                   at_least=0, below=1)
    teacher_optimizer: str = _flag("nesterov", "The teacher's update rule.", choices=_OPTIMIZERS)
    teacher_learning_rate: float = _flag(0.1, "The highest rate of the teacher's schedule.",
                                         above=0)
    teacher_weight_decay: float = _flag(
        0.0, "L in (L/2)|weights|^2, which is added to the teacher's loss.", at_least=0)
    momentum: float = _flag(0.9, "The momentum of the rules momentum, nesterov and rmsprop.",
                            at_least=0, below=1)
    rmsprop_epsilon: float = _flag(1e-7, "The epsilon of the rule rmsprop; Tan & Le have 0.001. Keras's "
                                   "mean square starts at 0, theirs at 1, so that its first steps are "
                                   "longer than theirs: keep a warm-up.",
                                   above=0)
    schedule: str = _flag(
        "cosine", "How the learning rates fall: cosine falls to 0 at train_steps, exponential is "
        "multiplied by decay_rate every decay_steps.",
        choices=_SCHEDULES)
    teacher_schedule: str = _flag(
        "", "How the teacher's learning rate falls.", choices=_SCHEDULES,
        derived="schedule, or constant with reduced_mpl")
    warmup_steps: int = _flag(
        0, "Steps in which the rate of a cosine or exponential schedule rises to its highest.",
        at_least=0)
    decay_steps: int = _flag(
        0, "Steps from one decay of an exponential schedule to the next.", at_least=0,
        derived="train_steps * 2.4 / 350, as Tan & Le's 2.4 of 350 epochs")
    decay_rate: float = _flag(
        0.97, "What each decay of an exponential schedule multiplies the rate by.", above=0,
        at_most=1)
    ema_decay: float = _flag(
        0.0, "The share of themselves that the averages of the student's weights keep in a step; "
        "the averages are what is evaluated and exported. Tan & Le have 0.9999; 0 keeps none.",
        at_least=0, below=1)
    batch_norm_decay: float = _flag(
        0.99, "The share of themselves that batch norm's averages keep in a pass.", at_least=0,
        below=1)

    strategy: str = _flag(
        "default", "The tf.distribute strategy: one device, all GPUs of this machine, several "
        "machines, or a TPU.", "Devices", choices=STRATEGIES)
    tpu: str = _flag("", "The TPU's name or address; local on a TPU VM.")
    precision: str = _flag("float32", "The type of the activations.",
                           choices=("float32", "mixed_bfloat16"))
    jit_compile: bool = _flag(False, "Compile the step by XLA; on one device or a TPU.")
    steps_per_execution: int = _flag(
        1, "How many steps run without returning to Python.", at_least=1, at_most=10_000)

    def __post_init__(self):
        for field in dataclasses.fields(Flags):
            object.__setattr__(self, field.name, checks.checked_value(
                field.name, getattr(self, field.name), field.type, field.default,
                describe(field)))

    def to_dict(self) -> Dict[str, Value]:
        """{flag: value} of all flags, which JSON can hold."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS = {field.name: field for field in dataclasses.fields(Flags)}


def from_dict(values: Mapping[str, Any]) -> Flags:
    """The Flags of values as of `Flags.to_dict`. Flags that are left out have their defaults.

    Raises:
      ValueError: in one line, for a name that no flag has, or an impossible value.
    """
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise ValueError("; ".join(f"unknown setting {name!r}: {command.suggestion(name, FIELDS)}"
                                   for name in unknown))
    return Flags(**values)

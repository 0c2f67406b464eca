"""Every flag of this package and the frozen Config made of them. Nothing else reads flags.

    config = from_argv(sys.argv)

Flags have absl's syntax and value parsers, without its global registry: --name=value, --name
value, --[no]switch, --flagfile=FILE (# comments, nested files, the last value wins). No TensorFlow
is imported here, so a bad flag is refused at once. To add a flag, add a field to Config; its
impossible values stand beside it, contradictions and unused flags in config_checks.py.
"""

import dataclasses
import os
import sys

from absl import flags

from mpl_tf import arguments, config_checks

USAGE = """\
Trains a student by Meta Pseudo Labels, or one of the paper's baselines.

usage: python -m mpl_tf.train [--flagfile=FILE ...] --model_dir=DIR [--NAME=VALUE ...]

  python -m mpl_tf.train --flagfile=flags/digits.cfg
  python -m mpl_tf.train --flagfile=flags/digits.cfg --seed=1 --model_dir=runs/digits_seed1
  python -m mpl_tf.train --flagfile=flags/cifar10.cfg --data_dir=DIR --strategy=mirrored

The last value given for a flag wins. A file holds one flag a line, and # comments; its flags stand
where --flagfile stands. The same command again resumes a run. [ ] shows the default."""

DATASET_DEFAULTS = {
    "digits": dict(labeled_examples=50, labeled_selection="random", objective="uda",
                   student_network="small_conv"),
    "two_moons": dict(labeled_examples=6, labeled_selection="random", objective="supervised",
                      student_network="rbf"),
    "cifar10": dict(labeled_examples=4000, labeled_selection="first", objective="uda",
                    student_network="wrn-28-2"),
    "svhn": dict(labeled_examples=1000, labeled_selection="first", objective="uda",
                 student_network="wrn-28-2"),
    "imagenet": dict(labeled_examples=0, labeled_selection="first", objective="uda",
                     student_network="resnet-50"),
    "image_folder": dict(labeled_examples=0, labeled_selection="random", objective="uda",
                         student_network="wrn-28-2"),
}
_FIXED_TEACHER = ("hard_pseudo_labels", "soft_pseudo_labels", "distillation")
_SIZED = {"imagenet": 224, "image_folder": 64}      # the sides of their images can be chosen
# Flags that may differ when a run is resumed in its model_dir (train_steps: only upwards).
RESULT_NEUTRAL = frozenset({
    "model_dir", "data_dir", "unlabeled_dir", "train_steps", "eval_batch_size", "checkpoint_steps",
    "keep_checkpoints", "summary_steps", "plots", "tpu"})
_PATHS = ("model_dir", "data_dir", "unlabeled_dir", "fixed_teacher", "predictions_dir", "selection",
          "student_weights")
_OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")


def _flag(default, text, heading=None, **limits):
    """A field of Config. `limits`: choices, above, at_least, below, at_most; `derived`: what an
    empty or zero value stands for; `heading` starts a group of --help."""
    return dataclasses.field(
        default=default, metadata={"help": text, "heading": heading, **limits})


def _by_dataset(name):
    return ", ".join(f"{dataset} {own[name] or 'all'}" for dataset, own in DATASET_DEFAULTS.items())


@dataclasses.dataclass(frozen=True)
class Config:
    """A run's settings, checked: plain ints, floats, bools and strings, named as the flags.

    Attributes (and `dataclasses.asdict`) hold values ready to use: where a flag was left empty (0
    or ""), what that stands for. `to_dict` and `replace` keep the flags as given, so that a
    default derived from another flag follows it.

    Raises:
      ValueError: in one line, for a wrong type, an impossible value or a contradiction.
    """

    model_dir: str = _flag("", "folder of checkpoints, logs and results", "Run")
    seed: int = _flag(0, "of weights, batches, views and dropout", at_least=0, at_most=2**31 - 1)
    train_steps: int = _flag(1500, "student's updates; more of them continue a finished run",
                             at_least=1)
    eval_steps: int = _flag(0, "steps from one evaluation to the next", at_least=0,
                            derived="train_steps/20")
    median_evaluations: int = _flag(5, "median_last_evaluations is over this many", at_least=1)
    checkpoint_steps: int = _flag(0, "steps from one checkpoint to the next", at_least=0,
                                  derived="train_steps/20, at most 1000")
    keep_checkpoints: int = _flag(2, "checkpoints kept", at_least=1)
    summary_steps: int = _flag(0, "steps from one costly summary (montage, cosine) to the next",
                               at_least=0, derived="train_steps/20, at most 1000")
    plots: bool = _flag(True, "write figures (PNG) to model_dir where the dataset has them")

    method: str = _flag("mpl", "teacher and student (mpl), one network on --objective (baseline), "
                        "a student of --fixed_teacher, or one of the stored predictions in "
                        "--predictions_dir, calibrated by a small teacher (reduced_mpl) or as they "
                        "are (noisy_student)", "Method",
                        choices=("mpl", "baseline", *_FIXED_TEACHER, "reduced_mpl",
                                 "noisy_student"))
    objective: str = _flag("", "what the teacher, or a baseline, minimises",
                           choices=("supervised", "randaugment", "uda"),
                           derived="supervised of reduced_mpl, else "
                           + _by_dataset("objective"))
    supervised_weight: float = _flag(1.0, "of the objective's labeled term", at_least=0)
    label_smoothing: float = _flag(0.0, "of the objective's labels; 0: none", at_least=0, below=1)
    uda_weight: float = _flag(1.0, "UDA factor, of the consistency term", at_least=0)
    uda_temperature: float = _flag(0.8, "of the consistency term's targets", above=0)
    meta_weight: float = _flag(1.0, "of the meta gradient; 0: control at equal compute", at_least=0)
    meta_gradient: str = _flag("nested_tape", "the same gradient either way; jvp takes less memory",
                               choices=("nested_tape", "jvp"))
    fixed_teacher: str = _flag("", "a finished run's model_dir or a .keras file")
    temperature: float = _flag(1.0, "of a fixed teacher's soft targets", above=0)

    dataset: str = _flag("digits", "what to learn", "Data", choices=tuple(DATASET_DEFAULTS))
    data_dir: str = _flag("", "where the files are, or a folder that data_prep wrote; CIFAR-10 and "
                          "SVHN are downloaded where they are missing",
                          derived="TensorFlow Datasets' own folder")
    unlabeled_dir: str = _flag("", "folder of shards whose images are the unlabeled ones, in place "
                               "of the data set's own")
    predictions_dir: str = _flag("", "folder that data_prep.predict wrote, of the labeled and the "
                                 "unlabeled images")
    selection: str = _flag("", "folder that data_prep.select wrote: only its images are unlabeled "
                           "ones")
    extra_unlabeled: bool = _flag(False, "add svhn's 531,131 extra images to the unlabeled ones")
    image_size: int = _flag(0, "side in pixels that the networks see, imagenet and image_folder",
                            at_least=0, derived="imagenet 224, image_folder 64")
    labeled_shards: int = _flag(0, "of imagenet, the first of them; 102 of 1,024 are 10 %",
                                at_least=0, derived="all but those held out")
    holdout_shards: int = _flag(0, "of imagenet, the last of them, held out; 40 in the paper",
                                at_least=0)
    skip_corrupt: bool = _flag(False, "leave out, and tell, records that cannot be used")
    labeled_examples: int = _flag(0, "training examples that keep their label, holdout included",
                                  at_least=0, derived=_by_dataset("labeled_examples"))
    labeled_selection: str = _flag("", "the first in the official order, or drawn by split_seed",
                                   choices=("first", "random"),
                                   derived=_by_dataset("labeled_selection"))
    split_seed: int = _flag(0, "of the labeled subset, and of the points of two_moons", at_least=0,
                            at_most=2**31 - 1)
    holdout: int = _flag(0, "labeled examples set aside for choosing settings", at_least=0)
    noise: float = _flag(0.05, "standard deviation, two_moons only", at_least=0)
    batch_size: int = _flag(64, "labeled examples a step, over all replicas", at_least=1)
    unlabeled_batch_size: int = _flag(0, "unlabeled examples a step, over all replicas", at_least=0,
                                      derived="batch_size")
    eval_batch_size: int = _flag(500, "examples at a time in evaluations", at_least=1)
    randaugment_layers: int = _flag(2, "operations per image of the strong view", at_least=0)
    randaugment_magnitude: float = _flag(5.0, "of the operations", at_least=0, at_most=10)
    randaugment_operations: str = _flag(
        "published", "RandAugment's own and its ranges, or those of the released code of Meta "
        "Pseudo Labels", choices=("published", "released"))
    color: str = _flag("none", "distort the colours of weak views as Inception's training did",
                       choices=("none", "inception"))
    cutout: int = _flag(0, "side of the strong view's cut square in pixels; 0: none", at_least=0)

    student_network: str = _flag(
        "", "wrn-DEPTH-WIDTH, resnet-50, efficientnet-b0 to -b7, small_conv, mlp-SIZE-SIZE... or "
        "rbf; a baseline's too, and so all student_ flags", "Networks and optimizers",
        derived=_by_dataset("student_network"))
    student_weights: str = _flag("", "file of the efficientnet package's weights without top to "
                                 "start from (..._notop.h5)")
    student_dropout: float = _flag(0.0, "rate at the prediction; Tan & Le: 0.2 for B0 and B1, 0.1 "
                                   "more every second size, 0.5 for B7", at_least=0, below=1)
    drop_connect: float = _flag(0.2, "highest rate of EfficientNets' stochastic depth", at_least=0,
                                below=1)
    student_optimizer: str = _flag("nesterov", "update rule", choices=_OPTIMIZERS)
    student_learning_rate: float = _flag(0.1, "highest of the schedule", above=0)
    student_weight_decay: float = _flag(0.0, "L in (L/2)|weights|^2", at_least=0)
    teacher_network: str = _flag("", "as for the student; of reduced_mpl calibration-SIZE or mlp-"
                                 "SIZE-SIZE...", derived="student_network, or calibration-128")
    teacher_dropout: float = _flag(0.0, "rate at the prediction", at_least=0, below=1)
    teacher_optimizer: str = _flag("nesterov", "update rule", choices=_OPTIMIZERS)
    teacher_learning_rate: float = _flag(0.1, "highest of the schedule", above=0)
    teacher_weight_decay: float = _flag(0.0, "L in (L/2)|weights|^2", at_least=0)
    momentum: float = _flag(0.9, "of momentum, nesterov and rmsprop", at_least=0, below=1)
    rmsprop_epsilon: float = _flag(1e-7, "of rmsprop; Tan & Le: 0.001", above=0)
    schedule: str = _flag("cosine", "of the learning rates; cosine decays to 0 at train_steps, "
                          "exponential by decay_rate every decay_steps",
                          choices=("cosine", "exponential", "constant"))
    teacher_schedule: str = _flag("", "of the teacher's", choices=("cosine", "exponential",
                                                                  "constant"),
                                  derived="schedule, or constant with reduced_mpl")
    warmup_steps: int = _flag(0, "of linear warm-up, cosine and exponential", at_least=0)
    decay_steps: int = _flag(0, "exponential: steps from one decay to the next", at_least=0,
                             derived="train_steps * 2.4 / 350, Tan & Le's epochs")
    decay_rate: float = _flag(0.97, "exponential: what one decay multiplies by", above=0,
                              at_most=1)
    ema_decay: float = _flag(0.0, "evaluate and export averages of the student's weights that keep "
                             "this much of themselves a step; Tan & Le: 0.9999; 0: none",
                             at_least=0, below=1)
    batch_norm_decay: float = _flag(0.99, "of batch norm's averages", at_least=0, below=1)

    strategy: str = _flag("default", "tf.distribute: one device, all GPUs, machines, or a TPU",
                          "Devices", choices=("default", "mirrored", "multi_worker", "tpu"))
    tpu: str = _flag("", "the TPU's name or address; local on a TPU VM")
    precision: str = _flag("float32", "of activations", choices=("float32", "mixed_bfloat16"))
    jit_compile: bool = _flag(False, "compile the step with XLA (one device)")
    steps_per_execution: int = _flag(1, "steps that run without returning to Python", at_least=1)

    def __post_init__(self):
        given = {}
        for field in dataclasses.fields(self):
            given[field.name] = config_checks.checked_value(
                field.name, getattr(self, field.name), field.type, field.default, field.metadata)
        object.__setattr__(self, "_given", given)
        for name, value in _resolve(given).items():
            object.__setattr__(self, name, value)
        contradiction = next(config_checks.contradictions(self), None)
        if contradiction:
            raise ValueError(contradiction)

    @property
    def strong_views(self):
        """Whether the student, or a baseline, learns on strong views."""
        if self.needs_probs:    # the noise of NoisyStudent
            return self.randaugment_layers > 0 or self.cutout > 0
        return self.method in ("mpl", "baseline") and self.objective in ("randaugment", "uda")

    @property
    def needs_unlabeled(self):
        """Whether training takes unlabeled batches."""
        return self.method != "baseline" or self.objective == "uda"

    @property
    def needs_fixed_teacher(self):
        """Whether the student learns from a trained network that stays as it is."""
        return self.method in _FIXED_TEACHER

    @property
    def needs_probs(self):
        """Whether training takes stored predictions."""
        return self.method in ("reduced_mpl", "noisy_student")

    @property
    def has_teacher(self):
        """Whether a teacher is trained beside the student."""
        return self.method in ("mpl", "reduced_mpl")

    def unused(self):
        """{flag: the setting that makes it so} for all flags without effect on this run."""
        return config_checks.unused(self)

    def to_dict(self):
        """The flags as given, JSON-able; `from_dict` makes the same Config of it."""
        return dict(self._given)

    @classmethod
    def from_dict(cls, values):
        """The Config of `to_dict`'s values; flags left out have their defaults."""
        unknown = sorted(set(values) - set(_FIELDS))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}: "
                             + arguments.suggestion(unknown[0], _FIELDS))
        return cls(**values)

    def replace(self, **changes):
        """This Config with some flags changed."""
        return self.from_dict({**self._given, **changes})


_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def _resolve(given):
    """`given`, with what empty and zero values stand for in place of them."""
    values = dict(given)
    for name, default in DATASET_DEFAULTS.get(given["dataset"], {}).items():
        values[name] = given[name] or default
    reduced = given["method"] == "reduced_mpl"
    if reduced:
        values["objective"] = given["objective"] or "supervised"
    values["teacher_schedule"] = given["teacher_schedule"] or (
        "constant" if reduced else given["schedule"])
    values["decay_steps"] = given["decay_steps"] or max(
        round(given["train_steps"] * 2.4 / 350), 1)
    values["image_size"] = given["image_size"] or _SIZED.get(given["dataset"], 0)
    values["teacher_network"] = given["teacher_network"] or (
        "calibration-128" if reduced else values["student_network"])
    values["unlabeled_batch_size"] = given["unlabeled_batch_size"] or given["batch_size"]
    execution = given["steps_per_execution"]    # intervals are multiples of it
    for name, most in (("eval_steps", None), ("checkpoint_steps", 1000), ("summary_steps", 1000)):
        interval = min(given["train_steps"] // 20, most or given["train_steps"])
        values[name] = given[name] or max(interval // execution, 1) * execution
    return values


def differences(old, new):
    """What forbids `new` to continue a run of `old`, a line per flag; [] where nothing does.

    Args:
      old: `to_dict` of the Config that the run was started with.
      new: Config.

    Returns:
      Lines such as "--seed: 0 in model_dir, 1 now". Flags in RESULT_NEUTRAL and flags without
      effect may differ, and train_steps may grow.
    """
    defaults = {name: field.default for name, field in _FIELDS.items()}
    old_values = {**defaults, **old}
    lines = []
    if new.train_steps < old_values["train_steps"]:
        lines.append(f"--train_steps: {old_values['train_steps']} in model_dir, {new.train_steps} "
                     "now (only more steps continue a run)")
    # Defaults derived from train_steps follow it: they are no difference.
    old_values = _resolve({**old_values, "train_steps": new.train_steps})
    skipped = RESULT_NEUTRAL.union(new.unused())
    for name in [*_FIELDS, *sorted(set(old) - set(_FIELDS))]:
        was, now = old_values[name], getattr(new, name, "no such flag")
        if name not in skipped and was != now:
            lines.append(f"--{name}: {'empty' if was == '' else was} in model_dir, "
                         f"{'empty' if now == '' else now} now")
    return lines


def parse(argv, only=None):
    """The Config of a command line; argv[0] is the program. Reads flag files and nothing else.

    Args:
      only: names of the flags that the program takes, None for all.

    Raises:
      ValueError: in one line.
    """
    parsers = {bool: flags.BooleanParser(), int: flags.IntegerParser(), float: flags.FloatParser(),
               str: flags.ArgumentParser()}
    switches = [name for name, field in _FIELDS.items() if field.type is bool]
    values, typed = {}, {}
    for name, text, place in arguments.read_arguments(argv[1:], switches):
        if name not in (only or _FIELDS):
            raise ValueError(
                f"unknown flag --{name}{place}: {arguments.suggestion(name, only or _FIELDS)}")
        if text is None:
            raise ValueError(f"--{name}{place} has no value: expected --{name}=VALUE")
        field = _FIELDS[name]
        try:
            values[name] = parsers[field.type].parse(text)
        except ValueError:
            raise ValueError(config_checks.bad_value(
                name, text, field.type, field.default, field.metadata) + place) from None
        if name in _PATHS:
            values[name] = os.path.expanduser(values[name])
        typed.pop(name, None)
        if not place:
            typed[name] = f"--{name}={text}"
    config = Config(**values)
    if not config.model_dir:
        raise ValueError("--model_dir is missing: expected a folder for checkpoints and results; "
                         "add --model_dir=runs/NAME")
    # Settings inherited from a file may be idle in a variant; one typed by hand is a mistake.
    for name, reason in config.unused().items():
        if name in typed:
            raise ValueError(f"{typed[name]} has no effect with {reason}: leave one of them out")
    return config


def from_argv(argv, usage=USAGE, only=None):
    """The Config of a command line, for entry points; see `parse`. `usage` heads the help.

    --help and -h print the flags and exit with 0. Whatever is wrong, a --fixed_teacher that does
    not exist too, is one line on stderr and exit code 2.
    """
    if set(argv[1:]).intersection(arguments.HELP):
        shown = [field for name, field in _FIELDS.items() if name in (only or _FIELDS)]
        print(arguments.help_text(usage, shown, headings=only is None))
        sys.exit(0)
    try:
        config = parse(argv, only)
        missing = next(config_checks.missing_files(config), None)
        if missing:
            raise ValueError(missing)
    except ValueError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    return config

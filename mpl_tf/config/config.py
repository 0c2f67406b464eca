"""The frozen Config made of all flags of this package. Nothing else reads flags.

    config = from_argv(sys.argv)

Flags have absl's syntax and value parsers, without its global registry: --name=value, --name
value, --[no]switch, --flagfile=FILE (# comments, nested files, the last value wins). No TensorFlow
is imported here, so a bad flag is refused at once. The flags themselves are in
config_flags.py, contradictions and unused flags in config_checks.py.
"""

import dataclasses
import os
import sys

from absl import flags

from mpl_tf.common import arguments
from mpl_tf.config import checks
from mpl_tf.config.flags import DATASET_DEFAULTS, FIXED_TEACHER, Flags

USAGE = """\
Trains a student by Meta Pseudo Labels, or one of the paper's baselines.

usage: python -m mpl_tf.train [--flagfile=FILE ...] --model_dir=DIR [--NAME=VALUE ...]

  python -m mpl_tf.train --flagfile=flags/digits.cfg
  python -m mpl_tf.train --flagfile=flags/digits.cfg --seed=1 --model_dir=runs/digits_seed1
  python -m mpl_tf.train --flagfile=flags/cifar10.cfg --data_dir=DIR --strategy=mirrored

The last value given for a flag wins. A file holds one flag a line, and # comments; its flags stand
where --flagfile stands. The same command again resumes a run. [ ] shows the default."""

_SIZED = {"imagenet": 224, "image_folder": 64}      # the sides of their images can be chosen
# Flags that may differ when a run is resumed in its model_dir (train_steps: only upwards).
RESULT_NEUTRAL = frozenset({
    "model_dir", "data_dir", "unlabeled_dir", "train_steps", "eval_batch_size", "checkpoint_steps",
    "keep_checkpoints", "summary_steps", "plots", "tpu", "skip_corrupt"})
_PATHS = ("model_dir", "data_dir", "unlabeled_dir", "fixed_teacher", "predictions_dir", "selection",
          "student_weights")


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """A run's settings, checked: plain ints, floats, bools and strings, named as the flags.

    Attributes (and `dataclasses.asdict`) hold values ready to use: where a flag was left empty (0
    or ""), what that stands for. `to_dict` and `replace` keep the flags as given, so that a
    default derived from another flag follows it.

    Raises:
      ValueError: in one line, for a wrong type, an impossible value or a contradiction.
    """

    def __post_init__(self):
        given = {}
        for field in dataclasses.fields(self):
            given[field.name] = checks.checked_value(
                field.name, getattr(self, field.name), field.type, field.default, field.metadata)
        object.__setattr__(self, "_given", given)
        for name, value in _resolve(given).items():
            object.__setattr__(self, name, value)
        contradiction = next(checks.contradictions(self), None)
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
        return self.method in FIXED_TEACHER

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
        return checks.unused(self)

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
        moved = name == "unlabeled_dir" and bool(was) == bool(now)
        if (name not in skipped or name == "unlabeled_dir") and was != now and not moved:
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
            raise ValueError(checks.bad_value(
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
        missing = next(checks.missing_files(config), None)
        if missing:
            raise ValueError(missing)
    except ValueError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    return config

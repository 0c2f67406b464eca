"""The checked settings of a run, made of its flags. No other module reads flags.

    config = config.from_arguments(sys.argv[1:])

Flags have absl's syntax and are parsed by absl's parsers, without its global registry:
--name=value, --name value, --[no]switch, and --flagfile=FILE. A flag file may have # comments and
name other flag files; the last value given for a flag wins. This module does not import TensorFlow,
so a bad flag is refused at once. flags.py has the flags themselves, checks.py the contradictions
between them, flag_files.py the flag files and --help.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Type

from absl import flags as absl_flags

from mpl_tf import datasets
from mpl_tf.common import command
from mpl_tf.config import checks, flag_files, memory
from mpl_tf.config.flags import FIELDS, Flags, Value, describe, from_dict
from mpl_tf.config.methods import METHODS, Method
from mpl_tf.method.objectives import OBJECTIVES, Objective

log = logging.getLogger("mpl_tf")

USAGE = """\
Trains a student by Meta Pseudo Labels, or one of the paper's baselines.

usage: python -m mpl_tf.train [--flagfile=FILE ...] --model_dir=DIR [--NAME=VALUE ...]

  python -m mpl_tf.train --flagfile=digits.cfg
  python -m mpl_tf.train --flagfile=digits.cfg --seed=1 --model_dir=runs/digits_seed1
  python -m mpl_tf.train --flagfile=cifar10.cfg --data_dir=DIR --strategy=mirrored

The last value given for a flag wins. A flag file has one flag a line and may have # comments; its
flags take the place of --flagfile. To resume a run, give the same command again. Defaults are shown
in [ ]."""

# Flags that may differ when a run is resumed in its model_dir; train_steps may only grow.
RESULT_NEUTRAL = frozenset({
    "model_dir", "data_dir", "unlabeled_dir", "train_steps", "eval_batch_size", "checkpoint_steps",
    "keep_checkpoints", "summary_steps", "plots", "report", "export", "tpu",
    "skip_corrupt"})


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """A run's settings, checked. A flag that was left empty or 0 has the value that this stands for.

    `of` and `resolve` make a Config. Its method `replace` makes a changed one: it starts from the
    flags as they were given, so that a default derived from a changed flag changes with it.

    Attributes:
      flags: the Flags as they were given. All other attributes are the settings, named as the flags.

    Raises:
      ValueError: in one line, for a contradiction between settings, or if the settings do not follow
        from `flags`.
    """

    flags: Flags = None

    def __post_init__(self):
        super().__post_init__()
        own = {name: getattr(self, name) for name in FIELDS}
        if self.flags is None or own != resolved(self.flags.to_dict()):
            raise ValueError("a Config follows from its flags: make it by config.of(...), and change "
                             "it by its method `replace`")
        contradiction = next(checks.contradictions(self), None)
        if contradiction:
            raise ValueError(contradiction)

    @property
    def facts(self) -> Method:
        """The facts of the method, see methods.Method."""
        return METHODS[self.method]

    @property
    def source(self) -> datasets.Source:
        """The Source of the data set, see mpl_tf.datasets.sources."""
        return datasets.find(self.dataset)

    @property
    def objective_class(self) -> Type[Objective]:
        """The class of the objective, see mpl_tf.method.objectives."""
        return OBJECTIVES[self.objective]

    @property
    def strong_views(self) -> bool:
        """Whether the student, or a baseline, learns on strong views."""
        if self.needs_probs:    # strong views are NoisyStudent's noise
            return self.randaugment_layers > 0 or self.cutout > 0
        return self.facts.objective and self.objective_class.strong_views()

    @property
    def needs_unlabeled(self) -> bool:
        """Whether training takes unlabeled batches."""
        return self.facts.unlabeled or self.objective_class.unlabeled

    @property
    def needs_fixed_teacher(self) -> bool:
        """Whether the student learns from a network that was trained before and stays as it is."""
        return self.facts.teacher == "fixed"

    @property
    def needs_probs(self) -> bool:
        """Whether training takes stored predictions."""
        return self.facts.stored_probs

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is trained beside the student."""
        return self.facts.teacher == "trained"

    def to_dict(self):
        """{flag: value} of the flags as given; `of` makes an equal Config of it."""
        return self.flags.to_dict()

    def unused(self) -> Dict[str, str]:
        """The flags without effect on this run, see checks.unused."""
        return checks.unused(self)

    def replace(self, **changes: Value) -> Config:
        """The Config of the same flags, some of them changed.

        Raises:
          ValueError: in one line, as `of`.
        """
        return of(**{**self.flags.to_dict(), **changes})


def of(**values: Value) -> Config:
    """Makes a Config of flags, given by name. Flags that are left out have their defaults.

    Raises:
      ValueError: in one line, for an unknown name, an impossible value or a contradiction.
    """
    return resolve(from_dict(values))


def resolve(flags: Flags) -> Config:
    """Makes a Config of Flags.

    Raises:
      ValueError: in one line, if the flags contradict each other.
    """
    given = flags.flags if isinstance(flags, Config) else flags
    return Config(**resolved(given.to_dict()), flags=given)


def resolved(given: Mapping[str, Any]) -> Dict[str, Any]:
    """Replaces empty and zero values by what they stand for.

    Args:
      given: {flag: value} of all flags, as they were given.

    Returns:
      {flag: value} of all flags, ready to use.
    """
    values = dict(given)
    source = datasets.find(given["dataset"])
    for name in ("labeled_examples", "labeled_selection", "objective", "student_network"):
        values[name] = given[name] or getattr(source, name)
    reduced = given["method"] == "reduced_mpl"
    if reduced:
        values["objective"] = given["objective"] or "supervised"
    values["teacher_schedule"] = given["teacher_schedule"] or (
        "constant" if reduced else given["schedule"])
    values["decay_steps"] = given["decay_steps"] or max(
        round(given["train_steps"] * 2.4 / 350), 1)
    if "image_size" in source.options:
        values["image_size"] = given["image_size"] or source.image_size
    values["teacher_network"] = given["teacher_network"] or (
        "calibration-128" if reduced else values["student_network"])
    values["unlabeled_batch_size"] = given["unlabeled_batch_size"] or given["batch_size"]
    execution = given["steps_per_execution"]    # derived intervals are multiples of it
    for name, most in (("eval_steps", None), ("checkpoint_steps", 1000), ("summary_steps", 1000)):
        interval = min(given["train_steps"] // 20, most or given["train_steps"])
        values[name] = given[name] or max(interval // execution, 1) * execution
    return values


def differences(old: Mapping[str, Any], new: Config) -> List[str]:
    """Why the run that was started with `old` cannot be continued with `new`.

    Args:
      old: dict, the Flags.to_dict() of the run that was started.
      new: the Config that is to continue it.

    Returns:
      A list of lines, one a flag, such as "--seed: 0 in model_dir, 1 now"; [] if nothing is in the
      way. Flags in RESULT_NEUTRAL and flags without effect may differ, and train_steps may grow.
    """
    old_values = {**{name: field.default for name, field in FIELDS.items()}, **old}
    lines = []
    if new.train_steps < old_values["train_steps"]:
        lines.append(f"--train_steps: {old_values['train_steps']} in model_dir, {new.train_steps} "
                     "now (only more steps continue a run)")
    # Defaults that are derived from train_steps change with it, and are no difference.
    old_values = resolved({**old_values, "train_steps": new.train_steps})
    skipped = RESULT_NEUTRAL.union(new.unused())
    for name in [*FIELDS, *sorted(set(old) - set(FIELDS))]:
        was, now = old_values[name], getattr(new, name, "no such flag")
        moved = name == "unlabeled_dir" and bool(was) == bool(now)
        if (name not in skipped or name == "unlabeled_dir") and was != now and not moved:
            lines.append(f"--{name}: {'empty' if was == '' else was} in model_dir, "
                         f"{'empty' if now == '' else now} now")
    return lines


SHORT_WARMUP = 0.2      # the share of a training up to which nothing is said of its warm-up
_PARSERS = {bool: absl_flags.BooleanParser(), int: absl_flags.IntegerParser(),
            float: absl_flags.FloatParser(), str: absl_flags.ArgumentParser()}


def parse(arguments: Sequence[str], only: Optional[Collection[str]] = None) -> Config:
    """Makes the Config of a command line. It reads flag files and no other files.

    Args:
      arguments: list of str, without the program's name.
      only: the names of the flags that the program takes; None stands for all.

    Raises:
      ValueError: in one line, for an argument that is no flag of the program, an impossible value,
        a contradiction, a missing --model_dir, or a flag on the command line that has no effect.
    """
    switches = [name for name, field in FIELDS.items() if field.type is bool]
    values, typed = {}, {}
    overridden = {}     # of a flag that was typed before a file that has it too, which then wins
    given = list(flag_files.read_arguments(arguments, switches))
    unknown = [(name, place) for name, _, place in given if name not in (only or FIELDS)]
    if unknown:
        known = list(only or FIELDS)
        known += [f"no{switch}" for switch in switches if switch in known]
        raise ValueError(command.unknown_flags(unknown, known))
    for name, text, place in given:
        if text is None:
            raise ValueError(f"--{name}{place} has no value: expected --{name}=VALUE")
        field = FIELDS[name]
        try:
            values[name] = _PARSERS[field.type].parse(text)
        except ValueError:
            raise ValueError(checks.bad_value(
                name, text, field.type, field.default, describe(field)) + place) from None
        if field.metadata["path"]:
            values[name] = command.path(values[name], f"--{name}")
        before = typed.pop(name, overridden.pop(name, ("", ""))[0])
        if not place:
            typed[name] = f"--{name}={text}"
        elif before and before != f"--{name}={text}":
            overridden[name] = before, place
    config = of(**values)
    if not config.model_dir:
        raise ValueError("--model_dir is missing: expected the folder of a run, where its checkpoints "
                         "and results are; add --model_dir=runs/NAME")
    # A flag without effect is harmless where a variant inherits it from a file; typed, it is a
    # mistake.
    for name, reason in config.unused().items():
        if name in typed:
            raise ValueError(f"{typed[name]} has no effect with {reason}: leave one of them out")
    # Where a file's run is shortened, its warm-up is not.
    if ("train_steps" in typed and "warmup_steps" not in {*typed, *config.unused()}
            and config.warmup_steps > SHORT_WARMUP * config.train_steps):
        log.warning("%s leaves --warmup_steps=%d as it was, %.0f %% of the training: add "
                    "--warmup_steps=%d", typed["train_steps"], config.warmup_steps,
                    100 * config.warmup_steps / config.train_steps, config.train_steps // 20)
    for flag, place in overridden.values():
        log.warning("%s is overridden%s, which stands after it: the last value wins, so write "
                    "--flagfile first", flag, place)
    return config


def from_arguments(arguments: Sequence[str], usage: str = USAGE,
                   only: Optional[Collection[str]] = None) -> Config:
    """Makes the Config of a program's command line. --help and -h print the flags and exit with 0.

    Args:
      arguments, only: as of `parse`.
      usage: the text with which the help begins.

    Raises:
      ValueError: in one line, as of `parse`, for a file or folder that is missing, and for a
        network or batch that a program of all flags could not hold in memory.
    """
    if set(arguments).intersection(flag_files.HELP):
        shown = [field for name, field in FIELDS.items() if name in (only or FIELDS)]
        print(flag_files.help_text(usage, shown, headings=only is None))
        sys.exit(0)
    try:
        config = parse(arguments, only)
        missing = itertools.chain(checks.missing_files(config),
                                  memory.shortages(config) if only is None else ())
        for line in missing:
            raise ValueError(line)
    except ValueError as error:     # what a user typed may have line ends in it
        raise ValueError(" ".join(str(error).split())) from None
    return config

"""What is searched: reads the file that names flags and their ranges.

    [supervised]
    student_learning_rate   0.01 to 1, log
    batch_size              64 or 128

A section for each stage; in it a line for each flag: its least and its largest value, "log" where the
logarithm is what is searched evenly, or the values that it may have. Lines that begin with # are
comments. This module imports neither TensorFlow nor Optuna.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

from mpl_tf.common import command
from mpl_tf.config import RESULT_NEUTRAL, checks, flag_files
from mpl_tf.config.flags import FIELDS, describe

STAGES = ("supervised", "teacher")
DEFAULT = "paper.search"
# Trials that differ in these could not be compared, or would not see the same labels.
FIXED = RESULT_NEUTRAL | {
    "seed", "split_seed", "evaluate", "method", "dataset", "labeled_examples", "labeled_selection",
    "labeled_shards", "holdout", "holdout_shards", "train_split", "test_split", "unlabeled_split",
    "fixed_teacher", "predictions_dir", "selection", "noise", "strategy", "eval_steps",
    "median_evaluations", "steps_per_execution", "warmup_steps"}


@dataclasses.dataclass(frozen=True)
class Searched:
    """A flag that is searched: between two numbers, or among some values.

    Attributes:
      name: the flag's name.
      low, high, log: the range, and whether its logarithm is searched evenly.
      choices: the values that it may have; () for a range.
    """
    name: str
    low: Any = None
    high: Any = None
    log: bool = False
    choices: tuple = ()

    def __str__(self):
        if self.choices:
            return " or ".join(map(str, self.choices))
        return f"{self.low} to {self.high}{', log' * self.log}"

    @property
    def ends(self):
        """The values at which a mistake of the range shows."""
        return self.choices or (self.low, self.high)

    def holds(self, value):
        """Whether `value` is one that the search may try."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    def holding(self, value):
        """The same search, made so wide that it holds `value` too; a logarithm holds no 0."""
        if self.holds(value) or self.log and value <= 0:
            return self
        if self.choices:
            return dataclasses.replace(self, choices=(*self.choices, value))
        return dataclasses.replace(self, low=min(self.low, value), high=max(self.high, value))


def read(path: str) -> dict[str, tuple[Searched, ...]]:
    """Reads a file of what is searched, found by its path or among those that come with this package.

    Returns:
      {stage: what is searched in it} of the stages that the file names.

    Raises:
      ValueError: in one line, for a file that is missing or no such file, or a line of it.
    """
    found = path
    if not os.path.exists(path) and not os.path.dirname(path):
        found = os.path.join(flag_files.shipped(), path)
    expected = f"expected a file such as {DEFAULT}, which comes with this package"
    try:
        text = flag_files.read_text(found, f"--search={path}", expected)
    except FileNotFoundError:
        raise ValueError(f"--search={path}: no such file; {expected}") from None
    return parse(text, path)


def parse(text: str, path: str = DEFAULT) -> dict[str, tuple[Searched, ...]]:
    """What `read` returns, of a file's text; `path` is its name, for errors."""
    stages: dict[str, list[Searched]] = {}
    stage = None
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("["):
                stage = line.strip("[]").strip()
                if stage not in STAGES or stage in stages:
                    raise ValueError(f"{line!r}: expected each of [{'], ['.join(STAGES)}] once")
                stages[stage] = []
            elif stage is None:
                raise ValueError(f"{line!r} stands before [{'] or ['.join(STAGES)}]: say first of "
                                 "which stage it is")
            else:
                found = _searched(line)
                if found.name in {other.name for other in stages[stage]}:
                    raise ValueError(f"{found.name} twice in [{stage}]: expected each flag once")
                stages[stage].append(found)
        except ValueError as error:
            raise ValueError(f"--search={path}, line {number}: {error}") from None
    return {stage: tuple(found) for stage, found in stages.items()}


def _searched(line):
    """The Searched of a line."""
    name, _, words = line.partition(" ") if " " in line else line.partition("\t")
    name, words = name.strip().lstrip("-"), words.strip()
    if name not in FIELDS:
        raise ValueError(f"unknown flag {name!r}: {command.suggestion(name, FIELDS)}")
    if name in FIXED:
        raise ValueError(f"{name} is not to be searched, as trials have to be alike in it: leave it out")
    kind = FIELDS[name].type
    span = re.fullmatch(r"(\S+)\s+to\s+(\S+?)(\s*,\s*log)?", words)
    if span and kind in (int, float):
        low, high, log = _value(name, span[1]), _value(name, span[2]), bool(span[3])
        if not low < high or log and low <= 0:
            raise ValueError(f"{name} from {low} to {high}: expected first the smaller number"
                             + ", which is above 0 for log" * log)
        return Searched(name, low, high, log)
    values = [_value(name, word.strip()) for word in re.split(r"\s+or\s+", words)] if words else []
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"{line!r}: expected {name} and its range, such as 0.01 to 1, log; or two or "
                         "more values, such as 64 or 128")
    return Searched(name, choices=tuple(values))


def _value(name, text):
    """The value of a flag that stands as `text` in the file."""
    field = FIELDS[name]
    try:
        value = {"true": True, "false": False}[text] if field.type is bool else field.type(text)
    except (KeyError, ValueError):
        value = None
    if value is None:
        raise ValueError(checks.bad_value(name, text, field.type, field.default, describe(field)))
    return checks.checked_value(name, value, field.type, field.default, describe(field))

"""What a study tries: the settings of its trials, made of flag file, stage and found values.

Nothing here runs or writes. This module imports neither TensorFlow nor Optuna.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

from mpl_tf.common import command, storage
from mpl_tf.common.structure import SHARE
from mpl_tf.config import FIELDS, RESULT_NEUTRAL, SHORT_WARMUP, Config
from mpl_tf.tune.space import FIXED, Searched

FIGURE = "student_holdout_accuracy"
PAPER_STEPS = 100_000       # of a trial, Appendix C.1
# What every trial of the supervised stage has, whatever the flag file says.
SUPERVISED = {"method": "baseline", "objective": "supervised", "fixed_teacher": "", "predictions_dir": "",
              "selection": ""}
RESULTS, BEST = "results.json", "best.cfg"
PROGRAM = "mpl_tf.tune"
IMPOSSIBLE = "impossible"       # with which begins why a trial's values together make no run


@dataclasses.dataclass(frozen=True)
class Plan:
    """A study's plan. Two processes may work on one study if their plans have the same `facts`.

    Attributes:
      stage: "supervised" or "teacher".
      base: the Config of a whole run with the values that the flag file has.
      searched: the flags that are searched; all of them have an effect on the runs. They hold base's own
        values, with which the first trial is made.
      own: {flag: words for the screen} of those for which the search file's range does not hold base's value.
      left_out: {flag of the search file: the setting because of which it has no effect}.
      kept: {flag: value} that an earlier stage found; `base` has them.
      trial_steps: the steps of a trial.
      keep_one_in: of how many trials one goes on, at a ninth and a third (for 3) of its steps, or later.
    """
    stage: str
    base: Config
    searched: tuple[Searched, ...]
    own: dict[str, str]
    left_out: dict[str, str]
    kept: dict[str, Any]
    trial_steps: int
    keep_one_in: int

    def trial(self, folder: str, **values: Any) -> Config:
        """The Config of a trial in `folder` with `values` of what is searched."""
        return self.base.replace(
            model_dir=folder, evaluate="holdout", train_steps=self.trial_steps, warmup_steps=self._warmup(),
            eval_steps=0, checkpoint_steps=0, summary_steps=self.trial_steps, keep_checkpoints=1,
            plots=False, **values)

    def _warmup(self):
        warmup = self.base.warmup_steps
        return self.trial_steps // 20 if warmup > SHORT_WARMUP * self.trial_steps else warmup

    def rungs(self) -> tuple[int, ...]:
        """The steps from which on a trial may be cut: at first three warm-ups, a ninth of all at least."""
        factor = self.keep_one_in
        if factor == 1:
            return ()
        first = -(-self.trial_steps // factor ** 2)     # rounded up, so that a third would be the end
        if self.base.schedule != "constant":
            first = min(max(first, 3 * self._warmup()), max(first, self.trial_steps // factor))
        return tuple(step for step in (first, first * factor) if step < self.trial_steps)

    def first(self) -> dict[str, Any]:
        """The base's own values of what is searched, but for a 0 of which a logarithm is searched."""
        own = {each.name: getattr(self.base, each.name) for each in self.searched}
        return {each.name: own[each.name] for each in self.searched if each.holds(own[each.name])}

    def facts(self) -> dict[str, Any]:
        """What has to be equal for all who work on a study, as JSON can hold it."""
        config = self.trial("trial")
        skipped = {*RESULT_NEUTRAL, *config.unused(), *(each.name for each in self.searched)}
        return {"stage": self.stage, "trial_steps": self.trial_steps, "keep_one_in": self.keep_one_in,
                "searched": {each.name: str(each) for each in self.searched},
                "flags": {name: getattr(config, name) for name in FIELDS if name not in skipped}}


def make(base: Config, stage: str, searched: tuple[Searched, ...], trial_steps: int = 0,
         keep_one_in: int = 3, kept: dict[str, Any] | None = None) -> Plan:
    """Makes the Plan of a stage.

    Args:
      base: the Config of the flag file and of what was added to it.
      searched: what the search file names for this stage.
      trial_steps: 0 stands for the paper's 100,000, or for base's steps where these are fewer.
      kept: the values that an earlier stage found.

    Raises:
      ValueError: in one line, where there is nothing to search, no label held out, or a value at the
        end of a range that makes no run.
    """
    if not base.holdout and not base.holdout_shards:
        raise ValueError("no labels are held out, by which a trial is judged: add -- --holdout=N, as "
                         "the paper's 400 of 4,000 labeled examples (--holdout_shards=N for shards)")
    if base.strategy in ("multi_worker", "tpu"):
        raise ValueError(f"--strategy={base.strategy}: expected trials on one machine each; leave it "
                         "out, and start this command on every machine with one --storage")
    if stage == "supervised":
        base = base.replace(**SUPERVISED)
    elif not base.has_teacher:
        raise ValueError(f"--stage=teacher with --method={base.method}: expected a flag file of Meta "
                         "Pseudo Labels, such as digits.cfg")
    base = base.replace(**(kept or {}))
    unused = base.unused()
    left_out = {each.name: unused[each.name] for each in searched if each.name in unused}
    searched = [each for each in searched if each.name not in unused]
    wide = tuple(each.holding(getattr(base, each.name)) for each in searched)
    own = {each.name: _of_own_value(each, wider, getattr(base, each.name)) for each, wider in zip(searched, wide)
           if not each.holds(getattr(base, each.name))}
    plan = Plan(stage, base, wide, own, left_out, kept or {}, trial_steps or min(PAPER_STEPS, base.train_steps), keep_one_in)
    if not plan.searched:
        raise ValueError(f"nothing is searched in stage {stage}: expected flags in section [{stage}] "
                         "of --search that have an effect on these runs")
    for each in plan.searched:
        for value in each.ends:
            try:
                plan.trial("trial", **{each.name: value})
            except ValueError as error:
                raise ValueError(f"a trial with --{each.name}={value} is impossible: {error}") from None
    return plan


def _of_own_value(written, wider, value):
    return f"the file's own {value} is no logarithm's: no trial has it" if wider == written else (
        f"made wider than {written} for the file's own value, {value}")


def found(folder: str, base: Config) -> dict[str, Any]:
    """The values that the supervised stage in `folder` has found.

    Raises:
      ValueError: in one line, where there are none, or none of base's data set and student.
    """
    remedy = "run that study again to write it anew"
    results = storage.read_json(os.path.join(folder, RESULTS), remedy)
    if results is None or results.get("program") != PROGRAM:
        raise ValueError(f"--from={folder} has no {RESULTS} of a study: expected the folder of a "
                         f"finished `python -m {PROGRAM} --stage=supervised`")
    results = storage.read_json(os.path.join(folder, RESULTS), remedy, {
        "stage": str, "values": {...: (float, str, bool)}, "dataset": str, "student_network": str,
        "best": {"accuracy": SHARE}})
    if results["stage"] != "supervised":
        raise ValueError(f"--from={folder} is a study of stage {results['stage']}: expected one of "
                         "stage supervised")
    for name in ("dataset", "student_network"):
        if results[name] != getattr(base, name):
            raise ValueError(f"--from={folder} was tuned for --{name}={results[name]}, and --flagfile "
                             f"has {getattr(base, name)}: expected the same")
    for name in results["values"]:
        if name not in FIELDS or name in FIXED or name in SUPERVISED:
            raise ValueError(f"--from={folder}: {RESULTS} has --{name} among the values that were found, which no "
                             f"study searches: {remedy}")
    try:
        base.replace(**results["values"])
    except ValueError as error:
        raise ValueError(f"--from={folder} has values that make no run with these flags: {error}") from None
    return results["values"]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines, one a difference, that say why the Plan of facts `new` is none of a study of `old`."""
    lines = []
    for name in ("stage", "trial_steps", "keep_one_in"):
        if old.get(name) != new[name]:
            lines.append(f"--{name}: {old.get(name)} there, {new[name]} now")
    for part, words in (("searched", "search of "), ("flags", "--")):
        was, now = old.get(part, {}), new[part]
        for name in sorted({*was, *now}):
            if name in FIELDS and name not in was and part == "flags" and (
                    now[name] == FIELDS[name].default):
                continue        # a flag that is younger than the study
            if was.get(name) != now.get(name):
                lines.append(f"{words}{name}: {was.get(name, 'none')} there, "
                             f"{now.get(name, 'none')} now")
    return lines


def flag_file(config: Config, comments: list[str]) -> tuple[str, list[str]]:
    """A flag file from which `mpl_tf.train` makes `config`.

    Returns:
      (its text, [the flags whose values cannot stand in a flag file]).
    """
    lines, lacking = [], []
    for name, field in FIELDS.items():
        value = getattr(config.flags, name)
        if value == field.default:
            continue
        if field.type is bool:
            lines.append(f"--{name}" if value else f"--no{name}")
        elif isinstance(value, str) and not _writable(value):
            lacking.append(name)
        else:
            lines.append(f"--{name}={value}")
    head = [f"# {command.shown(command.readable(comment))}" for comment in comments]
    head += [f"# --{name} has a value that no flag file can hold: add it to the command."
             for name in lacking]
    return "\n".join([*head, "", *lines, ""]), lacking


def _writable(text):
    """Whether a line of a flag file can hold `text` as a value, see flag_files."""
    return (text == text.strip() and not re.search(r"[\r\n\0\ufeff]|\s#", text)
            and text == command.readable(text))

"""Did the meta gradient help? A run and its companions on the same test images, in numbers and words."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any, Sequence

import numpy as np

from mpl_tf.config import FIELDS, RESULT_NEUTRAL
from mpl_tf.report import companions, statistics
from mpl_tf.run import run_folder, seed_names

SURE = 1 - statistics.LEVEL
_NOT_OF_A_KIND = {"seed", "split_seed", "predictions_dir", "selection", "fixed_teacher"} | RESULT_NEUTRAL - {"train_steps"}
NAMES = {companions.CONTROL: "its control", companions.BASELINE: "its baseline",
         companions.SHUFFLED: "the shuffled control"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
      folder: its model_dir. config: the Config. predicted: the predicted.Predicted.
    """
    folder: str
    config: Any
    predicted: Any

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two runs on the same test images.

    Attributes:
      role: "student" or "teacher" of `run`. other_role: that of `other`, the same but for a baseline, whose
        one network is called student and compared with both.
    """
    run: Run
    other: Run
    role: str
    other_role: str

    @property
    def rights(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each of the two gets a test image right, bool [N] each."""
        return self.run.predicted.right(self.role), self.other.predicted.right(self.other_role)

    @functools.cached_property
    def paired(self) -> statistics.Paired:
        """What the images say of the two."""
        return statistics.paired(*self.rights)


@dataclasses.dataclass(frozen=True)
class Against:
    """Runs, and what one kind of companion got on the same test images.

    Attributes:
      kind: a companion's name, or companions.OTHER. label: of it, for people.
      pairs: {role: [Pair]}, of each seed that both have. unlike: lines of further differences.
    """
    kind: str
    label: str
    pairs: dict[str, list[Pair]]
    unlike: list[str]

    def mean(self, role: str = "student") -> statistics.Mean:
        """The mean over seeds of the differences; its interval is that over seeds and over images."""
        pairs = self.pairs[role]
        keys = pairs[0].run.predicted.keys
        return statistics.mean_difference(
            *zip(*(pair.rights for pair in pairs)),
            same=all(np.array_equal(keys, pair.run.predicted.keys) for pair in pairs))


def against(runs: Sequence[Run], others: Sequence[Run]) -> list[Against]:
    """Pairs runs of one kind with their companions: [Against], a control first.

    Runs are paired by seed. One run and one companion are paired whatever their seeds are.

    Raises:
      ValueError: in one line: two runs of a kind have one seed, none has the other's, or test images
        differ.
    """
    return [_group(kind, label, runs, found)
            for (kind, label), found in by_kind(runs[0].config, others).items()]


def by_kind(config: Any, others: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """{(kind, label): runs} of what runs are beside that of `config`, a control first.

    Runs that are no companions are of one kind if their folders' names, but for the seeds, and their flags
    are the same, places apart. Where that name is of several kinds, their label is the first run's folder.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for other in others:
        kind = companions.kind(config, other.config)
        group = (kind, NAMES[kind], "") if kind in NAMES else (kind, _row(other.folder), str(
            [(flag, getattr(other.config, flag)) for flag in FIELDS if flag not in _NOT_OF_A_KIND]))
        groups.setdefault(group, []).append(other)
    named = [label for _, label, _ in groups]
    rank = [companions.CONTROL, companions.BASELINE, companions.SHUFFLED, companions.OTHER]
    return {(kind, label if named.count(label) == 1 else found[0].folder): found
            for (kind, label, _), found in sorted(groups.items(), key=lambda item: rank.index(item[0][0]))}


def _row(folder):
    """The name of a run's folder without its seed."""
    name = os.path.basename(folder.rstrip("/"))
    return (seed_names.split(name) or (name,))[0]


def _group(kind, label, runs, others):
    own, theirs = _by_seed(runs), _by_seed(others)
    seeds = [seed for seed in own if seed in theirs]
    pairs = [(own[seed], theirs[seed]) for seed in seeds]
    if not pairs and len(runs) == len(others) == 1:
        pairs = [(runs[0], others[0])]
    if not pairs:
        raise ValueError(f"--against={others[0].folder}: none of its seeds, {_listed(theirs)}, is one of "
                         f"--model_dir's, {_listed(own)}: give runs of the same seeds")
    found: dict[str, list[Pair]] = {}
    for run, other in pairs:
        check_same(run, other)
        if os.path.realpath(run.folder) == os.path.realpath(other.folder):
            raise ValueError(f"--against={other.folder} is --model_dir itself: expected another run to compare "
                             "with, such as its control, --meta_weight=0")
        for role in run.predicted.logits:
            # A baseline's one network learns as a teacher without the signal does.
            other_role = "student" if kind == companions.BASELINE else role
            if other_role in other.predicted.logits:
                found.setdefault(role, []).append(Pair(run, other, role, other_role))
    unlike = list(dict.fromkeys(line for run, other in pairs
                                for line in (*companions.unlike(run.config, other.config, kind),
                                             *_other_data(run, other))))
    if pairs[0][0].seed != pairs[0][1].seed:
        unlike.append(f"--seed: {pairs[0][0].seed} here, {pairs[0][1].seed} there")
    return Against(kind, label, found, unlike)


def _by_seed(runs):
    found = {}
    for run in runs:
        if run.seed in found:
            raise ValueError(f"{found[run.seed].folder} and {run.folder} both have --seed={run.seed}: give "
                             "each seed of a kind of run once")
        found[run.seed] = run
    return dict(sorted(found.items()))


def _listed(values):
    return ", ".join(map(str, values))


def _other_data(run, other):
    """Lines of the data in which two runs differ, as both have noted them; an older run has noted none."""
    here, there = (run_folder.noted_data(each.folder) or {} for each in (run, other))
    parts = ("labeled", *["unlabeled"] * (run.config.needs_unlabeled and other.config.needs_unlabeled), "test")
    return [f"{part} data: {here[part]} here, {there[part]} there" for part in parts
            if part in here and part in there and here[part] != there[part]]


def check_same(run: Run, other: Run) -> None:
    """Raises ValueError, in one line, unless two runs have the same classes and were tested on the same images.

    Images are compared by their names and classes. Whether their bytes are the same too, a line of the
    differences says, as features of the same images may be others.
    """
    one, two = run.predicted, other.predicted
    names, others = (run_folder.class_names(each.folder) for each in (run, other))
    if names and others and names != others:
        new = [name for name in others if name not in names] + [name for name in names if name not in others]
        raise ValueError(f"--against={other.folder} has other classes than {run.folder} ({len(others)} and "
                         f"{len(names)}{f', such as {new[0]!r}' if new else ', in another order'}): expected runs "
                         "with the same classes; compare runs of one flag file")
    if not (np.array_equal(one.labels, two.labels) and np.array_equal(one.keys, two.keys)):
        raise ValueError(f"--against={other.folder} was tested on other images than {run.folder} "
                         f"({len(two.labels)} and {len(one.labels)}): expected runs of the same data set "
                         "and test split; compare runs of one flag file")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """kind: "helped", "hurt" or "unknown". sentence: the same in plain words."""
    kind: str
    sentence: str


def verdict(config: Any, found: Sequence[Against]) -> Verdict | None:
    """Whether the meta gradient helped, and what the baseline is beside it, in plain words.

    It is None for a run without a meta gradient. Runs that differ in other flags than those that make the
    one the other's companion tell nothing of it.
    """
    if not companions.has_signal(config):
        return None
    of_kind = {each.kind: each for each in found}
    control, shuffled = of_kind.get(companions.CONTROL), of_kind.get(companions.SHUFFLED)
    if control is None:
        also = next((f"; against {each.label} it is {points(each.mean().value)} points for the student"
                     for each in found if not each.unlike), "")
        return Verdict("unknown", "Whether the meta gradient helped cannot be told without the control, the "
                       f"same run with --meta_weight=0{also}.")
    kind, said = _told(control)
    of_shuffled = effect(shuffled)[-1] if shuffled is not None and not shuffled.unlike else "helped"
    if kind == "helped" and of_shuffled != "helped":
        said += ("; but it cannot be told from a shuffled signal" if of_shuffled == "unknown" else
                 "; but a shuffled signal does better still") + (
            ", so that the help may come from noise rather than from what the signal says")
    return Verdict(kind, f"{said}.{_of_baseline(of_kind.get(companions.BASELINE))}")


def _of_baseline(baseline):
    """A further sentence, of the student beside its baseline; nothing where there is none, or an unlike one."""
    if baseline is None or baseline.unlike:
        return ""
    value, low, high, kind = effect(baseline)
    named = f"its baseline, {_in_words(baseline)}"
    if kind == "helped":
        return (f" Beside {named}, the student is ahead by {100 * value:.1f} points (95 % interval {points(low)} to "
                f"{points(high)}).")
    if kind == "hurt":
        return (f" I{named[1:]}, is ahead of the student by {-100 * value:.1f} points (95 % interval {points(-high)} "
                f"to {points(-low)}): use the baseline, or train longer.")
    return (f" The student cannot be told from {named}: {points(value)} points (95 % interval {points(low)} to "
            f"{points(high)}).")


def _in_words(baseline):
    """What a baseline is."""
    config = baseline.pairs["student"][0].other.config
    return "a student of the stored labels as they are" if config.method == "noisy_student" else (
        "one network that learns by the teacher's objective alone")


def effect(against_: Against, role: str = "student") -> tuple[float, float, float, str]:
    """(difference, low, high, "helped" or "hurt" or "unknown") over all seeds, or of the one there is."""
    pairs = against_.pairs[role]
    if len(pairs) > 1:
        mean = against_.mean(role)
        value, low, high, sure = mean.value, mean.low, mean.high, True
    else:
        one = pairs[0].paired
        value, low, high, sure = one.difference, one.low, one.high, one.p_value < SURE
    kind = "helped" if sure and low > 0 else "hurt" if sure and high < 0 else "unknown"
    return value, low, high, kind


def _told(against_):
    """("helped", "hurt" or "unknown", the sentence without its end) for the student."""
    value, low, high, kind = effect(against_)
    pairs = against_.pairs["student"]
    if against_.unlike:
        first, *_ = against_.unlike
        more = len({line.partition(":")[0] for line in against_.unlike}) - 1
        others = f" and {more} more" if more else ""
        return "unknown", (f"Whether the meta gradient helped cannot be told: its control differs otherwise too "
                           f"({first}{others}), from which the {points(value)} points between the students may come. "
                           "Train both with the same data and flags but for the meta weight")
    count, images = len(pairs), pairs[0].paired.count
    where = f"{images} test {examples(pairs[0].run.config, images)}"
    interval = f"95 % interval {points(low)} to {points(high)}"
    if count > 1:
        mean = against_.mean()
        basis = f"{interval} over seeds and images, {count} seeds, above on {mean.above} of them"
    else:
        p = pairs[0].paired.p_value
        basis = f"{interval}, exact McNemar p {f'= {p:.2g}' if p >= 0.001 else '< 0.001'}, one seed: another may differ"
    if kind == "unknown" and all(right.all() for pair in pairs for right in pair.rights):
        return kind, ("Whether the meta gradient helped cannot be told: with it and without it the student has all "
                      f"{where} right. Test on more of them, or give fewer labels, to see a difference")
    if kind == "unknown":
        return kind, (f"Whether the meta gradient helped cannot be told: with it the student is {points(value)} "
                      f"points from its control without it, on {where} ({basis})")
    verb, more = ("helped", "more") if kind == "helped" else ("hurt", "fewer")
    return kind, (f"The meta gradient {verb}: with it the student gets {abs(100 * value):.1f} points {more} of "
                  f"{where} right than its control without it ({basis})")


def examples(config: Any, count: int = 2) -> str:
    """What the examples of a run are for people, "images" or else "examples"; `count` of them."""
    return ("image" if config.source.serves_images else "example") + "s" * (count != 1)


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}" if np.isfinite(share) else ("−∞" if share < 0 else "+∞")

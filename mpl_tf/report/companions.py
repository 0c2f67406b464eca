"""The runs beside which a run is read: its baseline, its control and the shuffled control."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

from mpl_tf.config import FIELDS


@dataclasses.dataclass(frozen=True)
class Companion:
    """A run that differs from another in a few flags.

    Attributes:
      name: of the row. about: what it is, in plain words.
      changes: {flag: value} for each method that has such a companion.
    """
    name: str
    about: str
    changes: Mapping[str, Mapping[str, Any]]

    def of(self, method: str) -> Mapping[str, Any] | None:
        """The flags that make it of a run of `method`; None where there is none."""
        return self.changes.get(method)


_BOTH = ("mpl", "reduced_mpl")
CONTROL, BASELINE, SHUFFLED, OTHER = "control", "baseline", "shuffled", "other"
COMPANIONS = (
    Companion(BASELINE, "one network without unlabeled guesses of a taught teacher",
              {"mpl": {"method": "baseline"}, "reduced_mpl": {"method": "noisy_student"}}),
    Companion(CONTROL, "the same with the meta gradient multiplied by 0",
              dict.fromkeys(_BOTH, {"meta_weight": 0.0})),
    Companion(SHUFFLED, "the same with the meta signal given to the wrong images",
              dict.fromkeys(_BOTH, {"meta_signal": "shuffled"})))


def has_signal(config: Any) -> bool:
    """Whether a Config's run has a meta gradient of its own, neither zero nor shuffled."""
    return config.has_teacher and config.meta_weight > 0 and config.meta_signal == "exact"


def kind(config: Any, other: Any) -> str:
    """What the run of the Config `other` is beside that of `config`: a companion's name, or OTHER."""
    for companion in COMPANIONS:
        changes = companion.of(config.method)
        if changes and all(getattr(other, flag) == value for flag, value in changes.items()) and any(
                getattr(config, flag) != value for flag, value in changes.items()):
            return companion.name
    return OTHER


def companions_of(config: Any) -> list[tuple[Companion, Any]]:
    """[(Companion, its Config)] of a Config.

    Raises:
      ValueError: in one line: the run has no meta gradient whose effect could be measured.
    """
    if not has_signal(config):
        cause = (f"--method={config.method}" if not config.has_teacher else
                 f"--meta_weight={config.meta_weight}" if not config.meta_weight else
                 f"--meta_signal={config.meta_signal}")
        raise ValueError(f"--baselines with {cause}: expected a run with a meta gradient, --method=mpl or "
                         "reduced_mpl, a meta weight above 0 and --meta_signal=exact; name the flag file of "
                         "such a run")
    return [(companion, config.replace(**companion.of(config.method)))
            for companion in COMPANIONS if companion.of(config.method)]


def unlike(config: Any, other: Any, name: str) -> list[str]:
    """In which further flags a companion differs, lines such as "--train_steps: 400 here, 200 there"."""
    from mpl_tf.config import RESULT_NEUTRAL
    companion = next((each for each in COMPANIONS if each.name == name), None)
    meant = set(companion.of(config.method) or ()) if companion else set()
    unused = set(config.unused()) | set(other.unused())
    if not (config.meta_weight and other.meta_weight):      # a signal times 0 is 0, whatever it was
        unused |= {"meta_scale", "meta_signal"}
    slices = [0 if "microbatch_size" in each.unused() else each.microbatch_size or 0
              for each in (config, other)]
    whole = [f"--microbatch_size: {' here, '.join(str(size or 'whole batches') for size in slices)} there, of "
             "which batch norm takes its statistics"] if slices[0] != slices[1] else []
    told = meant | unused | {"seed", "microbatch_size"} | (RESULT_NEUTRAL - {"train_steps"})
    return whole + [f"--{flag}: {getattr(config, flag)} here, {getattr(other, flag)} there" for flag in FIELDS
                    if flag not in told and getattr(config, flag) != getattr(other, flag)]

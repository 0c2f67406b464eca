"""Studies, over many draws of the two moons, whether the meta gradient helps.

    python -m mpl_tf.two_moons --seeds=20 --first_seed=100

It trains four learners on each draw of points and labels, with the settings of flags/two_moons.cfg
(the paper gives none): the supervised model, a student of its pseudo labels, the student of Meta
Pseudo Labels, and the control with meta weight 0. It prints accuracies on all points and the gains
of Meta Pseudo Labels, paired by draw.
"""

import os

import numpy as np

from mpl_tf import config as config_module
from mpl_tf.common import command, storage
from mpl_tf.common.command import Parser, whole
from mpl_tf.config import flag_files
from mpl_tf.two_moons.figures import TITLES

FLAGFILE = os.path.join(flag_files.shipped(), "two_moons.cfg")
# By noise: mean and standard deviation (with n) of the accuracy over 20 draws, as measured by an
# independent implementation of this setting in JAX, which draws the labels in its own way.
REFERENCE = {
    0.05: {"supervised": (0.783, 0.071), "pseudo labels": (0.773, 0.075),
           "MPL": (0.956, 0.058), "control": (0.799, 0.074)},
    0.15: {"supervised": (0.759, 0.081), "pseudo labels": (0.749, 0.089),
           "MPL": (0.873, 0.114), "control": (0.780, 0.086)},
}


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    seeds, path, config = parse(arguments)
    from mpl_tf.run import devices
    from mpl_tf.two_moons.learners import train_learners
    devices.make_deterministic(seeds[0])
    accuracies = {name: [] for name in TITLES}
    for seed in seeds:
        _, learners = train_learners(config.replace(split_seed=seed, seed=seed))
        for name, learner in learners.items():
            accuracies[name].append(learner.accuracy)
        print(f"seed {seed}: " + ", ".join(f"{name} {learner.accuracy:.3f}"
                                           for name, learner in learners.items()), flush=True)
    print(table(accuracies, config.noise))
    if path:
        storage.write_json(path, {
            "seeds": list(seeds), "accuracies": accuracies, "summary": summary(accuracies),
            "flags": config.flags.to_dict()})
        print(f"in {path}")


def parse(arguments):
    """Parses a command line, before TensorFlow is imported.

    --help exits, and so do mistakes in the program's own arguments.

    Returns:
      (range of seeds, path of the JSON file or "", Config).

    Raises:
      ValueError: in one line, for bad flags of the training or a file that cannot be written.
    """
    parser = Parser(
        "mpl_tf.two_moons", __doc__,
        epilog="Further flags are those of `python -m mpl_tf.train`, such as --noise=0.15 or\n"
               "--meta_weight=100; they change what flags/two_moons.cfg says.")
    parser.add_argument("--seeds", type=whole(1), default=20,
                        help="the number of draws of points and labels (default: 20)")
    parser.add_argument("--first_seed", type=whole(0), default=100,
                        help="the first draw's seed (default: 100)")
    parser.add_argument("--json", default="", metavar="FILE",
                        type=command.path_type, help="also write the numbers to this file, as JSON")
    chosen, flags = parser.parse_known_args(arguments)
    folder = os.path.dirname(chosen.json) or "."
    if chosen.json and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise ValueError(f"--json={chosen.json}: {folder} is not a folder that can be written to; "
                         "create it, or name another")
    own = [f"--flagfile={FLAGFILE}"]
    of_file, config = config_module.parse(own), config_module.parse([*own, *flags])
    for name in ("dataset", "method", "split_seed", "seed"):
        if getattr(config, name) != getattr(of_file, name):
            raise ValueError(f"--{name}={getattr(config, name)}: the study trains all its learners "
                             "on two_moons, with seeds from --first_seed on; leave it out")
    last = chosen.first_seed + chosen.seeds - 1
    if last > 2 ** 31 - 1:
        raise ValueError(f"--first_seed={chosen.first_seed} with --seeds={chosen.seeds}: the last "
                         f"seed would be {last}, expected at most {2 ** 31 - 1}; use lower ones")
    return range(chosen.first_seed, chosen.first_seed + chosen.seeds), chosen.json, config


def summary(accuracies):
    """Summarises accuracies, and MPL's gains over the other learners, paired by seed.

    Args:
      accuracies: {learner: list of its accuracies, one for each seed}.

    Returns:
      {"accuracy": {learner: (mean, standard deviation)},
       "gain": {other learner: (mean of MPL's accuracy minus the other's, its standard error,
                the number of seeds with a gain above 0)}}.
      Deviations and errors are with n - 1, and NaN for one seed.
    """
    values = {name: np.asarray(by_seed) for name, by_seed in accuracies.items()}
    deviation = lambda x: float(np.std(x, ddof=1)) if len(x) > 1 else float("nan")
    gains = {name: values["MPL"] - value for name, value in values.items() if name != "MPL"}
    return {"accuracy": {name: (float(x.mean()), deviation(x)) for name, x in values.items()},
            "gain": {name: (float(x.mean()), deviation(x) / len(x) ** 0.5, int((x > 0).sum()))
                     for name, x in gains.items()}}


def table(accuracies, noise):
    """Writes the `summary` in lines for a terminal, beside REFERENCE if that has this noise."""
    count, result = len(accuracies["MPL"]), summary(accuracies)
    lines = [f"draws: {count}, noise {noise}: mean +- standard deviation of the accuracy"]
    for name, (mean, deviation) in result["accuracy"].items():
        reference = REFERENCE.get(noise, {}).get(name)
        note = f"   (reference {reference[0]:.3f} +- {reference[1]:.3f})" if reference else ""
        lines.append(f"  {name:<15}{mean:.3f} +- {deviation:.3f}{note}")
    lines.append("MPL less ..., paired by seed: mean +- standard error")
    for name, (mean, error, above) in result["gain"].items():
        lines.append(f"  {name:<15}{mean:+.3f} +- {error:.3f}   above on {above} of {count}")
    if noise in REFERENCE:
        lines.append("reference: 20 draws of an independent implementation, flags/two_moons.cfg's "
                     "setting")
    return "\n".join(lines)

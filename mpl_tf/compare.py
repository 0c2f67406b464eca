"""Runs several flag files over several seeds and prints a table: mean, std, paired differences.

    python -m mpl_tf.compare --seeds=0-4 --output_dir=runs/digits_table \\
        --reference=digits_control flags/digits.cfg flags/digits_control.cfg [-- --train_steps=500]

Seed s sets --seed=s and --split_seed=s, so that rows are paired by seed and, where labels are drawn
at random, by split. Each run has a folder of its own in output_dir: the same command continues an
interrupted comparison, and only prints the table of a finished one. Flags after -- go to every run.
output_dir/comparison.png shows the accuracies over steps, means and standard errors over seeds.

    python -m mpl_tf.compare --baselines flags/digits.cfg

--baselines answers whether the meta gradient helps: it runs one flag file beside its baseline, its
control (meta weight 0) and the shuffled control, and writes report.html to output_dir, a page that
says so.
"""

import itertools
import os
import re
import sys

from mpl_tf import config as config_module
from mpl_tf.common import command, pictures, quiet, renamed, storage
from mpl_tf.common.command import Parser
from mpl_tf.run import curves, seed_names
from mpl_tf.run.tables import table
from mpl_tf.train import train

# Flags of the runs that this program sets itself.
OWN = {"model_dir": "each run has a folder of its own in --output_dir, which is the flag to give, before --",
       "seed": "the runs' seeds are --seeds, such as --seeds=0-4, before --",
       "split_seed": "it is each run's seed; the flag to give is --seeds, before --"}
PICTURE = "comparison.png"
FIGURES = r"(student|teacher)_(test|labeled|holdout)_(top5_|balanced_)?accuracy|median_last_evaluations"


def parse(arguments):
    """Parses a command line; returns (parsed arguments, flags for every run).

    It exits with one line for bad arguments.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = Parser("mpl_tf.compare", __doc__,
                    epilog="Flags after -- go to every run, such as -- --train_steps=500")
    parser.add_argument("flagfiles", nargs="+", help="flag files, one for each row of the table")
    parser.add_argument("--seeds", default="0-4", type=command.seeds,
                        help="seeds such as 0,1,2 or 0-9 (default: %(default)s)")
    parser.add_argument("--output_dir", type=command.path_type,
                        help="the folder of all runs and of the table (default: runs/compare; with "
                        "--baselines runs/NAME_and_baselines)")
    parser.add_argument("--baselines", action="store_true", help="run one flag file beside its baseline "
                        "and controls, and write a page that says whether the meta gradient helped")
    parser.add_argument("--reference", help="the name of the row that the others are compared with")
    parser.add_argument("--figure", default="student_test_accuracy", help="the entry of results.json "
                        "that is compared, such as student_holdout_accuracy (default: %(default)s)")
    parser.hint = "; flags for every run go after --, such as -- --train_steps=500"
    chosen = parser.parse_args(arguments[:end])
    chosen.names = [os.path.splitext(os.path.basename(path))[0] for path in chosen.flagfiles]
    if chosen.baselines and len(chosen.names) != 1:
        parser.error(f"--baselines with {len(chosen.names)} flag files: expected one, whose baselines are "
                     "made of it; leave out the others")
    chosen.output_dir = chosen.output_dir or (
        f"runs/{chosen.names[0]}_and_baselines" if chosen.baselines else "runs/compare")
    twice = [name for name in chosen.names if chosen.names.count(name) > 1]
    if twice:
        parser.error(f"flag files of the name {twice[0]} twice: expected each once, because a row has "
                     "its file's name")
    if not re.fullmatch(FIGURES, chosen.figure):
        parser.error(f"--figure={chosen.figure}: expected an accuracy of results.json such as "
                     "student_test_accuracy or teacher_holdout_accuracy, or "
                     "median_last_evaluations")
    if chosen.reference and chosen.reference not in chosen.names and not chosen.baselines:
        parser.error(f"--reference={chosen.reference}: expected one of {', '.join(chosen.names)}")
    return chosen, arguments[end + 1:]


def configs(chosen, extra):
    """{(name, seed): Config} of all runs.

    Raises:
      ValueError: in one line, for bad flags; no run has been started by then.
    """
    command.refuse(extra, OWN)
    return {(name, seed): config_module.from_arguments([
        f"--flagfile={path}", *extra, f"--seed={seed}", f"--split_seed={seed}",
        f"--model_dir={_folder(chosen, name, seed)}"])
        for name, path in zip(chosen.names, chosen.flagfiles) for seed in chosen.seeds}


def _folder(chosen, name, seed):
    return os.path.join(chosen.output_dir, seed_names.join(name, seed))


def with_companions(chosen, runs):
    """`runs` of one flag file, and those of its companions: {(name, seed): Config}.

    It adds the names of the new rows to chosen.names, and takes the control for the reference.

    Raises:
      ValueError: in one line: the flag file has no meta gradient, or a companion cannot be made.
    """
    from mpl_tf.report import companions
    [own], all_runs = list(chosen.names), dict(runs)
    for seed in chosen.seeds:
        for companion, config in companions.companions_of(runs[own, seed]):
            name = f"{own}_{companion.name}"
            all_runs[name, seed] = config.replace(model_dir=_folder(chosen, name, seed))
            chosen.names += [name] * (name not in chosen.names)
    chosen.reference = chosen.reference or f"{own}_{companions.CONTROL}"
    if chosen.reference not in chosen.names:
        raise ValueError(f"--reference={chosen.reference}: expected one of {', '.join(chosen.names)}")
    return all_runs


def check_figure(figure, runs):
    """Raises ValueError, in one line, where a run of `runs`, {(name, seed): Config}, will not have `figure`.

    Which ones have top-5 accuracies, their data alone tell.
    """
    for (name, _), config in runs.items():
        of_test = "_test_" in figure or figure == "median_last_evaluations"
        why = (f"with --method={config.method} no teacher classifies images"
               if figure.startswith("teacher") and (not config.has_teacher or config.needs_probs) else
               f"--evaluate={config.evaluate} leaves the test data out" if of_test and config.evaluate != "all" else
               "no labels are held out" if "_holdout_" in figure and not (
                   config.holdout or config.holdout_shards) else None)
        if why:
            raise ValueError(f"--figure={figure}: {name} will have none, as {why}; choose another --figure, such as "
                             f"student_{'holdout' if config.evaluate != 'all' else 'test'}_accuracy")


def check_output(chosen, runs):
    """Raises ValueError, in one line, where --output_dir has files of somebody else that would be replaced."""
    folder, table_name = chosen.output_dir, f"{chosen.figure}.json"
    names = storage.entries(folder, "--output_dir") or ()
    tables = [name for name in names if re.fullmatch(rf"({FIGURES})\.json", name) and _is_table(
        os.path.join(folder, name))]
    drawn = bool(tables) or any(os.path.basename(config.model_dir) in names for config in runs.values())
    for name, ours in ((PICTURE, drawn), (table_name, table_name in tables)):
        if name in names and not ours:
            raise ValueError(f"--output_dir={folder} has a {name} that this program did not write: it stays as it "
                             "is; move it elsewhere, or choose another --output_dir")


def _is_table(path):
    """Whether a JSON file is one that this program has written."""
    try:
        noted = storage.read_json(path, expected={"command": [str]})
    except ValueError:
        return False
    return noted is not None and noted["command"][:1] == ["compare"]


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    chosen, extra = parse(arguments)
    storage.entries(chosen.output_dir, "--output_dir")
    with quiet.repetitions():       # of warnings, once for each seed
        runs = configs(chosen, extra)
    own = chosen.names[0]
    if chosen.baselines:
        runs = with_companions(chosen, runs)
    check_figure(chosen.figure, runs)
    check_output(chosen, runs)
    first = runs[own, chosen.seeds[0]]
    if chosen.baselines and first.evaluate == "all":
        from mpl_tf.report import files, of_run
        files.check(chosen.output_dir, "--output_dir")
    import tensorflow as tf
    figures, evaluations = {}, {name: [] for name in chosen.names}
    # Seed by seed, so that what an interrupted comparison has done is pairs.
    for seed, name in itertools.product(chosen.seeds, chosen.names):
        config = runs[name, seed]
        print(f"--- {name}, seed {seed}", flush=True)
        with renamed.flag("--model_dir", "--output_dir"):
            results = train(config)
        tf.keras.backend.clear_session()
        if results.get(chosen.figure) is None:
            raise ValueError(f"{config.model_dir} has no {chosen.figure}: choose another --figure")
        figures[name, seed] = results[chosen.figure]
        evaluations[name].append(results.get("evaluations", []))
    pictures.write(os.path.join(chosen.output_dir, PICTURE),
                   lambda file: curves.of_several(file, evaluations))
    text = table(chosen.names, chosen.seeds, figures, chosen.reference)
    print(f"\n{chosen.figure}\n{text}")
    written = f"{chosen.figure}.json"
    storage.write_json(os.path.join(chosen.output_dir, written), {
        "command": ["compare", *arguments], "seeds": chosen.seeds,
        "figures": {name: [figures[name, seed] for seed in chosen.seeds]
                    for name in chosen.names}})
    print(f"\nin {command.shown(chosen.output_dir)}: {PICTURE}, {written}", flush=True)
    if chosen.baselines and first.evaluate != "all":
        print(f"no report.html: it is of test data, which --evaluate={first.evaluate} leaves out", flush=True)
    elif chosen.baselines:
        folders = {name: [config.model_dir for (row, _), config in runs.items() if row == name]
                   for name in chosen.names}
        of_run.write(folders.pop(own), [folder for each in folders.values() for folder in each],
                     chosen.output_dir, images=first.report)


if __name__ == "__main__":
    sys.exit(main())

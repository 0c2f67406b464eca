"""Runs Section 4.2 from end to end: `python -m mpl_tf.reduced --flagfile=flags/reduced_digits.cfg`.

The stages, each in a folder of its own in model_dir/seed_<seed>:

    pretrain        trains q_large by --pretrain's flags, on the labeled data less the hold-out
    predictions     q_large's distribution for every labeled and unlabeled example (labelling.py)
    selection       the most confidently predicted examples of each class (selecting.py)
    noisy_student, reduced_mpl, control     train one student each, by --flagfile's flags

The same command again skips finished stages and continues an interrupted one. It refuses a stage
whose input was changed after the stage had begun. At the end it prints Table 2's row, accuracies on
the test data in per cent. The exit codes are those of mpl_tf.train.
"""

import hashlib
import json
import os

from mpl_tf import config as config_module, datasets, train as training_program
from mpl_tf.common import command, storage
from mpl_tf.common.command import Parser, whole
from mpl_tf.config import memory
from mpl_tf.datasets import prediction_files, selection
from mpl_tf.reduced import labelling, selecting
from mpl_tf.run.tables import table
from mpl_tf.shards import tfrecord

# Flags that each row of Table 2 changes; in the control the meta signal is multiplied by zero.
ROWS = {"noisy_student": dict(method="noisy_student"), "reduced_mpl": dict(method="reduced_mpl"),
        "control": dict(method="reduced_mpl", meta_weight=0.0)}
NAMES = {"pretrain": "supervised (q_large)", "noisy_student": "NoisyStudent",
         "reduced_mpl": "ReducedMPL", "control": "ReducedMPL, control"}
# Flags that this command sets for each student. A flag file may have them for mpl_tf.train; typed, they are refused.
OWN = {"method": "each student has a method of its own; the flag to give is --rows",
       "predictions_dir": "each seed has predictions of its own, in --model_dir; leave this flag out",
       "selection": "each seed has a selection of its own, in --model_dir; leave this flag out"}
# q_large takes these flags from the student, so that it learns on the same examples.
SAME_DATA = ("seed", "dataset", "data_dir", "labeled_shards", "holdout_shards", "skip_corrupt",
             "labeled_examples", "labeled_selection", "split_seed", "holdout")
STAGES = "stages.json"      # what each stage was made from


def parse(arguments):
    """Parses the command line: (this program's arguments, list of the students' other flags).

    Exits with one line for bad arguments.
    """
    parser = Parser(
        "mpl_tf.reduced", __doc__,
        epilog="All other flags are those of mpl_tf.train, for the students.")
    parser.add_argument("--pretrain", metavar="FLAGFILE", type=command.path_type,
                        help="flag file of q_large, which is trained on the students' data "
                        "(default: pretrain_<data set>.cfg beside --flagfile)")
    parser.add_argument("--per_class", type=whole(1), metavar="K", help="how many examples of each "
                        "class to select (default: Section 4.2's, " + ", ".join(
                            f"{name} {source.per_class}" for name, source in
                            datasets.SOURCES.items() if source.per_class) + ")")
    parser.add_argument("--short", choices=("repeat", "leave"), default="repeat",
                        help="what to do with a class of fewer than K examples: repeat them until "
                        "there are K, or leave them as they are (default: %(default)s)")
    parser.add_argument("--rank_all", action="store_true", help="rank every example in every "
                        "class, not only in its likeliest one; see data_prep.select")
    parser.add_argument("--rows", default=",".join(ROWS),
                        help="comma-separated students to train (default: %(default)s)")
    parser.add_argument("--seeds", type=command.seeds, help="seeds such as 0,1,2 or 0-9 to run one after "
                        "the other. Seed s sets --seed=s and, where labels are drawn at random, --split_seed=s "
                        "(default: the students' --seed alone)")
    parser.add_argument("--batch_size_predict", type=whole(1, 10 ** 6), default=256, help="number of images "
                        "in a forward pass of the predictions stage (default: %(default)s)")
    chosen, others = parser.parse_known_args(arguments)
    chosen.rows = chosen.rows.split(",")
    unknown = [row for row in chosen.rows if row not in ROWS]
    if unknown:
        parser.error(f"--rows: {unknown[0]!r} is none of {', '.join(ROWS)}")
    return chosen, others


def configs(chosen, others):
    """Returns the Config of every network that is trained: {seed: {stage: Config}}.

    Sets chosen.per_class and chosen.pretrain where they were not given.

    Raises:
      ValueError: in one line: a flag is missing or wrong.
    """
    files = [following if text in ("--flagfile", "-flagfile") else text.partition("=")[2]
             for text, following in zip(others, [*others[1:], ""])
             if text.lstrip("-").partition("=")[0] == "flagfile"]
    if not files and chosen.pretrain is None:
        raise ValueError("--flagfile is missing: expected the students' flags; add "
                         "--flagfile=flags/reduced_digits.cfg, for example")
    command.refuse(others, OWN | ({"seed": "it is each student's of --seeds; leave one of the two flags out"}
                                  if chosen.seeds else {}), place="")
    # The folders of stored predictions are the chain's own, see below.
    student = config_module.parse([*others, "--method=reduced_mpl",
                                   "--predictions_dir=predictions", "--selection=selection"])
    if chosen.seeds and student.labeled_selection == "random":
        command.refuse(others, {"split_seed": "it is each student's seed of --seeds; leave one of the two flags out"},
                       place="")
    if chosen.per_class is None:
        if not student.source.per_class:
            raise ValueError(f"--per_class is missing: the paper gives no number for "
                             f"{student.dataset}; add --per_class=K")
        chosen.per_class = student.source.per_class
    if chosen.pretrain is None:
        if not files:
            raise ValueError("--pretrain is missing: expected q_large's flag file; add "
                             "--pretrain=flags/pretrain_digits.cfg, for example")
        chosen.pretrain = os.path.join(os.path.dirname(files[-1]),
                                       f"pretrain_{student.dataset}.cfg")
    large = config_module.parse([f"--flagfile={chosen.pretrain}"])
    if large.method != "baseline":
        raise ValueError(f"--pretrain={chosen.pretrain} has --method={large.method}: expected "
                         "--method=baseline, which trains one network alone")
    result = {}
    for seed in chosen.seeds or [student.seed]:
        split_seed = seed if chosen.seeds and student.labeled_selection == "random" else (
            student.split_seed)
        folder = os.path.join(student.model_dir, f"seed_{seed}")
        own = student.replace(
            seed=seed, split_seed=split_seed, selection=os.path.join(folder, "selection"),
            predictions_dir=os.path.join(folder, "predictions"))
        shared = {name: getattr(own.flags, name) for name in SAME_DATA}
        result[seed] = {"pretrain": large.replace(
            **shared, model_dir=os.path.join(folder, "pretrain"))}
        result[seed].update({row: own.replace(
            **ROWS[row], model_dir=os.path.join(folder, row)) for row in chosen.rows})
        for each in result[seed].values():
            for line in memory.shortages(each):
                raise ValueError(line)
    return result


class Chain:
    """Notes in STAGES what each stage of one seed was made from, and whether it is finished.

    Args:
      folder: model_dir/seed_<seed>.
    """

    def __init__(self, folder):
        self._folder, self._path = folder, os.path.join(folder, STAGES)
        os.makedirs(folder, exist_ok=True)
        self._notes = storage.read_json(self._path, "give it back, or choose another --model_dir",
                                        {...: {"inputs": dict}}) or {}

    def path(self, stage):
        """The folder of a stage."""
        return os.path.join(self._folder, stage)

    def begin(self, stage, inputs, at_once=False):
        """Notes what a stage is made from.

        Args:
          inputs: dict of JSON.
          at_once: whether the stage writes nothing before it is finished, so that after an
            interruption it may begin with other inputs.

        Raises:
          ValueError: the stage was begun with other inputs.
        """
        note = self._note(stage)
        if note and note["inputs"] != inputs and not (at_once and "output" not in note):
            wrong = sorted(key for key in {**note["inputs"], **inputs}
                           if note["inputs"].get(key) != inputs.get(key))
            raise ValueError(
                f"{self.path(stage)} was made from another {' and another '.join(wrong)} than "
                "there is now: give back what there was, or move this folder and those of the "
                "stages after it elsewhere, and run the same command")
        self._notes[stage] = {**(note or {}), "inputs": inputs}
        storage.write_json(self._path, self._notes)

    def finished(self, stage, fingerprint):
        """Whether a stage is finished.

        Args:
          fingerprint: function of the stage's folder that returns a str.

        Raises:
          ValueError: the stage was changed after it had been finished.
        """
        note = self._note(stage)
        if not note or "output" not in note:
            return False
        try:
            found = fingerprint(self.path(stage))
        except ValueError:      # a file is damaged or gone
            found = None
        if found != note["output"]:
            raise ValueError(f"{self.path(stage)} was changed after it was finished: restore what "
                             "was there, or move this folder and those of the stages after it "
                             "elsewhere, and run the same command")
        return True

    def end(self, stage, fingerprint):
        """Notes that a stage is finished, and returns its fingerprint."""
        self._notes[stage]["output"] = output = fingerprint(self.path(stage))
        storage.write_json(self._path, self._notes)
        return output

    def _note(self, stage):
        """The notes of a stage; None where its folder was deleted."""
        return self._notes.get(stage) if os.path.isdir(self.path(stage)) else None


def run_seed(stages, chosen):
    """Runs the stages of one seed; returns {stage that trains: its results}."""
    folder = os.path.dirname(stages["pretrain"].model_dir)
    os.makedirs(folder, exist_ok=True)
    with storage.hold(folder, "model_dir"):
        return _run_held(stages, chosen, Chain(folder))


def _run_held(stages, chosen, chain):
    student, large = stages[chosen.rows[0]], stages["pretrain"]
    sources, splits = sources_of(student)
    check_sources(student, sources, chosen.per_class)
    results = {"pretrain": train(large)}

    plan, _ = labelling.plan_and_tasks(large.model_dir, sources)
    files = hashlib.sha256(json.dumps(plan["shards"], sort_keys=True).encode()).hexdigest()
    chain.begin("predictions", {"pretrain": plan["model"], "data": files})
    if not chain.finished("predictions", prediction_files.fingerprint):
        say("predictions")
        labelling.label(large.model_dir, sources, chain.path("predictions"),
                        batch_size=chosen.batch_size_predict, skip_corrupt=student.skip_corrupt)
    predicted = chain.end("predictions", prediction_files.fingerprint)

    chain.begin("selection", {"predictions": predicted, "per_class": chosen.per_class,
                              "rank_all": chosen.rank_all, "short": chosen.short}, at_once=True)
    if not chain.finished("selection", selection.fingerprint):
        say("selection")
        selecting.select(chain.path("predictions"), chain.path("selection"), chosen.per_class,
                         splits, chosen.rank_all, chosen.short, overwrite=True)
    selected = chain.end("selection", selection.fingerprint)

    for row in chosen.rows:
        chain.begin(row, {"predictions": predicted, "selection": selected})
        results[row] = train(stages[row])
    return results


def sources_of(student):
    """Returns (folders of shards to predict, splits to select from or None for all of them)."""
    if student.dataset != "digits" and not student.data_dir:
        raise ValueError(f"--data_dir is missing: {student.dataset} has to be prepared as shards, "
                         f"see `python -m data_prep.{student.dataset} --help`")
    sources = ["digits" if student.dataset == "digits" else student.data_dir]
    if student.unlabeled_dir:
        return [*sources, student.unlabeled_dir], sorted(
            set(tfrecord.find_splits(student.unlabeled_dir)) - set(labelling.LEFT_OUT))
    if student.extra_unlabeled:
        return sources, ["extra"]
    return sources, None if student.dataset == "image_folder" else ["train"]


def check_sources(student, sources, per_class):
    """Checks before the pretraining what would stop the stages after it.

    Raises:
      ValueError, FileNotFoundError: in one line.
    """
    own = student.source.sizes.get("train")
    if own and per_class > own and not (student.unlabeled_dir or student.extra_unlabeled):
        raise ValueError(f"--per_class={per_class}: {student.dataset} has {own} examples to select "
                         "from; ask for fewer, or give more in --unlabeled_dir")
    labelling.tasks_of(sources, None, student.dataset)
    both = set.intersection(*(set(tfrecord.find_splits(source)) - set(labelling.LEFT_OUT)
                              for source in sources)) if len(sources) > 1 else ()
    if both:
        remedy = ("prepare all unlabeled images together, into --data_dir" if "unlabeled" in both
                  else "write it with `python -m data_prep.unlabeled`")
        raise ValueError(f"--unlabeled_dir={student.unlabeled_dir} and --data_dir both have shards "
                         f"of {min(both)!r}: expected different names; {remedy}")


def train(settings):
    """Trains the run of a Config in this process, and returns its results."""
    import tensorflow as tf
    say(os.path.basename(settings.model_dir))
    results = training_program.train(settings)
    tf.keras.backend.clear_session()
    return results


def say(stage):
    """Prints the heading of a stage."""
    print(f"--- {stage}", flush=True)


def main(arguments=None):
    """Runs a command line, a list of str (None: the process's); returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    chosen, others = parse(arguments)
    runs = configs(chosen, others)
    figures = {}
    for seed, stages in runs.items():
        print(f"=== seed {seed}", flush=True)
        for stage, result in run_seed(stages, chosen).items():
            figures[NAMES[stage], seed] = result["student_test_accuracy"]
    names = [NAMES[stage] for stage in ("pretrain", *chosen.rows)]
    reference = NAMES["control"] if "control" in chosen.rows else None
    print(f"\nstudent_test_accuracy\n{table(names, list(runs), figures, reference)}")
    folder = os.path.dirname(os.path.dirname(stages["pretrain"].model_dir))
    storage.write_json(os.path.join(folder, "table.json"), {
        "command": ["reduced", *arguments], "seeds": list(runs),
        "figures": {name: [figures[name, seed] for seed in runs] for name in names}})

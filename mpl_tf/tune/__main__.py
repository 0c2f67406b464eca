"""Tunes settings on held-out labels, as in Appendix C.1, with Optuna: pip install '.[tuning]'.

    python -m mpl_tf.tune --stage=supervised --study=runs/tune_student --flagfile=digits.cfg \\
        -- --labeled_examples=550 --holdout=500
    python -m mpl_tf.tune --stage=teacher --from=runs/tune_student --study=runs/tune_teacher \\
        --flagfile=digits.cfg -- --labeled_examples=550 --holdout=500
    python -m mpl_tf.train --flagfile=runs/tune_teacher/best.cfg

The first stage tunes the student's flags in supervised learning, the second keeps what was found and
tunes the teacher's in Meta Pseudo Labels. What is searched stands in a file (--search). Each trial is a
run in STUDY/trials, judged by its student on held-out labels; no trial evaluates test examples. The
same command continues a study, and may be started several times, on several machines with one
--storage. Flags after -- go to every trial, and into best.cfg.
"""

import argparse
import os
import re
import sys

from mpl_tf import config as config_module
from mpl_tf.common import command
from mpl_tf.common.command import Parser, whole
from mpl_tf.run import run_folder
from mpl_tf.tune import outcome, plan as plans, space, study as studies, workers


# A flag of the runs that this program sets itself.
OWN = {"model_dir": "each trial has a folder of its own in --study, which is the flag to give, before --"}


def parse(arguments):
    """Parses a command line; returns (parsed arguments, flags for every trial).

    It exits with one line for bad arguments.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = Parser("mpl_tf.tune", __doc__, epilog="Flags after -- go to every trial, such as "
                    "-- --data_dir=DIR --holdout=400")
    parser.add_argument("--study", required=True, type=command.path_type, metavar="DIR",
                        help="the folder of the study, new or one to go on with")
    parser.add_argument("--flagfile", required=True, metavar="FILE", help="the flag file of the runs, "
                        "such as digits.cfg: its values are those of the first trial")
    parser.add_argument("--stage", choices=space.STAGES, default="supervised",
                        help="what is tuned (default: %(default)s)")
    parser.add_argument("--from", dest="source", type=command.path_type, metavar="STUDY",
                        help="with --stage=teacher: the folder of the supervised study whose values are "
                        "kept (default: the flag file's values)")
    parser.add_argument("--search", type=command.path_type, default=space.DEFAULT, metavar="FILE",
                        help="what is searched, a flag a line (default: %(default)s, Table 3's flags)")
    parser.add_argument("--trials", type=whole(1, 10 ** 6), default=256, metavar="N",
                        help="the trials in all; more of them continue a study (default: %(default)s)")
    parser.add_argument("--trial_steps", type=whole(1), default=0, metavar="N", help="the steps of a trial "
                        "(default: 100,000 as in the paper, or the flag file's if these are fewer)")
    parser.add_argument("--keep_one_in", type=whole(1, 100), default=3, metavar="K",
                        help="successive halving: at 1/K^2 and 1/K of its steps a trial goes on if it is "
                        "among the best K-th of those that came so far; 1 cuts none (default: %(default)s)")
    parser.add_argument("--workers", type=whole(1, 1000), default=1, metavar="N",
                        help="local processes, which share the cores (default: %(default)s)")
    parser.add_argument("--storage", default="", metavar="URL", help="where the trials are noted, a storage "
                        "URL of Optuna's such as postgresql://USER@HOST/NAME (default: study.sqlite in --study)")
    parser.add_argument("--name", default="", help="the study's name in --storage (default: the folder's)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.hint = "; flags of the trials go after --, such as -- --holdout=400"
    chosen = parser.parse_args(arguments[:end])
    if chosen.source and chosen.stage != "teacher":
        parser.error(f"--from={chosen.source} with --stage={chosen.stage}: expected --stage=teacher")
    if chosen.name != command.readable(chosen.name)[:500]:
        parser.error("--name: expected at most 500 characters of Unicode")
    if chosen.worker and not re.fullmatch(r"\d+/\d+", chosen.worker):
        parser.error(f"--worker={chosen.worker}: expected a number of this program's own")
    return chosen, arguments[end + 1:]


def planned(chosen, extra):
    """The plans.Plan of a command line.

    Raises:
      ValueError: in one line, for bad flags or files; nothing has been started or written by then.
    """
    command.refuse(extra, OWN | dict.fromkeys(
        plans.SUPERVISED if chosen.stage == "supervised" else (),
        "the supervised stage trains one network on the labels alone; leave this flag out"))
    searched = space.read(chosen.search).get(chosen.stage, ())
    base = config_module.from_arguments([
        f"--flagfile={chosen.flagfile}", *extra, f"--model_dir={chosen.study}"])
    kept = plans.found(chosen.source, base) if chosen.source else None
    return plans.make(base, chosen.stage, searched, chosen.trial_steps, chosen.keep_one_in, kept)


def main(arguments=None):
    """Runs the program with `arguments`, or with the process's own; returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    chosen, extra = parse(arguments)
    if chosen.worker:
        workers.end_with_parent()
        workers.share_cores(*map(int, chosen.worker.split("/")))
    plan = planned(chosen, extra)
    study = studies.Study(chosen.study, plan, chosen.storage, chosen.name)
    if not chosen.worker:
        check_data(study, plan)
    print(describe(chosen, plan, study), flush=True)
    if chosen.workers > 1 and not chosen.worker:
        try:
            workers.run(arguments, chosen.workers, chosen.study, Teller(study))
        except workers.ChildFailed as failed:
            return command.fail(failed, command.FAILED)
    else:
        work(study, plan, chosen.trials)
    if not chosen.worker:
        outcome.write(study, plan)
    return command.DONE


def check_data(study, plan):
    """Refuses data that are not those of the trials so far: their accuracies are compared.

    All trials have the same data, so the first of this folder that has noted them is looked at.

    Raises:
      ValueError: in one line, as of run.same_data.look.
    """
    for number in range(len(study.trials())):
        folder = study.run_folder(number)
        if os.path.isdir(folder) and run_folder.noted_data(folder):
            flags = run_folder.read_flags(folder)
            config = plan.trial(folder, **{each.name: flags[each.name] for each in plan.searched})
            from mpl_tf.run import same_data        # which imports TensorFlow
            try:
                unseen = same_data.look(config)
            except run_folder.OtherData as error:
                raise ValueError(error.line(f"--study={study.folder}",
                                            run_folder.SAME_DATA + "a new --study")) from None
            if unseen:
                print(f"the data of the trials were not looked at: {command.shown(unseen)}", flush=True)
            return


def describe(chosen, plan, study):
    """Says what the study will do, in lines for a terminal."""
    steps = f"{plan.trial_steps} steps" + (
        ", cut early at " + " or ".join(map(str, plan.rungs())) if plan.rungs() else "")
    done = sum(each.state.is_finished() for each in study.trials())
    more = ": a larger --trials continues the study" if done >= chosen.trials else ""
    lines = [f"study      {study.folder}, stage {plan.stage}, by {plans.FIGURE}",
             f"trials     {chosen.trials} in all, {done} done{more}; {steps}",
             *(f"search     {each.name}: {each}" + (f" ({plan.own[each.name]})" if each.name in plan.own else "")
               for each in plan.searched)]
    if plan.kept:
        lines.append(f"kept       {outcome.values_text(plan.kept)}")
    lines += [f"no search  {name}: no effect with {reason}" for name, reason in plan.left_out.items()]
    warmup = plan.trial("trial").warmup_steps
    if warmup != plan.base.warmup_steps:
        lines.append(f"warm-up    {warmup} steps, the {plan.base.warmup_steps} of a whole run are too long "
                     "for a trial")
    return "\n".join(map(command.shown, lines))


def work(study, plan, most):
    """Takes trials and runs them, until there are `most` in all."""
    while True:
        taken = study.take(most)
        if taken is None:
            return
        trial, held = taken
        with held:
            from mpl_tf.tune import trial as trial_of       # which imports the trainer
            print(f"--- trial {trial.number}", flush=True)
            trial_of.run(plan, study, trial)
        trials = study.trials()
        print(outcome.line(trials[trial.number], trials), flush=True)
        import tensorflow as tf
        tf.keras.backend.clear_session()


class Teller:
    """Prints a line for each trial that workers end, while they work."""

    def __init__(self, study):
        self._study = study
        self._told = {each.number for each in study.trials() if each.state.is_finished()}
        self._calls = 0

    def __call__(self, last=False):
        self._calls += 1
        if not last and self._calls % 20:
            return
        trials = self._study.trials()
        for each in trials:
            if each.state.is_finished() and each.number not in self._told:
                self._told.add(each.number)
                print(outcome.line(each, trials), flush=True)


if __name__ == "__main__":
    sys.exit(main())

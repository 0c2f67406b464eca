"""One trial: an ordinary run, which is cut early where its held-out accuracy is behind the others'."""

from __future__ import annotations

import os

from mpl_tf.common import storage
from mpl_tf.run import run_folder
from mpl_tf.train import train
from mpl_tf.tune import plan as plans
from mpl_tf.tune.study import optuna


class Cut(Exception):
    """Ends the run of a trial that is behind the others."""


def suggest(searched, trial):
    """{flag: value} that Optuna's `trial` has for what is searched, as it draws or has drawn it."""
    values = {}
    for each in searched:
        if each.choices:
            values[each.name] = trial.suggest_categorical(each.name, list(each.choices))
        else:
            draw = trial.suggest_int if type(each.low) is int else trial.suggest_float
            values[each.name] = draw(each.name, each.low, each.high, log=each.log)
    return values


def run(plan, study, trial):
    """Makes the run of a trial, from its last checkpoint on, and tells the study what came of it.

    A run that is cut, or whose losses are no longer finite, is noted as Optuna's PRUNED with the last
    accuracy that it reported, from which the search learns too.

    Args:
      plan: the plans.Plan. study: the Study. trial: Optuna's Trial, which this process holds.

    Raises:
      command.Stopped: if a signal ended the run early: the trial is left, to be gone on with.
      Other errors of the run: the trial is left too, but if it had an error before, it has failed.
    """
    config = plan.trial(study.run_folder(trial.number), **suggest(plan.searched, trial))
    state = optuna().trial.TrialState
    reported = set(study.trials()[trial.number].intermediate_values)

    def observe(step, figures):
        if step not in reported:        # a run that goes on repeats what followed its checkpoint
            trial.report(figures[plans.FIGURE], step)
        if step < plan.trial_steps and trial.should_prune():
            raise Cut(f"cut after step {step}")

    try:
        results = train(config, observe)
    except (Cut, FloatingPointError) as error:
        trial.set_user_attr("ended", str(error))
        study.study.tell(trial, state=state.PRUNED)
        # Nobody goes on with it, and a study has hundreds of them.
        storage.remove(os.path.join(config.model_dir, run_folder.CHECKPOINTS))
    except (ValueError, OSError) as error:
        again = "error" in trial.user_attrs
        trial.set_user_attr("error", " ".join(str(error).split())[:1000])
        if again:
            study.study.tell(trial, state=state.FAIL)
        raise
    else:
        study.study.tell(trial, results[plans.FIGURE])

"""A study's plan: its trials' settings, what two processes have to agree on, and best.cfg."""

import json

import pytest

from mpl_tf import config
from mpl_tf.tune import plan as plans, space
from tests.conftest import ROOT

BASE = dict(model_dir="x", dataset="digits", labeled_examples=100, holdout=50, train_steps=400,
            warmup_steps=40, student_network="mlp-16", objective="uda", student_learning_rate=0.2)
PAPER = space.read(space.DEFAULT)


def made(stage="supervised", base=BASE, searched=None, **changes):
    return plans.make(config.of(**base), stage, searched or PAPER[stage], **changes)


def test_a_trial_is_a_short_run_that_sees_no_test_example():
    trial = made(trial_steps=100).trial("trials/0001", student_dropout=0.5)
    assert (trial.method, trial.objective, trial.evaluate, trial.model_dir) == (
        "baseline", "supervised", "holdout", "trials/0001")
    assert (trial.train_steps, trial.eval_steps, trial.warmup_steps, trial.plots) == (100, 5, 5, False)
    assert (trial.student_dropout, trial.student_learning_rate, trial.seed) == (0.5, 0.2, 0)
    assert made(trial_steps=200).trial("x").warmup_steps == 40      # a fifth is none too long


def test_the_papers_length_is_taken_where_the_run_is_longer():
    assert made().trial_steps == 400
    assert made(base={**BASE, "train_steps": 10 ** 6}).trial_steps == 100_000


def test_the_teachers_stage_keeps_what_was_found_for_the_student():
    kept = {"student_learning_rate": 0.7, "student_dropout": 0.3}
    plan = made("teacher", kept=kept)
    trial = plan.trial("x", meta_weight=5.0)
    assert (trial.method, trial.objective, trial.meta_weight) == ("mpl", "uda", 5.0)
    assert (trial.student_learning_rate, trial.student_dropout) == (0.7, 0.3)
    assert plan.first() == {"teacher_learning_rate": 0.1, "teacher_dropout": 0.0, "uda_weight": 1.0,
                            "uda_temperature": 0.8, "meta_weight": 1.0}    # no decay: out of its range


def test_a_range_is_made_so_wide_that_it_holds_the_files_own_value():
    """The first trial has it, so that the best is no worse than the file."""
    plan = made(base={**BASE, "student_learning_rate": 3.0, "student_dropout": 0.9, "student_weight_decay": 0.0})
    searched = {each.name: str(each) for each in plan.searched}
    assert searched["student_learning_rate"] == "0.01 to 3.0, log" and searched["student_dropout"] == "0.0 to 0.9"
    assert plan.own == {
        "student_learning_rate": "made wider than 0.01 to 1.0, log for the file's own value, 3.0",
        "student_dropout": "made wider than 0.0 to 0.7 for the file's own value, 0.9",
        "student_weight_decay": "the file's own 0.0 is no logarithm's: no trial has it"}
    assert plan.first()["student_learning_rate"] == 3.0 and "student_weight_decay" not in plan.first()
    choices = space.Searched("batch_size", choices=(64, 128))
    assert choices.holding(32).choices == (64, 128, 32) and choices.holding(64) is choices
    assert list(made().own) == ["student_weight_decay"]      # of which digits has none


def test_flags_without_effect_are_not_searched():
    plan = made("teacher", base={**BASE, "objective": "supervised"})
    assert plan.left_out == dict.fromkeys(["uda_weight", "uda_temperature"], "--objective=supervised")
    assert len(plan.searched) == 4


@pytest.mark.parametrize("changes, stage, named", [
    ({"holdout": 0}, "supervised", "no labels are held out, .* add -- --holdout=N"),
    ({"method": "baseline"}, "teacher", "--stage=teacher with --method=baseline"),
    ({"strategy": "multi_worker"}, "teacher", "--strategy=multi_worker: expected trials on one machine"),
])
def test_a_base_without_trials_is_refused(changes, stage, named):
    with pytest.raises(ValueError, match=named):
        made(stage, {**BASE, **changes})


def test_a_range_whose_end_makes_no_run_is_refused():
    searched = (space.Searched("batch_size", 16, 2000),)
    with pytest.raises(ValueError, match="--batch_size=2000 is impossible: .*unlabeled batches of at most"):
        made("teacher", searched=searched)
    with pytest.raises(ValueError, match="nothing is searched in stage supervised"):
        made(searched=(space.Searched("meta_weight", 1.0, 2.0),))


def test_rungs_are_a_ninth_and_a_third():
    assert made(trial_steps=1800).rungs() == (200, 600) and made(trial_steps=10).rungs() == (2, 6)
    rates = {**BASE, "schedule": "cosine"}
    assert made(base={**rates, "warmup_steps": 40}, trial_steps=400).rungs() == (120, 360)   # three warm-ups
    assert made(base={**rates, "warmup_steps": 70}, trial_steps=400).rungs() == (133, 399)
    assert made(base={**rates, "warmup_steps": 90}, trial_steps=400).rungs() == (60, 180)    # shortened to 20
    assert made(trial_steps=1).rungs() == ()
    assert made(keep_one_in=1).rungs() == ()


def test_what_differs_from_a_study_is_named():
    old = json.loads(json.dumps(made().facts()))
    assert plans.differences(old, made().facts()) == []
    moved = {**BASE, "model_dir": "y", "teacher_dropout": 0.3, "meta_weight": 4.0}    # no effect here
    assert plans.differences(old, made(base=moved).facts()) == []
    other = made(base={**BASE, "batch_size": 32}, trial_steps=100,
                 searched=(space.Searched("student_dropout", 0.0, 0.5),)).facts()
    lines = "; ".join(plans.differences(old, other))
    for text in ("--trial_steps: 400 there, 100 now", "--batch_size: 64 there, 32 now",
                 "search of student_dropout: 0.0 to 0.7 there, 0.0 to 0.5 now",
                 "search of label_smoothing: 0.0 to 0.2 there, none now"):
        assert text in lines
    del old["flags"]["labeled_sampling"]        # a flag that is younger than the study
    assert plans.differences(old, made().facts()) == []


def test_a_flag_file_is_read_as_what_it_was_written_of(tmp_path):
    whole = config.parse([f"--flagfile={ROOT}/flags/digits.cfg", "--model_dir=a b=c?%d/ü", "--noplots",
                          "--labeled_examples=60", "--holdout=10", "--student_learning_rate=0.1234567890123"])
    text, lacking = plans.flag_file(whole, ["a\nb"])
    path = tmp_path / "best.cfg"
    path.write_text(text, encoding="utf-8")
    assert config.parse([f"--flagfile={path}"]).flags == whole.flags and lacking == []


@pytest.mark.parametrize("name", ["a #b", " a", "a\nb", "b\udcff"])
def test_a_value_that_no_flag_file_holds_is_told(name, tmp_path):
    text, lacking = plans.flag_file(config.of(**{**BASE, "model_dir": "x", "data_dir": name}), [name])
    path = tmp_path / "best.cfg"
    path.write_text(text, encoding="utf-8")
    assert lacking == ["data_dir"] and config.parse([f"--flagfile={path}"]).data_dir == ""


def test_what_an_earlier_study_found_is_read(tmp_path):
    base = config.of(**BASE)
    with pytest.raises(ValueError, match="has no results.json of a study"):
        plans.found(str(tmp_path), base)
    results = {"program": plans.PROGRAM, "stage": "supervised", "dataset": "digits",
               "student_network": "mlp-16", "best": {"accuracy": 0.5}, "values": {"student_dropout": 0.4}}
    for changes, named in (({"stage": "teacher"}, "a study of stage teacher"),
                           ({"student_network": "linear"}, "tuned for --student_network=linear"),
                           ({"values": {"student_dropout": [1]}}, "is damaged"),
                           ({"values": {"model_dir": "/elsewhere"}}, "has --model_dir among .* no study searches"),
                           ({"values": {"train_steps": 7}}, "has --train_steps among"),
                           ({"values": {"objective": "uda"}}, "has --objective among"),
                           ({"values": {"no_flag": 7}}, "has --no_flag among"),
                           ({"values": {"student_dropout": 7.0}}, "make no run .*--student_dropout=7.0"), ({}, "")):
        (tmp_path / plans.RESULTS).write_text(json.dumps({**results, **changes}))
        if named:
            with pytest.raises(ValueError, match=named):
                plans.found(str(tmp_path), base)
    assert plans.found(str(tmp_path), base) == {"student_dropout": 0.4}

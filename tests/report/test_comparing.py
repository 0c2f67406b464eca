"""Whether the meta gradient helped: pairs, and the one sentence."""

import dataclasses
import json
from unittest import mock

import numpy as np
import pytest

from mpl_tf.report import companions, comparing, of_run
from mpl_tf.run import run_folder
from tests.report import made
from tests.runs import settings


def _rights(count, share, seed=0):
    right = np.zeros(count, bool)
    right[:round(share * count)] = True
    return np.random.default_rng(seed).permutation(right)


def _verdict(runs, others):
    return comparing.verdict(runs[0].config, comparing.against(runs, others))


def test_companions_are_told_by_their_flags():
    own = settings("a", meta_weight=2.0)
    kinds = {companion.name: config for companion, config in companions.companions_of(own)}
    assert set(kinds) == {"baseline", "control", "shuffled"}
    for name, config in kinds.items():
        assert companions.kind(own, config) == name and companions.unlike(own, config, name) == []
    assert companions.kind(own, own) == companions.OTHER
    other = kinds["control"].replace(batch_size=8, seed=4, model_dir="elsewhere")
    assert companions.unlike(own, other, "control") == ["--batch_size: 16 here, 8 there"]
    with pytest.raises(ValueError, match="expected a run with a meta gradient"):
        companions.companions_of(kinds["control"])
    large = settings("a", method="reduced_mpl", predictions_dir="p")
    assert dict((c.name, config.method) for c, config in companions.companions_of(large)) == {
        "baseline": "noisy_student", "control": "reduced_mpl", "shuffled": "reduced_mpl"}


@pytest.mark.parametrize("changes", [{"meta_scale": "relative"}, {"meta_signal": "shuffled"}])
def test_the_scale_of_a_signal_without_weight_is_no_difference(changes):
    own = settings("a", meta_weight=2.0)
    control = own.replace(meta_weight=0.0, **changes)
    assert companions.kind(own, control) == "control" and companions.unlike(own, control, "control") == []
    [(flag, value)] = changes.items()
    other = own.replace(**changes, batch_size=8)
    assert len(companions.unlike(own, other, companions.OTHER)) == 2        # with a weight it is one
    told = _verdict([made.run(_rights(500, 0.95))], [made.run(_rights(500, 0.80, 1), "c", meta_weight=0.0, **changes)])
    assert told.kind == "helped"


def test_other_runs_are_grouped_by_what_they_are():
    """By their folders' names but for the seeds, and by their flags but for the seeds."""
    def other(folder, seed, **changes):
        return dataclasses.replace(made.run(np.arange(40) < 20, seed=seed, **changes), folder=folder,
                                   config=settings(folder, seed=seed, **changes))

    runs = [made.run(np.arange(40) < 30, seed=seed) for seed in (0, 1)]
    x = [other(f"/all/X_seed{seed}", seed, batch_size=8, split_seed=seed) for seed in (0, 1)]
    y = [other(f"/all/Y_seed{seed}/", seed, batch_size=8) for seed in (0, 1)]
    found = comparing.against(runs, [*x, *y])
    assert [(each.label, len(each.pairs["student"])) for each in found] == [("X", 2), ("Y", 2)]
    assert found[0].mean().value == pytest.approx(0.25)
    both = [other("p/run", 0, batch_size=8), other("q/run", 0, batch_size=4)]
    assert [each.label for each in comparing.against(runs, both)] == ["p/run", "q/run"]
    with pytest.raises(ValueError, match="p/run and q/run both have --seed=0"):
        comparing.against(runs, [other("p/run", 0), other("q/run", 0)])


def test_one_seed_with_a_large_gain_helped():
    run, control = made.run(_rights(500, 0.95)), made.run(_rights(500, 0.80, 1), "control", meta_weight=0.0)
    found = _verdict([run], [control])
    assert found.kind == "helped"
    assert found.sentence.startswith("The meta gradient helped: with it the student gets 15.0 points more of 500 test "
                                     "images right than its control without it (95 % interval +")
    assert "one seed: another may differ" in found.sentence and found.sentence.count(".  ") == 0
    worse = _verdict([made.run(_rights(500, 0.80))], [made.run(_rights(500, 0.95, 1), "c", meta_weight=0.0)])
    assert worse.kind == "hurt" and "hurt: with it the student gets 15.0 points fewer" in worse.sentence


def test_few_images_or_seeds_cannot_tell():
    run, control = made.run(_rights(40, 0.9)), made.run(_rights(40, 0.85, 1), "c", meta_weight=0.0)
    found = _verdict([run], [control])
    assert found.kind == "unknown" and "cannot be told: with it the student is +5.0 points" in found.sentence
    runs = [made.run(_rights(500, share, seed), seed=seed) for seed, share in enumerate((0.95, 0.90))]
    controls = [made.run(_rights(500, 0.85, 9), "c", seed=seed, meta_weight=0.0) for seed in (0, 1)]
    assert _verdict(runs, controls).kind == "unknown"       # +10 and +5: two seeds are too few


def test_over_seeds_the_seeds_count():
    runs = [made.run(_rights(2000, share, seed), seed=seed) for seed, share in enumerate((0.91, 0.92, 0.93, 0.91))]
    controls = [made.run(_rights(2000, 0.88, 9), "c", seed=seed, meta_weight=0.0) for seed in range(4)]
    [found] = comparing.against(runs, controls[::-1])
    assert [pair.run.seed for pair in found.pairs["student"]] == [0, 1, 2, 3] == [
        pair.other.seed for pair in found.pairs["student"]]
    assert found.mean().value == pytest.approx(0.0375) and found.mean().above == 4
    told = _verdict(runs, controls)
    assert told.kind == "helped" and "4 seeds, above on 4 of them" in told.sentence


def test_seeds_that_agree_on_few_images_cannot_tell():
    """Each seed has one image of 14 more: no spread over seeds, and another image may go either way."""
    def pair(first, second):
        right = lambda count: np.arange(14) < count
        return ([made.run(right(first), seed=seed) for seed in (0, 1)],
                [made.run(right(second), "c", seed=seed, meta_weight=0.0) for seed in (0, 1)])

    [found] = comparing.against(*pair(13, 12))
    assert found.mean().low < -0.05 and found.mean().high > 0.2
    told = _verdict(*pair(13, 12))
    assert told.kind == "unknown" and "over seeds and images, 2 seeds, above on 2 of them" in told.sentence
    assert "with it and without it the student has all 14 test images right. Test on more" in _verdict(
        *pair(14, 14)).sentence


def test_without_a_control_it_cannot_be_told():
    run = made.run(_rights(100, 0.9))
    baseline = made.run(_rights(100, 0.5, 1), "b", method="baseline")
    alone, beside = _verdict([run], []), _verdict([run], [baseline])
    assert alone.kind == beside.kind == "unknown"
    assert alone.sentence.endswith("without the control, the same run with --meta_weight=0.")
    assert "against its baseline it is +40.0 points" in beside.sentence
    unlike = made.run(_rights(100, 0.5, 1), "b", method="baseline", train_steps=60)
    assert _verdict([run], [unlike]).sentence == alone.sentence
    assert _verdict([baseline], []) is None         # it has no meta gradient


def test_a_shuffled_signal_that_does_as_well_is_told():
    run, control = made.run(_rights(500, 0.95)), made.run(_rights(500, 0.80, 1), "c", meta_weight=0.0)
    shuffled = made.run(_rights(500, 0.95, 2), "s", meta_signal="shuffled")
    told = _verdict([run], [shuffled, control])
    assert told.kind == "helped" and "cannot be told from a shuffled signal" in told.sentence
    better = made.run(_rights(500, 0.99, 2), "s", meta_signal="shuffled")
    assert "; but a shuffled signal does better still, so" in _verdict([run], [better, control]).sentence
    for other in (made.run(_rights(500, 0.8, 2), "s", meta_signal="shuffled"),
                  made.run(_rights(500, 0.95, 2), "s", meta_signal="shuffled", batch_size=8)):
        assert "shuffled" not in _verdict([run], [other, control]).sentence


def test_other_test_images_are_refused_and_other_flags_told():
    run, control = made.run(_rights(60, 0.9)), made.run(_rights(60, 0.5, 1), "c", meta_weight=0.0, batch_size=8)
    told = _verdict([run], [control])
    assert told.kind == "unknown"       # its 40 points may come of the other flag
    assert ("cannot be told: its control differs otherwise too (--batch_size: 16 here, 8 there), from which the "
            "+40.0 points between the students may come. Train both with the same data and flags but") in told.sentence
    longer = made.run(_rights(60, 0.5, 1), "c", seed=3, meta_weight=0.0, train_steps=60, batch_size=8)
    assert " and 2 more), from" in _verdict([run], [longer]).sentence
    keys = dataclasses.replace(control.predicted, keys=control.predicted.keys[::-1])
    for other in (made.run(_rights(50, 0.9), "c", meta_weight=0.0), dataclasses.replace(control, predicted=keys)):
        with pytest.raises(ValueError, match="was tested on other images than /runs/run0"):
            comparing.against([run], [other])
    with pytest.raises(ValueError, match="both have --seed=0"):
        comparing.against([run], [control, control])
    with pytest.raises(ValueError, match="none of its seeds, 7, is one of --model_dir's, 0, 1"):
        comparing.against([run, made.run(_rights(60, 0.9), seed=1)], [made.run(_rights(60, 0.9), "c", seed=7)])
    with pytest.raises(ValueError, match="--against=/runs/run0 is --model_dir itself: expected another run"):
        comparing.against([run], [run])


def test_of_several_seeds_each_is_looked_at_for_other_flags():
    runs = [made.run(_rights(60, 0.9), seed=seed) for seed in (0, 1)]
    controls = [made.run(_rights(60, 0.5, 1), "c", seed=seed, meta_weight=0.0, batch_size=size)
                for seed, size in ((0, 16), (1, 8))]
    assert comparing.against(runs, controls)[0].unlike == ["--batch_size: 16 here, 8 there"]
    controls[0] = made.run(_rights(60, 0.5, 1), "c", seed=0, meta_weight=0.0, batch_size=4)
    assert "(--batch_size: 16 here, 4 there), from" in _verdict(runs, controls).sentence    # it is one flag


@pytest.mark.parametrize("share, words", [
    (0.5, "Beside its baseline, one network that learns by the teacher's objective alone, the student is ahead by "
          "30.0 points (95 % interval +2"),
    (0.95, "Its baseline, one network that learns by the teacher's objective alone, is ahead of the student by 15.0 points "
           "(95 % interval +1"),
    (0.81, "The student cannot be told from its baseline, one network that learns by the teacher's objective alone: "
           "-1.0 points (95 % interval -")])
def test_a_further_sentence_is_of_the_baseline(share, words):
    run, control = made.run(_rights(500, 0.8)), made.run(_rights(500, 0.8, 1), "c", meta_weight=0.0)
    baseline = made.run(_rights(500, share, 2), "b", method="baseline")
    told = _verdict([run], [control, baseline])
    assert told.kind == "unknown" and words in told.sentence        # the kind is of the meta gradient alone
    assert told.sentence.endswith(": use the baseline, or train longer.") == (share == 0.95)
    other = made.run(_rights(500, share, 2), "b", method="baseline", train_steps=60)
    assert "baseline" not in _verdict([run], [control, other]).sentence


def test_the_teacher_is_compared_with_the_one_network_of_a_baseline():
    run, baseline = made.run(_rights(200, 0.9)), made.run(_rights(200, 0.5, 1), "b", method="baseline")
    alone = dataclasses.replace(baseline.predicted, logits={"student": baseline.predicted.logits["student"]})
    [found] = comparing.against([run], [dataclasses.replace(baseline, predicted=alone)])
    [pair] = found.pairs["teacher"]
    [other] = comparing.against([run], [dataclasses.replace(
        made.run(_rights(200, 0.5, 1), "o", method="soft_pseudo_labels", fixed_teacher="t"), predicted=alone)])
    assert set(other.pairs) == {"student"}      # its student learns as a student does
    assert pair.paired.difference == pytest.approx(
        run.predicted.right("teacher").mean() - baseline.predicted.right("student").mean()) == found.mean("teacher").value


def test_the_baseline_of_stored_labels_is_called_what_it_is():
    reduced = dict(method="reduced_mpl", predictions_dir="p")
    run, control = (made.run(_rights(200, 0.9), name, meta_weight=weight, **reduced) for name, weight in (("r", 1.0), ("c", 0.0)))
    noisy = made.run(_rights(200, 0.5, 1), "n", method="noisy_student", predictions_dir="p")
    assert "Beside its baseline, a student of the stored labels as they are, the student is ahead by 40.0" in (
        _verdict([run], [control, noisy]).sentence)


def _noted(tmp_path, name, seed=0, classes=("a", "b", "c"), **data):
    """A run whose folder notes its classes and data."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "classes.json").write_text(json.dumps(classes))
    (folder / "data.json").write_text(json.dumps({"labeled": "4 examples (a)", "unlabeled": "9 examples (b)",
                                                  "test": "40 examples (c)", **data}))
    return dataclasses.replace(made.run(np.arange(40) % 4 > 0, seed=seed), folder=str(folder))


@pytest.mark.parametrize("classes, said", [
    (("a", "b", "d"), "(3 and 3, such as 'd')"), (("b", "a", "c"), "(3 and 3, in another order)"),
    (("a", "b", "c", "d"), "(4 and 3, such as 'd')")])
def test_runs_of_other_classes_are_not_paired(tmp_path, classes, said):
    runs = _noted(tmp_path, "run"), _noted(tmp_path, "other", classes=classes)
    with pytest.raises(ValueError) as error:
        comparing.check_same(*runs)
    assert f"other has other classes than {runs[0].folder} {said}: expected" in str(error.value)


@pytest.mark.parametrize("part", ["labeled", "unlabeled", "test"])
def test_a_control_that_learned_from_other_data_tells_nothing(tmp_path, part):
    """The images' names and classes are the same, and so are the flags."""
    run = _noted(tmp_path, "run")
    control = dataclasses.replace(_noted(tmp_path, "control", **{part: "4 examples (z)"}),
                                  config=run.config.replace(meta_weight=0.0))
    [found] = comparing.against([run], [control])
    assert found.unlike == [f"{part} data: {run_folder.noted_data(run.folder)[part]} here, 4 examples (z) there"]
    assert comparing.verdict(run.config, [found]).kind == "unknown"


def test_a_control_of_another_split_seed_is_another(tmp_path):
    run = made.run(np.arange(40) % 4 > 0)
    control = made.run(np.arange(40) % 4 > 0, "control", meta_weight=0.0, split_seed=7)
    [found] = comparing.against([run], [control])
    assert found.unlike == ["--split_seed: 0 here, 7 there"]


def test_no_run_is_lost_where_flags_differ():
    right = np.arange(40) % 4 > 0
    runs = [made.run(right, seed=seed) for seed in range(3)]
    others = [made.run(right, "x_seed", seed=seed, method="baseline", objective="supervised", batch_size=8 + (seed == 1))
              for seed in range(3)]
    with mock.patch.object(comparing.companions, "kind", lambda *_: comparing.companions.OTHER):
        groups = comparing.by_kind(runs[0].config, others)
    assert sorted(run.seed for group in groups.values() for run in group) == [0, 1, 2]
    assert [label for _, label in groups] == ["/runs/x_seed0", "/runs/x_seed1"]


def test_unlabeled_data_that_a_baseline_does_not_read_make_it_no_other(tmp_path):
    run, plain = _noted(tmp_path, "run"), _noted(tmp_path, "plain", unlabeled="5 examples (z)")
    plain = dataclasses.replace(plain, config=run.config.replace(method="baseline"))
    [found] = comparing.against([run], [plain])
    assert found.unlike == []


def test_a_page_of_somebody_else_in_the_runs_folder_stays(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ValueError, match="has a report.html that this program did not write"):
        of_run.at_its_end(settings(tmp_path), None)
    assert (tmp_path / "report.html").read_text() == "mine"

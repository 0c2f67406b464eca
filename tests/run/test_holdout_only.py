"""--evaluate=holdout: no test data; and the observer of evaluations."""

import json

import pytest

from mpl_tf import datasets, evaluate
from mpl_tf.run import devices, evaluation, run_folder, training, wiring
from tests.runs import settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The Config, the results and what the observer saw of a run without test data."""
    seen = []
    config = settings(tmp_path_factory.mktemp("runs") / "run", labeled_examples=60, holdout=20,
                      evaluate="holdout", plots=True)
    results = training.run(config, observe=lambda step, figures: seen.append((step, figures)))
    return config, results, seen


def test_there_are_no_test_data(run):
    dataset = wiring.load_dataset(run[0])
    assert dataset.test is None and len(dataset.holdout.labels) == 20
    assert set(wiring.eval_datasets(run[0], dataset)) == {"labeled", "holdout"}
    assert datasets.describe(dataset)["test"] == "none"
    model = wiring.build_model(run[0], dataset)
    assert "no test data" in training.plan(run[0], devices.get_strategy("default"), dataset, model, 0)


def test_results_say_so(run):
    config, results, _ = run
    written = json.loads((open(f"{config.model_dir}/results.json")).read())
    assert written["evaluate"] == "holdout" == written["flags"]["evaluate"]
    for name in ("student_test_accuracy", "teacher_test_accuracy", "median_last_evaluations"):
        assert written[name] is None
    assert run_folder.finished(config) == written
    assert not any("test" in name for each in written["evaluations"] for name in each)
    lines = evaluation.table(written).splitlines()
    assert lines[0].split() == ["accuracy", "[%]", "labeled", "holdout"]
    assert [line.split()[0] for line in lines[1:]] == ["student", "teacher"]
    assert f"{100 * results['teacher_holdout_accuracy']:.2f}" in lines[2]


def test_evaluate_reproduces_it(run):
    step, figures = evaluate.evaluate(run[0])
    assert evaluate.comparison(step, figures, run[1]).startswith("the same as")
    assert not any("test" in name for name in figures)


def test_an_observer_sees_every_evaluation(run):
    _, results, seen = run
    assert [step for step, _ in seen] == [3, 6]
    assert seen[-1][1]["student_holdout_accuracy"] == results["student_holdout_accuracy"]


def test_what_an_observer_raises_ends_the_run_and_keeps_its_checkpoints(tmp_path):
    def stop(step, figures):
        raise KeyError(step)
    config = settings(tmp_path / "run", method="baseline", labeled_examples=60, holdout=20,
                      evaluate="holdout")
    with pytest.raises(KeyError, match="3"):
        training.run(config, observe=stop)
    assert run_folder.has_checkpoint(config.model_dir) and run_folder.finished(config) is None


def test_it_needs_held_out_labels(tmp_path):
    with pytest.raises(ValueError, match="--evaluate=holdout without --holdout: .*add --holdout=N"):
        settings(tmp_path, evaluate="holdout")

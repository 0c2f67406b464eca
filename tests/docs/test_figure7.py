"""docs/figure7.py: what it makes of folders that compare wrote, against numbers worked by hand."""

import importlib.util
import pathlib

import numpy as np
import pytest

from mpl_tf.common import storage
from mpl_tf.report.statistics import mean_difference
from mpl_tf.run import predicted

FILE = pathlib.Path(__file__).parents[2] / "docs" / "figure7.py"


@pytest.fixture(scope="module")
def figure7():
    spec = importlib.util.spec_from_file_location("figure7", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder(path, labels, right):
    """Runs in `path`: {row: for each seed how many of ten images the student has right}."""
    for row, counts in right.items():
        for seed, count in enumerate(counts):
            run = path / f"{row}_seed{seed}"
            run.mkdir(parents=True)
            storage.write_json(str(run / "results.json"), {
                "train_steps": 3, "flags": {"labeled_examples": labels}})
            logits = np.zeros([10, 2], np.float32)
            logits[:, 1] = np.where(np.arange(10) < count, 1, -1)
            predicted.write(str(run), predicted.Predicted(
                3, np.ones(10, np.int64), np.array([b"%d" % i for i in range(10)]), {"student": logits}))
    return str(path)


ROWS = {"cifar10_features": [7, 9], "cifar10_features_control": [6, 6], "cifar10_features_shuffled": [6, 7],
        "cifar10_features_supervised": [5, 5], "another": [1]}


def test_its_line_is_of_the_seeds_that_all_rows_have(figure7, tmp_path):
    rows = {**ROWS, "cifar10_features": [7, 9, 0]}      # its third seed has no control yet
    labels, found = figure7.runs_of(folder(tmp_path / "runs", 40, rows))
    line = figure7.line_of_table(labels, found)
    # Differences of 10 and 30 points: mean 20, standard deviation 14.14.
    assert "| 40 | 2 | 50.00 ± 0.00 | 60.00 ± 0.00 | 80.00 ± 14.14 |" in line
    assert "+20.00 ± 14.14 | 2 of 2 |" in line and line.endswith("+5.00 ± 7.07 |")
    # Student's interval of two seeds is 12.7 times 10 points to each side, and a difference 100 at most.
    assert "| −100.00 to +100.00 |" in line


def test_its_interval_is_the_reports(figure7, tmp_path):
    rows = {**ROWS, "cifar10_features": [7, 8, 8, 9], "cifar10_features_control": [7, 7, 7, 7],
            "cifar10_features_shuffled": [7] * 4, "cifar10_features_supervised": [5] * 4}
    labels, found = figure7.runs_of(folder(tmp_path / "runs", 40, rows))
    mean = mean_difference([np.arange(10) < right for right in (7, 8, 8, 9)], [np.arange(10) < 7] * 4, same=True)
    assert -1 < mean.low < 0 < mean.high < 1
    low, high = (f"{100 * value:+.2f}" for value in (mean.low, mean.high))
    assert f"| {low} to {high} |".replace("-", "−") in figure7.line_of_table(labels, found)


def test_it_draws_folders_in_the_order_of_their_labels(figure7, tmp_path, capsys):
    folders = [folder(tmp_path / name, labels, ROWS) for name, labels in (("many", 250), ("few", 40))]
    assert figure7.main([*folders, f"--output={tmp_path / 'figure.png'}"]) == 0
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()] == ["| 40", "| 250"]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("second", [{}, {"cifar10_features": [7]}])
def test_a_folder_of_no_runs_or_of_several_numbers_of_labels_is_refused(figure7, tmp_path, second):
    path = tmp_path / "runs"
    path.mkdir()
    if second:
        folder(path, 40, second)
        folder(path, 250, {"cifar10_features_control": [6]})
    with pytest.raises(ValueError, match="expected one number of labels in each folder"):
        figure7.runs_of(str(path))
    assert figure7.main([str(tmp_path / "absent")]) == 2


def test_a_comparison_that_is_not_done_is_refused(figure7, tmp_path):
    unfinished = folder(tmp_path / "runs", 40, {**ROWS, "cifar10_features_shuffled": [6]})
    (tmp_path / "older").mkdir()
    older = folder(tmp_path / "older", 40, ROWS)
    (tmp_path / "older" / "cifar10_features_seed0" / "test_predictions.npz").unlink()
    for path in (unfinished, older):
        with pytest.raises(ValueError, match="has 1 seeds with finished runs of cifar10_features, cifar10_features_c"):
            figure7.runs_of(path)

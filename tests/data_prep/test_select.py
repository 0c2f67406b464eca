"""The command line of data_prep.select; what is selected: tests/reduced/test_selecting.py."""

import os
import re

import pytest

from data_prep import command, select
from tests.stored import predicted_with_ties, selected


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(folder of predictions, folder of 150 images in 5 shards), with ties in every class."""
    return predicted_with_ties(tmp_path_factory.mktemp("stored"))


@pytest.mark.parametrize("flags, options", [
    ([], {}), (["--short=leave"], dict(short="leave")), (["--rank_all"], dict(rank_all=True)),
    (["--splits=unlabeled"], dict(splits=["unlabeled"]))])
def test_flags_reach_the_selection(stored, tmp_path, flags, options):
    folder, _ = stored
    for _ in range(2):
        assert command.main(select.run, [
            f"--predictions_dir={folder}", f"--output_dir={tmp_path / 'flags'}", "--per_class=70",
            "--overwrite", *flags]) == 0
    selected(folder, tmp_path / "plain", per_class=70, **options)
    for name in os.listdir(tmp_path / "plain"):
        assert (tmp_path / "flags" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


@pytest.mark.parametrize("flags, said", [
    (["--per_class=151"], "--per_class=151: .* has 150 examples in all; ask for fewer"),
    (["--per_class=3", "--splits=train"], "no predictions of 'train', only of unlabeled"),
    (["--per_class=3", "--predictions_dir={source}"], "predictions.json is missing"),
    (["--per_class=3", "--output_dir={source}"], "which is no part of a selection")])
def test_bad_flags_are_one_line(stored, tmp_path, capsys, flags, said):
    folder, source = stored
    given = [f"--predictions_dir={folder}", f"--output_dir={tmp_path / 'out'}",
             *(flag.format(source=source) for flag in flags)]
    assert command.main(select.run, given) == 2
    err = capsys.readouterr().err
    assert re.search(said, err) and err.startswith("error: ") and err.count("\n") == 1

"""The command line of data_prep.features; what it writes: tests/features/test_computing.py."""

import re
import shlex

import pytest

from data_prep import command, features
from mpl_tf import config
from mpl_tf.features import computing
from mpl_tf.features.source_shards import Options

NEEDED = ["--backbone=b.keras", "--source_dir=a", "--output_dir=out"]


def test_flags_reach_the_computing(monkeypatch):
    given = []
    monkeypatch.setattr(computing, "compute", given.append)
    assert command.main(features.run, NEEDED) == 0
    assert command.main(features.run, [
        *NEEDED, "--source_dir=b", "--weights=w.h5", "--image_size=96", "--crop=whole", "--views=2", "--seed=4",
        "--randaugment_layers=1", "--randaugment_magnitude=7", "--cutout=8", "--splits=train,test",
        "--first=train:12000,test:3000", "--shard_index=1", "--num_shards=3", "--batch_size=9",
        "--skip_corrupt"]) == 0
    assert command.main(features.run, [*NEEDED, "--overwrite"]) == 0
    assert given.pop() == Options("b.keras", ["a"], "out", overwrite=True)
    assert given == [Options("b.keras", ["a"], "out"), Options(
        "b.keras", ["a", "b"], "out", "w.h5", 96, ["train", "test"], 2, 4, 1, 7, 8, "whole",
        {"train": 12000, "test": 3000}, 9, True, 1, 3)]


@pytest.mark.parametrize("whole", [True, False])
def test_it_ends_with_the_command_that_trains_once_all_is_there(whole, monkeypatch, capsys):
    monkeypatch.setattr(computing, "compute", lambda options: whole)
    assert command.main(features.run, [*NEEDED[:2], "--output_dir=out of $5"]) == 0
    said = capsys.readouterr().out
    if not whole:
        assert not said
        return
    arguments = shlex.split(said.partition("python -m mpl_tf.train ")[2])
    assert config.parse(arguments).data_dir == "out of $5" and said.count("\n") == 1


@pytest.mark.parametrize("arguments, said", [
    (["--overwrite", "--num_shards=2"], "would remove what other machines have written"),
    (["--shard_index=2", "--num_shards=2"], "expected 0 to 1"), (["--cutout=3"], "expected an even number"),
    (["--first=train"], "expected SPLIT:COUNT"), (["--first=train:0"], "expected SPLIT:COUNT"),
    (["--first=train:-1"], "expected SPLIT:COUNT"), ([], "--source_dir=a")])
def test_bad_flags_are_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert command.main(features.run, [*NEEDED, *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and re.search(said, err)
    assert not (tmp_path / "out").exists()

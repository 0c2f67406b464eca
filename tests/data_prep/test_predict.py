"""The command line of data_prep.predict; what it writes: tests/reduced/test_labelling.py."""

import re

import pytest

from data_prep import command, predict
from mpl_tf.reduced import labelling
from tests.conftest import ROOT
from tests.stored import write_images

RUN = ROOT / "tests" / "fixtures" / "before_packages" / "finished"      # of digits


def test_flags_reach_the_labelling(monkeypatch):
    given = []
    monkeypatch.setattr(labelling, "label", lambda *arguments: given.append(arguments))
    flags = ["--model_dir=run", "--source_dir=a", "--source_dir=b", "--output_dir=out"]
    assert command.main(predict.run, flags) == 0
    assert command.main(predict.run, [
        *flags, "--splits=train,extra", "--batch_size=7", "--skip_corrupt", "--shard_index=2",
        "--num_shards=3"]) == 0
    assert given == [("run", ["a", "b"], "out", None, 256, False, 0, 1),
                     ("run", ["a", "b"], "out", ["train", "extra"], 7, True, 2, 3)]


@pytest.mark.parametrize("arguments, said", [
    (["--source_dir={shards}"], "with a network of digits: use --source_dir=digits"),
    (["--source_dir=digits", "--shard_index=2", "--num_shards=2"], "expected 0 to 1"),
    (["--source_dir=digits", "--model_dir={shards}"], "is not a run's folder"),
    (["--source_dir=digits", "--output_dir={shards}"], "holds .* and no predictions.json")])
def test_bad_flags_are_one_line(tmp_path, capsys, arguments, said):
    shards = write_images(tmp_path / "shards")
    given = [f"--model_dir={RUN}", f"--output_dir={tmp_path / 'out'}",
             *(text.format(shards=shards) for text in arguments)]
    assert command.main(predict.run, given) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(said, err)

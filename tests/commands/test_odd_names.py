"""Folders and classes of any name, from photographs to predictions."""

import json
import os

import pytest

from data_prep import command as prep, image_folder
from mpl_tf import evaluate, predict, train
from tests.prep import jpeg, put

NAMES = [os.fsdecode(name) for name in (b"$5_to_$20", b"\xff^{ [x]*", "Ä|p %s\n{}".encode())]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with shards, of an odd name, of odd names."""
    root = tmp_path_factory.mktemp("odd") / os.fsdecode(b"lr=[0.1,*] ?%d {x} \\n \xff #b")
    for number, name in enumerate(NAMES):
        for i in range(4):
            put(os.path.join(root, "photos", "labeled", name, os.fsdecode(b"[%d]*\xfe.jpg" % i)),
                jpeg(10 * number + i))
    assert prep.main(image_folder.run, [f"--source_dir={root}/photos", f"--output_dir={root}/shards",
                                        "--workers=1"]) == 0
    return root


def flags(root, steps):
    return ["--dataset=image_folder", "--objective=supervised", f"--data_dir={root}/shards", f"--model_dir={root}/run",
            "--student_network=mlp-8", "--teacher_network=mlp-8", "--image_size=8", "--batch_size=4",
            "--unlabeled_batch_size=4", "--eval_steps=9", "--checkpoint_steps=1",
            "--summary_steps=2", f"--train_steps={steps}"]


def test_training_resuming_evaluating_and_predicting(root, capsys):
    for steps in (2, 3):
        assert train.main(flags(root, steps)) == 0
    output = capsys.readouterr()
    assert "steps      2 to 3," in output.out and "could not be drawn" not in output.err
    assert {"curves.png", "student.keras", "saved_model"} <= set(os.listdir(root / "run"))
    assert evaluate.main([f"--model_dir={root}/run"]) == 0
    assert "the same as results.json's" in capsys.readouterr().out

    photos = os.path.join(root, "photos", "labeled", NAMES[2])
    assert predict.main([f"--model_dir={root}/run", photos]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4      # one for each image, though a name has a line end
    assert all(line.count("Ä|p %s\\n{}") == 2 and "$5_to_$20 0." in line for line in lines)
    assert predict.main([f"--model_dir={root}/run", "--json_lines", photos]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        assert os.path.isfile(found["path"])
        assert sorted(name for name, _ in found["probabilities"]) == sorted(NAMES)

"""A user's own folder from files to a trained student that classifies a new photograph."""

import json

import numpy as np
import pytest
from PIL import Image

from data_prep import image_folder
from mpl_tf import model_dir, predict, training
from tests.runs import assert_same_state, settings

COLORS = {"green": (20, 200, 40), "violet": (160, 30, 200)}


def photograph(path, color, seed):
    """A JPEG of one colour and some noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, [40, 60, 3])
    pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of everything, the run's folder, its results)."""
    root = tmp_path_factory.mktemp("own")
    for name, color in COLORS.items():
        for seed in range(8):
            photograph(root / "source" / "labeled" / name / f"{seed}.jpg", color, seed)
            photograph(root / "source" / "unlabeled" / f"{name}{seed}.jpg", color, 100 + seed)
    image_folder.run([f"--source_dir={root / 'source'}", f"--output_dir={root / 'shards'}",
                      "--workers=1"])
    results = training.run(folder_settings(root, "run", train_steps=30))
    return root, root / "run", results


def folder_settings(root, name, **changes):
    return settings(root / name, **{**dict(
        dataset="image_folder", data_dir=str(root / "shards"), image_size=8, batch_size=8,
        student_network="mlp-16", teacher_network="mlp-16", student_learning_rate=0.2,
        teacher_learning_rate=0.2, eval_steps=30, checkpoint_steps=10, plots=False), **changes})


def test_it_learns_and_keeps_the_names(trained):
    _, run, results = trained
    assert results["student_test_accuracy"] == 1.0
    assert model_dir.read_json(str(run / "classes.json")) == ["green", "violet"]


def test_stopped_and_continued_it_is_the_same(trained):
    root, run, _ = trained
    training.run(folder_settings(root, "again", train_steps=13))
    training.run(folder_settings(root, "again", train_steps=30))
    assert_same_state(root / "again", run)


def test_new_photographs_get_names_and_probabilities(trained, capsys):
    root, run, _ = trained
    photograph(root / "new" / "grass.jpg", COLORS["green"], 999)
    photograph(root / "new" / "deep" / "flower.png", COLORS["violet"], 998)
    assert predict.main([f"--model_dir={run}", str(root / "new"), "--json_lines"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["path"].rsplit("/", 1)[1]: line for line in lines}
    assert {name: line["class"] for name, line in found.items()} == {
        "grass.jpg": "green", "flower.png": "violet"}
    for line in lines:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert predict.main([f"--model_dir={run}", str(root / "new" / "grass.jpg"), "--top=1"]) == 0
    assert capsys.readouterr().out.startswith(f"{root / 'new' / 'grass.jpg'}: green ")


def test_what_cannot_be_read_is_named(trained, capsys):
    root, run, _ = trained
    (root / "broken.jpg").write_bytes(b"no image")
    photograph(root / "fine.jpg", COLORS["green"], 1)
    assert predict.main([f"--model_dir={run}", str(root / "broken.jpg"),
                         str(root / "fine.jpg")]) == 1
    out = capsys.readouterr()
    assert "fine.jpg: green" in out.out
    assert "broken.jpg is no image that can be read" in out.err and out.err.count("\n") == 1


@pytest.mark.parametrize("arguments, words", [
    (["--model_dir={root}/absent", "x.jpg"], "holds no run"),
    (["--model_dir={run}", "absent.jpg"], "no such file or folder"),
    (["--model_dir={run}", "{root}/shards"], "holds no images")])
def test_bad_input_is_one_line(trained, capsys, arguments, words):
    root, run, _ = trained
    assert predict.main([text.format(root=root, run=run) for text in arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("error: ") and err.count("\n") == 1

"""A user's own folder from files to a trained student that classifies a new photograph."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from data_prep import image_folder
from mpl_tf import predict
from mpl_tf.run import run_folder, training
from mpl_tf.shards import image_files, record_index, schema, tfrecord
from mpl_tf.shards.images import ShardImages
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
    assert run_folder.class_names(str(run)) == ["green", "violet"]


@pytest.mark.slow
def test_other_data_are_refused_and_moved_ones_taken(trained):
    root, run, _ = trained
    shutil.copytree(run, root / "longer")
    (root / "moved").mkdir()
    for name in os.listdir(root / "shards"):
        shutil.copy(root / "shards" / name, root / "moved" / name)
    changes = dict(data_dir=str(root / "moved"), train_steps=40)
    training.run(folder_settings(root, "longer", **changes))
    image_folder.run([f"--source_dir={root / 'source'}", f"--output_dir={root / 'others'}",
                      "--workers=1", "--seed=5"])
    with pytest.raises(ValueError, match="was trained on other data: labeled 1. examples"):
        training.run(folder_settings(root, "longer", **{
            **changes, "data_dir": str(root / "others"), "train_steps": 50}))


@pytest.mark.slow
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
        assert [name for name, _ in line["probabilities"]] == ["green", "violet"]
        assert sum(p for _, p in line["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert predict.main([f"--model_dir={run}", str(root / "new" / "grass.jpg"), "--top=1"]) == 0
    assert capsys.readouterr().out.startswith(f"{root / 'new' / 'grass.jpg'}: green ")


def test_a_table_for_a_spreadsheet(trained, tmp_path, capsys, monkeypatch):
    """Names that a spreadsheet would run, a comma, a line end, bytes that are no UTF-8; not overwritten."""
    _, run, _ = trained
    names = ["=1+1.jpg", "-2.jpg", 'a,"b".jpg', "line\nend.jpg", os.fsdecode(b"no\xffutf8.jpg")]
    for seed, name in enumerate(names):
        photograph(tmp_path / name, COLORS["green"], 900 + seed)
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    arguments = [f"--model_dir={run}", f"--csv={table}", "--", *names]
    assert predict.main(arguments) == 0
    assert capsys.readouterr().out == f"5 images in {table}\n"
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "class", "probability", "runner_up", "entropy"]
    assert [row["path"] for row in rows] == ["./=1+1.jpg", "./-2.jpg", names[2], names[3], "no\\udcffutf8.jpg"]
    assert predict.main([f"--model_dir={run}", "--json_lines", "--", *names]) == 0
    for row, line in zip(rows, map(json.loads, capsys.readouterr().out.splitlines())):
        (first, p), (second, q) = sorted(line["probabilities"], key=lambda pair: -pair[1])
        assert (row["class"], row["runner_up"]) == (first, second) and float(row["probability"]) == pytest.approx(p, abs=1e-6)
        assert float(row["entropy"]) == pytest.approx(-p * np.log(p) - q * np.log(q), abs=1e-5)
    before = table.read_bytes()
    assert predict.main(arguments) == 2 and "is there already: name a new file" in capsys.readouterr().err
    assert table.read_bytes() == before and sorted(os.listdir(tmp_path)) == sorted([*names, "table.csv"])
    assert predict.main([f"--model_dir={run}", "--csv=absent/x.csv", "--", *names]) == 2
    assert "absent is not a folder that can be written to" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    other = tmp_path / "other.csv"
    assert predict.main([f"--model_dir={run}", f"--csv={other}", "--", names[0], "broken.jpg"]) == 1
    assert capsys.readouterr().out == f"1 of 2 images in {other}\n"


def test_what_cannot_be_read_is_named(trained, capsys):
    root, run, _ = trained
    (root / "broken.jpg").write_bytes(b"no image")
    photograph(root / "fine.jpg", COLORS["green"], 1)
    assert predict.main([f"--model_dir={run}", str(root / "broken.jpg"),
                         str(root / "fine.jpg")]) == 1
    out = capsys.readouterr()
    assert "fine.jpg: green" in out.out
    assert "broken.jpg is no image that can be read" in out.err and out.err.count("\n") == 1


def test_a_photograph_is_seen_as_the_evaluation_sees_it(tmp_path, shared_data):
    """Large JPEGs (decoded in part), alpha and 16 bits too, bit for bit."""
    path = sorted((shared_data / "imagenet-sample").glob("*.JPEG"))[5]
    files = {"photo.jpg": path.read_bytes()}
    with Image.open(path) as image:
        alpha = image.convert("RGBA")
    alpha.putalpha(128)
    for name, made in (("alpha.png", alpha), ("deep.png", Image.fromarray(
            np.linspace(0, 65535, 80 * 90).reshape(80, 90).astype(np.uint16)))):
        made.save(tmp_path / name)
        files[name] = (tmp_path / name).read_bytes()
    for name, contents in files.items():
        source = tmp_path / name
        source.write_bytes(contents)
        shard = tmp_path / "train-00000-of-00001"
        encoded = image_files.convert(contents, orient=True).encoded
        tfrecord.write(shard, [schema.encode(schema.Record(encoded, name))])
        index, _ = record_index.build_index([shard], labels=False)
        expected = ShardImages(index, 48).evaluation_views(np.array([0], np.int64))[0]
        np.testing.assert_array_equal(predict.read_image(source, (48, 48, 3), "inception"),
                                      expected)


@pytest.mark.parametrize("name, keep", [("saved_model.pb", 0.5), ("saved_model.pb", 0.0), (
    "variables/variables.data-00000-of-00001", 0.5), ("variables/variables.index", 0.0)])
def test_a_damaged_saved_model_is_one_line(trained, tmp_path, capsys, name, keep):
    root, run, _ = trained
    photograph(tmp_path / "grass.jpg", COLORS["green"], 3)
    shutil.copytree(run / "saved_model", tmp_path / "run" / "saved_model")
    for other in ("config.json", "classes.json"):
        shutil.copy(run / other, tmp_path / "run" / other)
    path = tmp_path / "run" / "saved_model" / name
    path.write_bytes(path.read_bytes()[:int(keep * path.stat().st_size)])
    assert predict.main([f"--model_dir={tmp_path / 'run'}", str(tmp_path / "grass.jpg")]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1
    assert f"error: {tmp_path / 'run' / 'saved_model'} cannot be read (" in out.err


def test_an_exported_student_that_does_not_fit_its_run_is_one_line(trained, tmp_path, capsys):
    root, run, _ = trained
    photograph(tmp_path / "grass.jpg", COLORS["green"], 3)
    shutil.copytree(run / "saved_model", tmp_path / "run" / "saved_model")
    shutil.copy(run / "config.json", tmp_path / "run")
    arguments = [f"--model_dir={tmp_path / 'run'}", str(tmp_path / "grass.jpg")]
    (tmp_path / "run" / "classes.json").write_text('["green", "violet", "red"]')
    assert predict.main(arguments) == 2
    assert "gives 2 classes, but its flags and classes.json say 8 and 3" in capsys.readouterr().err
    (tmp_path / "run" / "classes.json").unlink()
    assert predict.main(arguments) == 0     # its classes are numbers then
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'grass.jpg'}: 0 ")
    shutil.rmtree(tmp_path / "run" / "saved_model")
    assert predict.main(arguments) == 2
    assert "has no saved_model: the run is not finished, or has --noexport; give the command that trained it" in (
        err := capsys.readouterr().err) and "evaluate" not in err
    shutil.copytree(run / "checkpoints", tmp_path / "run" / "checkpoints")
    assert predict.main(arguments) == 2
    assert f"(python -m mpl_tf.evaluate --model_dir={tmp_path / 'run'} tells the" in capsys.readouterr().err


def test_hidden_files_are_left_out_but_a_file_that_is_named_is_taken(trained, capsys):
    root, run, _ = trained
    folder = root / "hidden"
    photograph(folder / "seen.jpg", COLORS["green"], 5)
    photograph(folder / ".Trashes" / "gone.jpg", COLORS["green"], 6)
    photograph(folder / "without_suffix", COLORS["violet"], 7)
    (folder / "._seen.jpg").write_bytes(b"what macOS leaves")
    assert predict.main([f"--model_dir={run}", str(folder), str(folder / "without_suffix"),
                         "--top=1"]) == 0
    out = capsys.readouterr()
    assert [line.partition(": ")[0] for line in out.out.splitlines()] == [
        str(folder / "seen.jpg"), str(folder / "without_suffix")]
    assert out.err.splitlines() == [
        f"1 file that is no image by its name is left out, such as {folder}/without_suffix",
        f"2 hidden files or folders are left out, such as {folder}/.Trashes: rename what belongs to the data"]
    (folder / "no\nimage.heic").write_bytes(b"0")
    assert predict.main([f"--model_dir={run}", str(folder), "--top=1"]) == 0
    assert f"2 files that are no images by their name are left out, such as {folder}/no\\nimage.heic\n" in capsys.readouterr().err


def test_names_that_begin_with_a_dash_follow_two_dashes(trained, capsys, monkeypatch):
    root, run, _ = trained
    photograph(root / "dashed" / "-a.jpg", COLORS["green"], 5)
    photograph(root / "dashed" / "b.jpg", COLORS["green"], 6)
    monkeypatch.chdir(root / "dashed")
    for given in (["b.jpg", "--top=1", "--", "-a.jpg"], ["--top=1", "b.jpg", "--", "-a.jpg"],
                  ["--top=1", "--", "b.jpg", "-a.jpg"]):
        assert predict.main([f"--model_dir={run}", *given]) == 0
        assert [line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()] == ["b.jpg", "-a.jpg"]
    for nothing in ([], ["--"]):
        with pytest.raises(SystemExit):
            predict.parse([f"--model_dir={run}", *nothing])
        assert "required: PATH" in capsys.readouterr().err


def test_equal_names_do_not_hide_each_other():
    line = json.loads(predict.line("x", [0.5, 0.3, 0.2], ["crane", "tench", "crane"], 3, True))
    assert line["class"] == "crane"
    assert line["probabilities"] == [["crane", 0.5], ["tench", 0.3], ["crane", 0.2]]


@pytest.mark.parametrize("arguments, words", [
    (["--model_dir={root}/absent", "x.jpg"], "holds no run"),
    (["--model_dir={root}", "x.jpg"], "{root}/run?"),
    (["--model_dir={run}", "absent.jpg"], "no such file or folder"),
    (["--model_dir={run}", "--", "~no such/x.jpg"], "PATH=~no such/x.jpg: there is no such user"),
    (["--model_dir={run}", "{root}/shards"], "holds no images")])
def test_bad_input_is_one_line(trained, capsys, arguments, words):
    root, run, _ = trained
    assert predict.main([text.format(root=root, run=run) for text in arguments]) == 2
    err = capsys.readouterr().err
    assert words.format(root=root) in err and err.startswith("error: ") and err.count("\n") == 1

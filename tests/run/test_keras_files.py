"""A .keras file of unknown origin is loaded without running code of its own, or refused."""

import io
import json
import os
import pathlib
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import train
from mpl_tf.run import keras_files
from tests import tiny
from tests.conftest import ROOT

L = tf.keras.layers


def write_marker(x, path):
    """What a hostile Lambda does: it leaves a file."""
    pathlib.Path(path).write_text("executed")
    return x


@tf.keras.utils.register_keras_serializable("test_keras_files")
class Registered(L.Dense):
    """A user's layer."""


@tf.keras.utils.register_keras_serializable("test_keras_files")
def registered(x):
    """A user's activation."""
    return tf.nn.relu(x) + 1.0


class Imported(tf.keras.Model):
    """A user's model that is not registered; its module is imported."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dense = units, L.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {"units": self.units}


def sequential(*layers):
    return tf.keras.Sequential([tf.keras.Input((8, 8, 1)), L.Flatten(), *layers])


def changed(path, to, change=lambda config: None, **members):
    """Writes a copy of an archive whose config was changed, with more members, bytes by name."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    change(config)
    contents.update({"config.json": json.dumps(config).encode(), **members})
    with zipfile.ZipFile(to, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return str(to)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The path of a small sound network."""
    path = str(tmp_path_factory.mktemp("sound") / "sound.keras")
    sequential(L.Dense(10, name="logits")).save(path)
    return path


def layer(config, number):
    return config["config"]["layers"][number]


@pytest.mark.parametrize("name", ["foreign.h5", "foreign.keras", "folder/student.keras"])
def test_an_hdf5_files_lambda_is_not_executed(tmp_path, capsys, name):
    path, marker = tmp_path / name, str(tmp_path / "marker")
    path.parent.mkdir(exist_ok=True)
    network = sequential(L.Lambda(write_marker, arguments={"path": marker}), L.Dense(10))
    network.save(str(tmp_path / "made.h5"), save_format="h5")
    os.remove(marker)
    os.rename(tmp_path / "made.h5", path)
    given = path.parent if "/" in name else path
    assert train.main(["--dataset=digits", "--method=distillation", f"--fixed_teacher={given}",
                       f"--model_dir={tmp_path / 'run'}"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert f"fixed_teacher={path} cannot be read: it is an HDF5 file, which can hold code" in line
    assert not os.path.exists(marker)


@pytest.mark.parametrize("name", ["relu", "softmax"])
def test_a_function_of_keras_by_the_name_of_another_module_is_refused(sound, tmp_path, monkeypatch, name):
    """Keras imports the module that the file names, whatever the function's name is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "foreign.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")

    def change(config):
        layer(config, -1)["config"]["activation"] = {
            "module": "foreign", "class_name": "function", "config": name, "registered_name": name}

    with pytest.raises(ValueError, match=f"names the function {name} of foreign, which is not registered"):
        keras_files.load(changed(sound, tmp_path / "function.keras", change))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["layers.Lambda", "layers.TFSMLayer",
                                  "src.layers.core.tf_op_layer.TFOpLambda"])
def test_a_dotted_name_is_that_of_its_last_part(name):
    """Keras 2 looks "layers.Lambda" of the module keras up as it does "Lambda" of keras.layers."""
    config = {"module": "keras", "class_name": name, "registered_name": None,
              "config": {"name": "x", "function": "io.write_file"}}
    [problem] = keras_files.problems(config)
    assert problem.startswith("its layer 'x' ")


@pytest.mark.parametrize("config", [
    {"module": "tensorflow_payload", "class_name": "__typespec__", "spec_name": "ASpec", "config": []},
    {"module": "tf_keras.of_it", "class_name": "Dense", "registered_name": None, "config": {}},
    {"module": "keras_payload", "class_name": "function", "config": "relu"},
    {"module": "tf_keras", "class_name": "function", "config": "relu"},
    {"module": "", "class_name": "function", "config": "relu"},
    {"module": ["foreign"], "class_name": "function", "config": "relu"}])
def test_modules_that_only_begin_as_known_ones_are_refused(monkeypatch, config):
    monkeypatch.delitem(sys.modules, "tf_keras", raising=False)     # where it is installed
    assert len(list(keras_files.problems(config))) == 1


def test_legacy_keras_reads_modules_of_keras_as_its_own(monkeypatch):
    """There `keras` is not imported, and its files name it: tf_keras looks its own names up."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    dense = {"module": "keras.of_it", "class_name": "Dense", "registered_name": None, "config": {}}
    monkeypatch.delitem(sys.modules, "tf_keras", raising=False)
    assert len(list(keras_files.problems(dense))) == 1
    monkeypatch.setitem(sys.modules, "tf_keras", tf.keras)
    assert not list(keras_files.problems(dense))


def test_functions_of_keras_are_known():
    for module in (None, "builtins", "keras.activations", "keras.src.activations"):
        assert not list(keras_files.problems(
            {"module": module, "class_name": "function", "config": "relu"}))


def test_weights_that_would_be_unpickled_are_refused(sound, tmp_path):
    """Keras 2 gives model.weights.npz to numpy.load with allow_pickle."""
    class Payload:
        def __reduce__(self):
            return write_marker, (0, str(tmp_path / "marker"))

    stream = io.BytesIO()
    np.savez(stream, **{"layers/dense": np.array(Payload(), dtype=object)})
    path = changed(sound, tmp_path / "npz.keras", **{
        "model.weights.h5": None, "model.weights.npz": stream.getvalue()})
    with pytest.raises(ValueError, match="cannot be read: it holds model.weights.npz, which"):
        keras_files.load(path)
    assert not (tmp_path / "marker").exists()


WRITE = {"module": "keras.src.layers.core.tf_op_layer", "class_name": "TFOpLambda",
         "config": {"name": "op", "function": "io.write_file"}, "registered_name": "TFOpLambda"}


@pytest.mark.parametrize("change, words", [
    (lambda c: c.update(module="antigravity", class_name="system", registered_name="system"),
     "its layer 'sequential.*' asks for system of the module antigravity, which is not registered"),
    (lambda c: layer(c, 2).update(WRITE), "its layer 'op' calls tf.io.write_file"),
    (lambda c: layer(c, 2).update(WRITE, config={"name": "op", "function": "py_function"}),
     "calls tf.py_function"),
    (lambda c: layer(c, 2).update(WRITE, config={"name": "op", "function": "keras.utils.get_file"}),
     "calls tf.keras.utils.get_file"),
    (lambda c: layer(c, 2)["config"].update(activation={
        "module": "builtins", "class_name": "function", "config": "exec",
        "registered_name": "function"}), "'logits' names the function exec of builtins"),
    (lambda c: layer(c, 2)["config"].update(activation={
        "module": "keras.utils", "class_name": "function", "config": "get_file",
        "registered_name": "get_file"}), "names the function get_file of keras.utils"),
    (lambda c: layer(c, 2)["config"].update(kernel_initializer={
        "module": "os", "class_name": "system", "config": {}, "registered_name": None}),
     "its layer 'logits' asks for system of the module os"),
    (lambda c: layer(c, 2)["config"].update(kernel_initializer={
        "module": "keras.models", "class_name": "load_model", "config": {}}),
     "asks for load_model of the module keras.models"),
    (lambda c: layer(c, 2).update(class_name="Lambda", config={
        "name": "trap", "function": ["", None, None], "function_type": "lambda"}),
     "its layer 'trap' is a Lambda layer, whose Python code would run"),
    (lambda c: layer(c, 2)["config"].update(activation={
        "class_name": "__lambda__", "config": {"value": "4wEA"}}), "'logits' has a Python lambda"),
    (lambda c: layer(c, 2).update(class_name="TFSMLayer"), "'logits' is a TFSMLayer")])
def test_what_an_archive_must_not_ask_for(sound, tmp_path, change, words):
    path = changed(sound, tmp_path / "odd.keras", change)
    with pytest.raises(ValueError, match=f"odd.keras cannot be read: .*{words}") as error:
        keras_files.load(path)
    assert "\n" not in str(error.value) and "if you trust the file" in str(error.value)


@pytest.mark.parametrize("name, content, words", [
    ("text.keras", b"no zip file", "it is no zip archive"),
    ("empty.keras", b"", "it is no zip archive"),
    ("cut.keras", 0.5, "it is no zip archive"),
    ("sound.zip", 1.0, "it is an archive whose name does not end in .keras; rename it to NAME.keras")])
def test_what_is_no_such_archive(sound, tmp_path, name, content, words):
    whole = pathlib.Path(sound).read_bytes()
    (tmp_path / name).write_bytes(content if isinstance(content, bytes)
                                  else whole[:int(content * len(whole))])
    with pytest.raises(ValueError, match=f"{name} cannot be read: {words}"):
        keras_files.load(str(tmp_path / name))


def test_archives_that_lack_parts_are_one_line(sound, tmp_path):
    for member, words in (("config.json", "its config.json cannot be read"),
                          ("model.weights.h5", "cannot be read .ValueError: .*model.weights")):
        path = tmp_path / f"{member}.keras"
        with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                if name != member:
                    new.writestr(name, old.read(name))
        with pytest.raises(ValueError, match=words) as error:
            keras_files.load(str(path))
        assert "\n" not in str(error.value)


@tiny.keras_2_only      # Keras 3 takes no operations of TensorFlow's between layers
def test_what_a_users_network_may_have_is_loaded(tmp_path):
    """Registered layers and functions, operations of TensorFlow's, classes of imported modules."""
    image = x = tf.keras.Input((8, 8, 1))
    x = tf.image.resize(x * 2.0 - 1.0, [4, 4])[:, 1:3]
    x = tf.reshape(x, [tf.shape(x)[0], 8])
    x = tf.keras.backend.mean(tf.stack([x, tf.math.square(x)]), axis=0)
    x = Registered(6, activation=registered, kernel_regularizer="l2")(x)
    x = L.Dropout(0.1)(L.BatchNormalization()(tf.concat([x, tf.nn.relu(x)], -1)))
    x = L.RNN(L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(3)]))(x[:, None])
    nested = sequential(L.Dense(3, kernel_initializer=tf.keras.initializers.Constant(0.1)))
    rich = tf.keras.Model(image, L.Add()([x, nested(image)]))
    rich.compile("adam", loss=lambda y, z: tf.reduce_sum(z), metrics=["accuracy"])
    own = Imported()
    images = np.random.default_rng(0).normal(size=[2, 8, 8, 1]).astype("float32")
    for name, network in (("rich", rich), ("own", own)):
        made = network(images).numpy()
        network.save(str(tmp_path / f"{name}.keras"))
        np.testing.assert_array_equal(
            keras_files.load(str(tmp_path / f"{name}.keras"))(images), made)


def test_files_of_earlier_versions_are_loaded():
    for path in sorted((ROOT / "tests" / "fixtures" / "before_packages").glob("*.keras")):
        assert keras_files.refusal(str(path)) is None, path


@pytest.mark.parametrize("symbol, is_one", [
    ("math.add", True), ("compat.v1.shape", True), ("__operators__.getitem", True),
    ("linalg.set_diag", True), ("keras.backend.mean", True), ("nn.softmax", True),
    ("nn.softmax_cross_entropy_with_logits", True), ("RaggedTensor", True), ("with_values", True),
    ("io.read_file", False), ("compat.v1.write_file", False), ("raw_ops.WriteFile", False),
    ("numpy_function", False), ("load_op_library", False), ("summary.create_file_writer", False),
    ("keras.models.load_model", False), ("keras.backend.set_floatx", False), ("__class__", False),
    ("saved_model.load", False), ("data.Dataset", False), ("compat.v1.py_func", False),
    ("print", False)])
def test_symbols_that_only_compute(symbol, is_one):
    assert keras_files.computes(symbol) == is_one

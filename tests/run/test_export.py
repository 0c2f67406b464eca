"""An exported student: what its files take and give, here and in programs without this package."""

import contextlib
import http.server
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mpl_tf import networks
from mpl_tf.data import augment
from mpl_tf.run import export, run_folder
from mpl_tf.shards import crops
from tests.conftest import ROOT

NAMES = ["crane", "tench", "crane", "\udcff"]       # two alike, and one that is not UTF-8
DOCS = (ROOT / "docs" / "serving.md").read_text()


def trained(network):
    """The network with weights with which its probabilities are far from equal."""
    rng = np.random.default_rng(0)
    network.set_weights([0.3 * rng.normal(size=weight.shape) for weight in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, [3, 12, 12, 3]).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, images):
    """(folder with a run's files, the probabilities [3, 4] of `images`)."""
    folder = str(tmp_path_factory.mktemp("exported"))
    network = trained(networks.build("mlp-8", 4, (12, 12, 3), dropout=0.3))
    export.export(network, folder, NAMES)
    with open(os.path.join(folder, run_folder.CLASSES), "w") as file:
        json.dump(["ant", "bee", "cow", "dog"], file)
    probabilities = tf.nn.softmax(network(augment.normalize(images))).numpy()
    assert len(set(probabilities.argmax(axis=1))) > 1
    return folder, probabilities


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """(folder with the files of a network of two moons, points, their probabilities)."""
    folder = str(tmp_path_factory.mktemp("points"))
    network = trained(networks.build("rbf", 2, (2,)))
    export.export(network, folder, ["up", "down"])
    moons = np.random.default_rng(2).normal(size=[3, 2]).astype("float32")
    return folder, moons, tf.nn.softmax(network(moons)).numpy()


def signatures(folder):
    loaded = tf.saved_model.load(os.path.join(folder, "saved_model"))
    return loaded, loaded.signatures


def test_raw_pixels_are_what_the_default_signature_takes(exported, images):
    _, served = signatures(exported[0])
    assert set(served) == {"serving_default", "serving_float", "serving_uint8"}
    outputs = served["serving_default"](image=tf.constant(images))
    assert set(outputs) == {"probabilities", "logits", "class_names", "predicted_class"}
    np.testing.assert_allclose(outputs["probabilities"], exported[1], atol=1e-6)
    names = [name.encode("utf-8", "surrogateescape") for name in NAMES]
    assert outputs["class_names"].numpy().tolist() == 3 * [names]
    assert outputs["predicted_class"].numpy().tolist() == [
        names[k] for k in exported[1].argmax(axis=1)]
    for name, image in (("serving_uint8", images), ("serving_float", augment.normalize(images))):
        outputs = served[name](image=tf.constant(image))
        np.testing.assert_allclose(outputs["probabilities"], exported[1], atol=1e-6)
    with pytest.raises(Exception, match="float"):
        served["serving_default"](image=augment.normalize(images))


def test_a_name_that_has_no_bytes_is_its_escape():
    """Of a dataset.json that says "\\ud800": the run is at its end, and is not lost."""
    made = export.signatures(networks.build("mlp-2", 2, (2,)), ["a", "\ud800"])
    found = made["serving_default"](image=tf.zeros([1, 2]))
    assert found["class_names"].numpy().tolist() == [[b"a", b"\\ud800"]]


@pytest.mark.parametrize("crop", [
    crops.CROPS[0], *(pytest.param(crop, marks=pytest.mark.slow) for crop in crops.CROPS[1:])])
def test_images_of_any_size_are_seen_as_in_the_evaluation(exported, tmp_path, crop):
    network = trained(networks.build("mlp-8", 4, (12, 12, 3)))
    folder = exported[0]
    if crop == "inception":
        folder = str(tmp_path)
        export.export(network, folder, crop=crop)
    photo = np.kron(np.random.default_rng(3).integers(0, 256, [1, 5, 6, 3]),
                    np.ones([1, 4, 3, 1], int)).astype(np.uint8)      # 20 x 18 pixels
    stream = io.BytesIO()
    Image.fromarray(photo[0]).save(stream, "PNG")
    seen = crops.evaluation_crop(stream.getvalue(), 12, crop)[None]
    expected = network(augment.normalize(seen)).numpy()
    _, served = signatures(folder)
    outputs = served["serving_default"](image=tf.constant(photo))
    np.testing.assert_allclose(outputs["logits"], expected, atol=0.1)
    assert np.ptp(expected) > 1
    if crop == "inception":     # no names were given
        assert outputs["class_names"].numpy().tolist() == [[b"0", b"1", b"2", b"3"]]
    classifier = tf.keras.models.load_model(os.path.join(folder, "classifier.keras"))
    for given in (photo, photo.astype("float32")):
        np.testing.assert_allclose(classifier(given), outputs["probabilities"], atol=1e-6)


@pytest.mark.parametrize("own, channels", [
    (3, 1), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [(1, 3), (3, 4)])])
def test_images_of_other_channels_are_an_error_and_no_other_images(exported, tmp_path, own, channels):
    """Keras takes an image of three channels for a model of one, and one for three."""
    folder = exported[0]
    if own == 1:
        folder = str(tmp_path)
        export.export(networks.build("mlp-8", 4, (12, 12, 1)), folder)
    _, served = signatures(folder)
    image = np.zeros([9, 12, 12, channels], np.uint8)
    for name in ("serving_default", "serving_uint8", "serving_float"):
        given = tf.constant(image, tf.float32 if name == "serving_float" else tf.uint8)
        with pytest.raises(tf.errors.InvalidArgumentError, match=(
                rf"\[9,12,12,{channels}\] is not compatible with expected shape \[.*,{own}\]")) as error:
            served[name](image=given)
        assert f"image_of_{own}_channels" in str(error.value)
    classifier = tf.keras.models.load_model(os.path.join(folder, "classifier.keras"))
    for call in (lambda: classifier(image), lambda: classifier.predict(image, verbose=0)):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)) as error:
            call()
        assert re.search(rf"12, ?12, ?{channels}[\])]", str(error.value))
        assert re.search(rf"(\?|None), ?{own}[\])]|must equal {own}\b|Dimension must be {own}\b",
                         str(error.value))


def test_points_are_taken_as_they_are(points):
    folder, moons, probabilities = points
    _, served = signatures(folder)
    assert set(served) == {"serving_default", "serving_float"}
    outputs = served["serving_default"](image=tf.constant(moons))
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-6)
    classifier = tf.keras.models.load_model(os.path.join(folder, "classifier.keras"))
    np.testing.assert_allclose(classifier(moons), probabilities, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_precisions(images, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    network = trained(networks.build("mlp-8", 4, (12, 12, 3)))
    expected = tf.nn.softmax(tf.cast(network(augment.normalize(images)), tf.float32))
    found = export.classifier(network)(images)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 if policy == "float64" else 1e-2)


def test_a_students_file_stays_what_it_was(exported, points, images):
    """[-1, 1] -> logits, with dropout that can be replayed, where the package is imported."""
    student = tf.keras.models.load_model(os.path.join(exported[0], "student.keras"))
    np.testing.assert_allclose(tf.nn.softmax(student(augment.normalize(images))), exported[1],
                               atol=1e-6)
    assert type(student.get_layer("dropout")).__name__ == "ReplayableDropout"
    tf.keras.models.load_model(os.path.join(points[0], "student.keras"))
    assert sorted(os.listdir(points[0])) == ["classifier.keras", "saved_model", "student.keras"]


class Own(tf.keras.Model):
    """A network that only its own code knows how to build."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flat, self.dense = tf.keras.layers.Flatten(), tf.keras.layers.Dense(4)

    def call(self, x):
        return self.dense(self.flat(x))


def test_networks_of_other_kinds(images):
    inner = networks.build("small_conv", 4, (12, 12, 3), dropout=0.5)
    own = Own()
    own(tf.zeros([1, 12, 12, 3]))
    assert export.with_layers_of_keras(own) is own
    nested = tf.keras.Sequential([tf.keras.Input((12, 12, 3)), inner])
    copy = export.with_layers_of_keras(nested)
    kinds = {type(layer).__module__.split(".")[0] for layer in copy.layers[0].layers}
    assert not any(kind.startswith("mpl_tf") for kind in kinds) and copy.layers[0].layers
    np.testing.assert_array_equal(copy(images / 255.0), nested(images / 255.0))


WITHOUT = """
import os, sys
sys.modules["mpl_tf"] = None        # cannot be imported
import numpy as np, tensorflow as tf
exported, points = sys.argv[1:]
images = np.load(points + "/images.npy")
np.save(points + "/found.npy", tf.keras.models.load_model(
    exported + "/classifier.keras").predict(images, verbose=0))
for folder in (exported, points):
    tf.saved_model.load(folder + "/saved_model").signatures["serving_default"]
    try:
        tf.keras.models.load_model(folder + "/student.keras")
    except Exception as error:
        print(" ".join(str(error).split()))     # Keras 3's has the config in it, and then why
"""


@pytest.mark.slow
def test_a_program_without_the_package_loads_it_or_is_told_why_not(exported, points, images):
    np.save(os.path.join(points[0], "images.npy"), images)
    done = subprocess.run([sys.executable, "-c", WITHOUT, exported[0], points[0]], text=True,
                          capture_output=True, cwd=points[0], timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(np.load(os.path.join(points[0], "found.npy")), exported[1],
                               atol=1e-6)
    for kind, line in zip(("ReplayableDropout", "GaussianFeatures"), done.stdout.splitlines()):
        assert re.search(f"(of type `|[Cc]ould not locate class '){kind} of mpl_tf, which has to be "
                         "imported before this file is loaded", line)
    for name in ("images.npy", "found.npy"):
        os.remove(os.path.join(points[0], name))


# ------------------------------------------------------------------------------ docs/serving.md


def snippets(title, language):
    """The blocks of `language` below a heading of the document, as printed."""
    section = re.search(rf"^## {title}$(.*?)(^## |\Z)", DOCS, re.MULTILINE | re.DOTALL).group(1)
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def ran(title, exported, images, folder, change=lambda text: text):
    """Runs the Python of a section in `folder`; (its variables, what it printed)."""
    [text] = snippets(title, "python")
    names, out = {"run": exported[0], "images": images}, io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(change(text), title, "exec"), names)
    finally:
        os.chdir(before)
    return names, out.getvalue()


@pytest.mark.parametrize("title, module", [
    ("Keras", None), ("SavedModel", None), ("TFLite", None), ("ONNX", "tf2onnx")])
def test_a_snippet_of_the_document_gives_the_probabilities(exported, images, tmp_path, title,
                                                           module):
    if module and not (importlib.util.find_spec(module)
                       and importlib.util.find_spec("onnxruntime")):
        pytest.skip(f"{module} and onnxruntime are not installed")
    names, out = ran(title, exported, images, tmp_path)
    np.testing.assert_allclose(names["probabilities"], exported[1], atol=1e-5)
    likeliest = exported[1].argmax(axis=1)
    if title == "Keras":
        assert out == f"{[['ant', 'bee', 'cow', 'dog'][k] for k in likeliest]}\n"
    assert len(snippets(title, "python")[0].strip().splitlines()) <= 7


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving does: a row for each image, of outputs that all have a row."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served = self.server.signatures[body["signature_name"]]
        count = len(body["instances"])
        outputs = served(image=tf.constant(np.array(body["instances"], np.uint8)))
        assert all(value.shape[0] == count for value in outputs.values())
        rows = [{name: np.asarray(value.numpy()[i]).tolist() for name, value in outputs.items()}
                for i in range(count)]
        text = json.dumps({"predictions": rows}, default=lambda value: value.decode("latin1"))
        self.send_response(200 if self.path == "/v1/models/student:predict" else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Says nothing."""


def test_the_documents_version_folder_is_served(exported, images, tmp_path):
    copy, serve = snippets("TensorFlow Serving", "bash")[0].strip().splitlines()
    subprocess.run(copy, shell=True, check=True, cwd=tmp_path, env={**os.environ,
                                                                    "run": exported[0]})
    base = re.search(r'--model_base_path="\$PWD/(\S+)"', serve).group(1)
    assert re.search(r"--model_name=student\b", serve) and "--rest_api_port=8501" in serve
    loaded = tf.saved_model.load(str(tmp_path / base / "1"))
    server = http.server.HTTPServer(("localhost", 0), Handler)
    server.signatures = loaded.signatures
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        names, out = ran("TensorFlow Serving", exported, images, tmp_path,
                         lambda text: text.replace(":8501", f":{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
    np.testing.assert_allclose([row["probabilities"] for row in names["rows"]], exported[1],
                               atol=1e-6)
    assert out == f"{[NAMES[k] for k in exported[1].argmax(axis=1)]}\n"

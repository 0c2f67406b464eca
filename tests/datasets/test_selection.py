"""Selections and stored predictions: back to the examples of data in shards and in memory."""

import os

import numpy as np
import pytest

from mpl_tf import datasets
from mpl_tf.datasets import prediction_files, predictions, selection, shard_sets
from mpl_tf.datasets.loading import _chosen
from mpl_tf.reduced import forward, labelling
from tests.stored import CLASSES, change, colors, predicted_with_ties, selected, write_images


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(folder of predictions, folder of 150 images in 5 shards), with ties in every class."""
    return predicted_with_ties(tmp_path_factory.mktemp("stored"))


def test_positions_in_an_index(stored, tmp_path, caplog):
    folder, source = stored
    chosen, _ = selected(folder, tmp_path / "out", per_class=20)
    images = shard_sets.load_unlabeled(source, 8, "whole")
    at = selection.positions(str(tmp_path / "out"), images.index)
    assert len(at) == 60
    names = [images.index.record(i).filename.encode() for i in at]
    assert names == chosen.key.tolist()
    probs = predictions.load(str(folder), images.index.subset(at), 3)
    confident = probs[np.arange(60), chosen.label].astype(np.float32)
    np.testing.assert_allclose(confident, chosen.confidence, atol=1e-3)
    # Without the first shard, as if it were held out.
    caplog.set_level("INFO", "mpl_tf")
    few = images.index.subset(images.index.shard > 0)
    kept = selection.positions(str(tmp_path / "out"), few)
    assert [few.record(i).filename.encode() for i in kept] == chosen.key[chosen.shard > 0].tolist()
    assert "of the 60 selected examples are held out" in caplog.text


def test_selections_that_are_refused(stored, tmp_path):
    folder, source = stored
    selected(folder, tmp_path / "out", per_class=5)
    index = shard_sets.load_unlabeled(source, 8, "whole").index
    plan = prediction_files.read_plan(str(folder))
    with pytest.raises(ValueError, match="by predictions of another network"):
        selection.positions(str(tmp_path / "out"), index, {**plan, "model": "other"})
    others = write_images(tmp_path / "others", counts=(30, 10, 50, 20, 41))
    with pytest.raises(ValueError, match="which has .* bytes there: name the folder that was"):
        selection.positions(str(tmp_path / "out"),
                            shard_sets.load_unlabeled(others, 8, "whole").index)
    with pytest.raises(ValueError, match="holds no selection: expected selection.npz"):
        selection.load(str(tmp_path))
    (tmp_path / "out" / selection.ARRAYS).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="selection.npz is not the one that selection.json is of"):
        selection.load(str(tmp_path / "out"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(folder of predictions, folder of a selection) of the digits."""
    root = tmp_path_factory.mktemp("digits")
    names = list("0123456789")

    def sums(images):
        odds = np.exp(images.reshape(len(images), 8, 8).sum(axis=1, dtype=np.float64)[:, :4] / 400)
        probs = np.concatenate([odds] * 3, axis=1)[:, :10]
        return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)
    predict_digits(root / "predictions", sums, names)
    selected(root / "predictions", root / "selection", per_class=400, short="leave")
    return root / "predictions", root / "selection", sums


def predict_digits(folder, network, names):
    tasks = labelling.tasks_of_one("digits", None, "digits")
    plan = prediction_files.plan_of("m", 10, names, 8, "whole", ["digits"],
                                    {task.name: size for task, size in tasks})
    os.makedirs(folder)
    labelling.write_plan(str(folder), plan)
    for task, shard in forward.predict_shards([tasks[0][0]], plan, network):
        prediction_files.write_shard(prediction_files.shard_path(str(folder), task.name), shard)


def test_a_data_set_in_memory_gets_its_rows(digits):
    stored, chosen, network = digits
    options = dict(labeled_examples=60, holdout=20, predictions_dir=str(stored))
    for data, count in ((datasets.load("digits", **options), 1277),
                        (datasets.load("digits", selection=str(chosen), **options), None)):
        assert data.labeled_probs.shape == (40, 10)
        assert len(data.unlabeled) == len(data.unlabeled_probs)
        assert count in (None, len(data.unlabeled))
        for images, probs in ((data.labeled.images, data.labeled_probs),
                              (data.unlabeled, data.unlabeled_probs)):
            np.testing.assert_allclose(probs, network(images), rtol=1e-3)
        held = {image.tobytes() for image in data.holdout.images}
        assert not held & {image.tobytes() for image in data.unlabeled}
    top = selection.load(str(chosen))
    assert 0 < len(top.key) - len(data.unlabeled) <= 20     # those held out are gone


def test_images_in_shards_get_their_rows(stored, tmp_path):
    folder, source = stored
    selected(folder, tmp_path / "selection", per_class=9)
    images = shard_sets.load_unlabeled(source, 8, "whole")
    unlabeled, probs = _chosen(images, tuple(CLASSES), str(folder),
                               str(tmp_path / "selection"))
    assert unlabeled.shape == (27, 8, 8, 3) and probs.shape == (27, 3)
    pixels = unlabeled._evaluation_batch(np.arange(27))
    top = colors(pixels).argmax(axis=1)
    assert (np.abs(probs.astype(np.float32) - colors(pixels)) < 0.06).all() and len(set(top)) > 1


def test_digits_predictions_of_other_classes_are_refused(digits, tmp_path):
    stored, _, network = digits
    predict_digits(tmp_path / "own", network, list("9876543210"))
    with pytest.raises(ValueError, match="class 0 is '9', but '0' in the data"):
        datasets.load("digits", predictions_dir=str(tmp_path / "own"))
    change(tmp_path / "own", None, plan=True, class_names=None, num_classes=9)
    with pytest.raises(ValueError, match="of 9 classes, but the data have 10"):
        datasets.load("digits", predictions_dir=str(tmp_path / "own"))

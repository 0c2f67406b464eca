"""What --skip_corrupt may leave out, and what not."""

import json
import os

import pytest

from data_prep import image_folder, imagenet
from tests.data_prep.test_equal_images import make, own  # noqa: F401  (a fixture)
from tests.data_prep.test_programs import sidecar_of
from tests.data_prep.test_records_made import error_of, prepare
from tests.prep import put, small_imagenet


@pytest.mark.parametrize("places, words", [
    (dict(labeled={f"fox/{i}.jpg": b"no image %d" % i for i in range(5)}, test={"fox/1.jpg": 60}),
     "none of the 5 images of 'fox' in train can be read, the first is labeled/fox/"),
    (dict(test={"dog/b.jpg": b"x"}),
     "none of the 1 images of 'dog' in test can be read, the first is test/dog/b.jpg: no image")])
def test_a_class_of_which_nothing_is_left_is_refused(places, words, own, tmp_path, capsys):  # noqa: F811
    make(own, **places)
    out = tmp_path / "out"
    assert prepare(own, out, "--skip_corrupt", module=image_folder) == 2
    error = error_of(capsys)
    assert words in error and "not a whole class; replace them, or move them" in error
    bad = "train" if "fox" in str(places) else "test"
    assert not (out / "dataset.json").exists() and not (out / f"{bad}-00000-of-00001").exists()
    seeds = iter(range(900, 910))
    for place, files in places.items():     # mended files are read by the same command
        make(own, **{place: {name: next(seeds) for name in files}})
    assert prepare(own, out, "--skip_corrupt", module=image_folder) == 0
    assert all(all(split["class_histogram"] or [1]) for split in sidecar_of(out)["splits"].values())


def test_a_class_that_loses_some_or_most_images(own, tmp_path, capsys):  # noqa: F811
    make(own, labeled={f"fox/{i}.jpg": b"no image %d" % i for i in range(5)},
         test={"fox/t.jpg": 61})
    make(own, labeled={"fox/5.jpg": 60})
    assert prepare(own, tmp_path / "out", "--skip_corrupt", module=image_folder) == 0
    captured = capsys.readouterr()
    assert "train: 5 images skipped, see dataset.json: " in captured.out
    assert "warning: train: 5 of 14 images, 36%, cannot be read and are left out" in captured.err
    assert "warning: train: 1 classes keep less than half of their images, such as 'fox', 1 of 6" in (
        captured.err)
    assert sidecar_of(tmp_path / "out")["splits"]["train"]["class_histogram"] == [4, 4, 1]
    # What an earlier version finished with an empty class is not called finished.
    sidecar = sidecar_of(tmp_path / "out")
    sidecar["splits"]["train"]["class_histogram"][2] = 0
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(sidecar))
    assert prepare(own, tmp_path / "out", "--skip_corrupt", module=image_folder) == 2
    assert "none of the 6 images of 'fox' in train can be read" in error_of(capsys)
    assert os.path.exists(tmp_path / "out" / "train-00000-of-00001")


def test_imagenet_keeps_every_synset(tmp_path, capsys):
    root = small_imagenet(tmp_path / "in")
    for i in range(4):
        put(str(root / "train" / "n02084071" / f"n02084071_{i}.JPEG"), b"cut")
    assert prepare(root, tmp_path / "out", "--train_shards=1", "--validation_shards=1",
                   "--skip_corrupt", module=imagenet) == 2
    assert "none of the 4 images of 'n02084071' in train can be read" in error_of(capsys)

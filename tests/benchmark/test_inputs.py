"""The benchmark of the input prints every row and ratio; speeds are not asserted."""

import numpy as np
import pytest

from mpl_tf.benchmark import __main__ as command, addons, inputs


@pytest.mark.slow
def test_every_row_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(inputs, "MEASURED", 0.01)
    command.main(["--what=input", "--rounds=1"])
    out = capsys.readouterr().out
    for row in ("32 px, strong", "Pillow by image", "224 px, decoded, strong"):
        assert row in out
    assert ("TensorFlow Addons by image" in out) == addons.available


def test_pillows_policy_changes_photographs():
    images = inputs.smooth_images(20, 32, 32)
    strong = inputs.pillow_strong(images, np.random.default_rng(0))
    assert strong.shape == images.shape and strong.dtype == np.uint8
    changed = np.abs(strong.astype(int) - images).mean(axis=(1, 2, 3))
    assert (changed > 5).all()


@pytest.mark.slow
def test_drawn_shards_are_read(tmp_path):
    with inputs.shards_of(None) as folder:
        rows = inputs.large_rows(folder)
        assert [rows["224 px, decoded, strong"]() for _ in range(2)] == [32, 32]
    with inputs.shards_of(str(tmp_path)) as folder:
        assert folder == str(tmp_path)

"""The flag files of this repository: complete, without idle lines, and with the paper's numbers."""

import pytest

from mpl_tf import config
from tests.conftest import ROOT

FILES = sorted((ROOT / "flags").glob("*.cfg"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_flag_file(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)     # nested files are found from anywhere
    c = config.parse([f"--flagfile={path}"])
    assert c.model_dir == f"runs/{path.stem}"
    header = path.read_text().split("\n\n")[0].splitlines()
    assert header[0].startswith(f"# python -m mpl_tf.train --flagfile=flags/{path.name}")
    for part in ("# What ", "# Hardware ", "# Accuracy "):
        assert any(line.startswith(part) for line in header)
    assert max(map(len, header)) <= 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_variants_hold_only_differences(path):
    settings = [line for line in path.read_text().splitlines() if line.startswith("--")]
    own = config.parse([f"--flagfile={path}"])
    inherited = None
    if settings[0].startswith("--flagfile="):
        base = settings.pop(0).split("=")[1]
        inherited = config.parse([f"--flagfile={ROOT / 'flags' / base}"])
    assert (inherited is None) == (path.stem in ("digits", "two_moons", "cifar10", "image_folder",
                                                   "photos_features", "cifar10_features"))
    for line in settings:
        name = line[2:].split("=")[0]
        assert name not in own.unused(), line
        assert inherited is None or getattr(own, name) != getattr(inherited, name), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_a_header_and_then_flags_each_given_once(path):
    header, _, rest = path.read_text().partition("\n\n")
    assert all(line.startswith("#") for line in header.splitlines()), header
    names = [line.split("=")[0] for line in rest.splitlines() if line.startswith("--")]
    assert len(names) == len(set(names)), names


def test_rows_of_table_1_have_a_file():
    rows = {(c.dataset, c.method, c.objective, c.label_smoothing > 0) for c in (
        config.parse([f"--flagfile={path}"]) for path in FILES)}
    for dataset in ("digits", "cifar10", "svhn"):
        for objective in ("supervised", "randaugment", "uda"):
            assert (dataset, "mpl", objective, False) in rows
            assert (dataset, "baseline", objective, False) in rows
        assert (dataset, "baseline", "supervised", True) in rows


def test_cifar10_is_table_3():
    c = config.parse([f"--flagfile={ROOT}/flags/cifar10.cfg"])
    assert (c.student_weight_decay, c.teacher_weight_decay, c.label_smoothing, c.batch_norm_decay,
            c.train_steps, c.warmup_steps) == (0.0005, 0.0005, 0, 0.99, 1000000, 2000)
    assert (c.student_learning_rate, c.batch_size, c.student_dropout) == (0.3, 128, 0.35)
    assert (c.teacher_learning_rate, c.unlabeled_batch_size, c.teacher_dropout) == (0.125, 128, 0.5)
    assert (c.uda_weight, c.uda_temperature, c.labeled_examples) == (1, 0.8, 4000)
    assert (c.momentum, c.student_optimizer, c.schedule) == (0.9, "nesterov", "cosine")


def test_svhn_and_imagenet_are_table_3():
    svhn, imagenet = (config.parse([f"--flagfile={ROOT}/flags/{name}.cfg"])
                      for name in ("svhn", "imagenet"))
    columns = [(c.student_weight_decay, c.label_smoothing, c.train_steps, c.warmup_steps,
                c.student_learning_rate, c.batch_size, c.student_dropout, c.teacher_learning_rate,
                c.unlabeled_batch_size, c.teacher_dropout, c.uda_weight, c.uda_temperature)
               for c in (svhn, imagenet)]
    assert columns == [
        (0.0005, 0, 1000000, 2000, 0.15, 128, 0.45, 0.05, 128, 0.65, 2.5, 1.25),
        (0.0002, 0.1, 500000, 1000, 0.8, 2048, 0.1, 0.5, 2048, 0.1, 16, 0.75)]
    assert (svhn.dataset, svhn.labeled_examples, svhn.student_network) == ("svhn", 1000, "wrn-28-2")
    assert (imagenet.labeled_shards, imagenet.image_size, imagenet.teacher_network) == (
        102, 224, "resnet-50")

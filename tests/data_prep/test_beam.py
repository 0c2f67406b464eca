"""Apache Beam's local runner gives exactly what the plain programs give, and fails in one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep import command, image_folder, predict, select
from mpl_tf.datasets import prediction_files, selection
from mpl_tf.reduced import labelling
from mpl_tf.run import training
from mpl_tf.run.serving import Served
from mpl_tf.shards import tfrecord
from tests.conftest import ROOT
from tests.runs import settings
from tests.stored import change, colors, predicted, write_images

pytest.importorskip("apache_beam", reason="Apache Beam is optional: the extra beam")
from apache_beam.runners.direct import direct_runner  # noqa: E402
from data_prep import beam  # noqa: E402

ONE, MANY = [], ["--", "--runner=DirectRunner", "--direct_num_workers=2",
                 "--direct_running_mode=multi_threading"]


class WithoutMetrics(direct_runner.BundleBasedDirectRunner):
    """Runs as Dask's runner does, whose results have no metrics."""

    def run_pipeline(self, pipeline, options):
        result = super().run_pipeline(pipeline, options)

        def metrics():
            raise NotImplementedError("collecting metrics will come later!")
        result.metrics = metrics
        return result


class DoingNothing(direct_runner.BundleBasedDirectRunner):
    """Ends well, and what its workers wrote is nowhere to be seen."""

    def run_pipeline(self, pipeline, options):
        return super().run_pipeline(beam.beam.Pipeline(), options)


def on(runner):
    return ["--", f"--runner={__name__}.{runner.__name__}"]


def same_files(first, second, but=()):
    names = sorted(set(os.listdir(first)) - set(but))
    assert names == sorted(set(os.listdir(second)) - set(but)) and names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of a finished run, folder of four shards of 21 images)."""
    root = tmp_path_factory.mktemp("beam")
    for name, color in {"green": (20, 200, 40), "violet": (160, 30, 200)}.items():
        for i in range(4):
            path = root / "source" / "labeled" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), tuple(c + i for c in color)).save(path)
    (root / "source" / "unlabeled").mkdir()
    Image.new("RGB", (8, 8)).save(root / "source" / "unlabeled" / "one.png")
    image_folder.run([f"--source_dir={root / 'source'}", f"--output_dir={root / 'shards'}",
                      "--workers=1"])
    training.run(settings(
        root / "run", dataset="image_folder", data_dir=str(root / "shards"), image_size=8,
        method="baseline", objective="supervised", student_network="mlp-16", batch_size=4,
        train_steps=3, plots=False))
    return root / "run", write_images(root / "images", counts=(5, 1, 8, 7))


@pytest.mark.parametrize("options", [ONE, MANY, on(WithoutMetrics)],
                         ids=["one", "many", "without metrics"])
def test_predictions_are_those_of_the_plain_program(trained, tmp_path, options, capsys):
    run, source = trained
    flags = [f"--model_dir={run}", f"--source_dir={source}", "--batch_size=3"]
    predict.run([*flags, f"--output_dir={tmp_path / 'plain'}"])
    beam.run(["predict", *flags, f"--output_dir={tmp_path / 'beam'}", *options])
    same_files(tmp_path / "plain", tmp_path / "beam")
    assert "21 images predicted" in capsys.readouterr().out
    shard = tmp_path / "beam" / "unlabeled-00002-of-00004.npz"
    wanted = shard.read_bytes()
    shard.unlink()
    beam.run(["predict", *flags, f"--output_dir={tmp_path / 'beam'}", *options])
    assert shard.read_bytes() == wanted
    assert "8 images predicted" in capsys.readouterr().out


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Predictions of 150 images in five files, with ties in every class."""
    root = tmp_path_factory.mktemp("stored")
    # Names of several lengths, so that columns of keys have several widths.
    source = write_images(root / "shards", counts=(30, 10, 50, 20, 40), name="{}.png")

    def coarse(images):
        probs = np.round(colors(images) * 20) + 1
        return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)
    predicted(root / "predictions", source, network=coarse)
    return root / "predictions"


@pytest.mark.parametrize("flags", [["--per_class=3"], ["--per_class=60", "--short=leave"],
                                   ["--per_class=20", "--rank_all"]], ids="-".join)
@pytest.mark.parametrize("options", [ONE, MANY], ids=["one", "many"])
def test_the_selection_is_that_of_the_plain_program(stored, tmp_path, flags, options):
    select.run([f"--predictions_dir={stored}", f"--output_dir={tmp_path / 'plain'}", *flags])
    beam.run(["select", f"--predictions_dir={stored}", f"--output_dir={tmp_path / 'beam'}", *flags,
              *options])
    same_files(tmp_path / "plain", tmp_path / "beam")
    assert len(selection.load(str(tmp_path / "beam")).key) > 3


def test_a_class_that_nothing_is_of_stays_empty(tmp_path):
    source = write_images(tmp_path / "shards")
    predicted(tmp_path / "predictions", source, network=lambda images: np.tile(
        np.float32([0.1, 0.9, 0.0]), [len(images), 1]))
    flags = [f"--predictions_dir={tmp_path / 'predictions'}", "--per_class=2"]
    select.run([*flags, f"--output_dir={tmp_path / 'plain'}"])
    beam.run(["select", *flags, f"--output_dir={tmp_path / 'beam'}"])
    same_files(tmp_path / "plain", tmp_path / "beam")
    assert selection.load(str(tmp_path / "beam")).label.tolist() == [1, 1]


def refused(arguments, capfd):
    assert command.main(beam.run, arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_workers_traceback_ends_in_its_line():
    text = ('Traceback (most recent call last):\n  File "x.py", line 3, in f\n    raise\n'
            "ValueError: shard.npz: row 0 has NaN: write it again [while running 'Map(read)']\n")
    assert beam.reason(RuntimeError(text)) == "shard.npz: row 0 has NaN: write it again"
    assert beam.reason(ValueError("one line [while running 'predict']")) == "one line"
    assert beam.reason(RuntimeError("Pipeline failed\nmore")) == "Pipeline failed"


def test_what_a_worker_refuses_is_one_line(trained, stored, tmp_path, capfd):
    run, source = trained
    broken = tmp_path / "broken"
    broken.mkdir()
    path = os.path.join(source, "unlabeled-00002-of-00004")
    offsets, lengths = tfrecord.scan(path)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[offsets[3] + tfrecord.HEADER + lengths[3] // 2] ^= 1
    (broken / "unlabeled-00000-of-00001").write_bytes(data)
    flags = ["predict", f"--model_dir={run}", f"--source_dir={broken}"]
    line = refused([*flags, f"--output_dir={tmp_path / 'out'}"], capfd)
    assert "unlabeled-00000-of-00001, record " in line and "Traceback" not in line
    assert os.listdir(tmp_path / "out") == [prediction_files.PLAN]
    assert command.main(beam.run, [*flags, f"--output_dir={tmp_path / 'out'}",
                                   "--skip_corrupt"]) == 0
    assert "1 images could not be read and were skipped" in capfd.readouterr().out

    source = write_images(tmp_path / "shards")
    predicted(tmp_path / "predictions", source)
    change(tmp_path / "predictions", "unlabeled-00001-of-00002", probs=lambda p: p * np.float16(2))
    line = refused(["select", f"--predictions_dir={tmp_path / 'predictions'}", "--per_class=2",
                    f"--output_dir={tmp_path / 'selection'}"], capfd)
    assert "unlabeled-00001-of-00002.npz: row 0 has a sum of 2" in line
    line = refused(["select", f"--predictions_dir={stored}", "--per_class=500",
                    f"--output_dir={tmp_path / 'selection'}"], capfd)
    assert "has 150 examples in all" in line
    assert os.listdir(tmp_path / "selection") == []


@pytest.mark.parametrize("arguments, said", [
    (["train"], "expected predict or select"),
    (["predict", "--model_dir=a", "--source_dir=b", "--output_dir=c", "--num_shards=2"],
     "Beam distributes the files itself"),
])
def test_bad_command_lines(arguments, said, capfd):
    assert said in refused(arguments, capfd)


def test_another_network_on_the_worker_is_refused(trained):
    run, _ = trained
    plan, _ = labelling.plan_and_tasks(str(run), [trained[1]])
    beam._load.cache_clear()
    with pytest.raises(ValueError, match="all workers see"):
        beam.load(str(run), "another", plan["num_classes"], 8)
    assert isinstance(beam.load(str(run), plan["model"], plan["num_classes"], 8), Served)


def test_a_run_whose_files_are_not_there_is_not_done(trained, stored, tmp_path, capfd):
    run, source = trained
    line = refused(["predict", f"--model_dir={run}", f"--source_dir={source}",
                    f"--output_dir={tmp_path / 'out'}", *on(DoingNothing)], capfd)
    assert "the predictions of 4 of 4 files are missing" in line
    assert "all workers see this folder" in line
    line = refused(["select", f"--predictions_dir={stored}", f"--output_dir={tmp_path / 'selection'}",
                    "--per_class=3", *on(DoingNothing)], capfd)
    assert "does not hold the selection" in line and "all workers see this folder" in line


def test_a_runner_that_cannot_be_imported_is_refused_before_anything_is_written(
        trained, tmp_path, capfd, monkeypatch):
    run, source = trained
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dask.dask_runner", None)
    line = refused(["predict", f"--model_dir={run}", f"--source_dir={source}",
                    f"--output_dir={tmp_path / 'out'}", "--", "--runner=DaskRunner"], capfd)
    assert "cannot be imported" in line and "pip install '.[dask]'" in line
    assert not os.path.exists(tmp_path / "out")


def test_a_clusters_own_error_is_one_line():
    class Killed(Exception):
        __module__ = "distributed.scheduler"

    class Failing(direct_runner.BundleBasedDirectRunner):
        def run_pipeline(self, pipeline, options):
            raise Killed("all those workers died\nmore")

    with pytest.raises(ValueError, match="^all those workers died$"):
        beam.execute(lambda pipeline: None, beam.PipelineOptions(runner=Failing()))


@pytest.mark.slow
def test_two_processes_of_dask_give_the_files_of_the_plain_programs(trained, stored, tmp_path):
    distributed = pytest.importorskip("dask.distributed", reason="Dask is optional: the extra dask")
    run, source = trained
    predict_flags = [f"--model_dir={run}", f"--source_dir={source}", "--batch_size=3"]
    select_flags = [f"--predictions_dir={stored}", "--per_class=3"]
    predict.run([*predict_flags, f"--output_dir={tmp_path / 'predict' / 'plain'}"])
    select.run([*select_flags, f"--output_dir={tmp_path / 'select' / 'plain'}"])
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True,
                                  dashboard_address=None) as cluster:
        for name, flags, said in (("predict", predict_flags, "21 images predicted"),
                                  ("select", select_flags, "9 selected, of them 9 different")):
            done = subprocess.run(
                [sys.executable, "-m", "data_prep.beam", name, *flags,
                 f"--output_dir={tmp_path / name / 'dask'}", "--", "--runner=DaskRunner",
                 f"--dask_client_address={cluster.scheduler_address}"],
                cwd=ROOT, text=True, capture_output=True, timeout=300)
            assert done.returncode == 0, done.stderr
            assert said in done.stdout and "Traceback" not in done.stderr
            same_files(tmp_path / name / "plain", tmp_path / name / "dask")

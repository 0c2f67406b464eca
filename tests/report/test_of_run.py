"""Reports of real runs: at their end, later from their folder, and beside a control."""

import json
import os
import shutil

import numpy as np
import pytest

from mpl_tf import compare, config, train
from mpl_tf.report import __main__ as program, contents, of_run
from mpl_tf.run import predicted, run_folder
from tests import featured
from tests.report.test_page import Reader
from tests.runs import settings

FILES = {"report.html", "report.csv", "label_next.csv", "test_predictions.npz"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run, and of its control."""
    root = tmp_path_factory.mktemp("reported")
    for name, changes in (("run", dict(objective="uda", cutout=2)), ("control", dict(
            objective="uda", cutout=2, meta_weight=0.0, report=False))):
        train.train(settings(root / name, train_steps=4, eval_steps=2, summary_steps=2, **changes))
    return root


def said(folder):
    return "".join(Reader((folder / "report.html").read_text(encoding="utf-8")).texts)


def test_a_run_ends_with_its_report(trained):
    assert FILES <= set(os.listdir(trained / "run"))
    assert not {"report.html", "report.csv", "label_next.csv"} & set(os.listdir(trained / "control"))
    results = json.loads((trained / "run" / "results.json").read_text())
    found = predicted.read(str(trained / "run"), 4)
    for role in ("student", "teacher"):
        assert found.right(role).mean() == results[f"{role}_test_accuracy"]
    assert [entry["step"] for entry in results["diagnostics"]] == [2]
    text = said(trained / "run")
    right = int(found.right("student").sum())
    assert f"{right} of 500 test images right" in text and "cannot be told without the control" in text
    for heading in ("Each class", "Its surest mistakes", "What to label next", "What the networks see", "The meta signal"):
        assert heading in text, heading
    images = Reader((trained / "run" / "report.html").read_text()).images
    assert 30 < len([image for image in images if int(image["width"]) <= 96]) <= 60
    assert (trained / "run" / "report.html").stat().st_size < 1_000_000


def test_it_is_made_again_beside_a_control(trained, tmp_path, capsys):
    arguments = [f"--model_dir={trained / 'run'}", f"--against={trained / 'control'}", f"--output_dir={tmp_path}"]
    assert program.main(arguments) == 0
    out = capsys.readouterr().out
    assert "the meta gradient" in out.lower() and "report.html" in out
    text = said(tmp_path)
    assert out.splitlines()[0] in text and "student against its control" in text and "teacher against its control" in text
    assert "What the networks see" in text
    own, control = (predicted.read(str(trained / name), 4).right("student") for name in ("run", "control"))
    rows = (tmp_path / "report.csv").read_text("utf-8-sig").splitlines()
    [row] = [row for row in rows if "difference from its control, seed 0" in row and row.startswith("student")]
    assert float(row.split(",")[3]) == pytest.approx(own.mean() - control.mean())


def test_predictions_that_are_missing_are_made_again(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "older")
    before = predicted.read(str(tmp_path / "older"), 4)
    assert predicted.read(str(tmp_path / "older"), 5) is None       # of another step
    os.remove(tmp_path / "older" / predicted.FILE)
    again = of_run.run_of(str(tmp_path / "older")).predicted
    np.testing.assert_allclose(again.logits["teacher"], before.logits["teacher"], atol=1e-5)
    np.testing.assert_array_equal(again.keys, before.keys)
    assert (tmp_path / "older" / predicted.FILE).is_file()
    (tmp_path / "older" / predicted.FILE).write_bytes(b"PK\3\4 damaged")
    with pytest.raises(ValueError, match="test_predictions.npz is damaged .* move it elsewhere"):
        of_run.run_of(str(tmp_path / "older"))


@pytest.fixture(scope="module")
def continued(trained, tmp_path_factory):
    """A run that was finished with 4 steps, and continued, to step 6 of what its flags say."""
    run = tmp_path_factory.mktemp("continued") / "run"
    shutil.copytree(trained / "run", run)
    kept = {name: (run / name).read_bytes() for name in ("results.json", predicted.FILE)}
    train.train(settings(run, train_steps=6, eval_steps=2, summary_steps=2, objective="uda", cutout=2, report=False,
                         export=False))
    for name, content in kept.items():      # as where it was stopped on the way
        (run / name).write_bytes(content)
    return run


def test_a_page_does_not_mix_results_with_a_newer_checkpoint(trained, continued, tmp_path, capsys, caplog):
    assert program.main([f"--model_dir={continued}", f"--against={trained / 'control'}", f"--output_dir={tmp_path}"]) == 0
    text = said(tmp_path)
    assert "4 steps" in text and "differs further" not in text and "Its surest mistakes" in text
    assert "What to label next" not in text and not (tmp_path / "label_next.csv").exists()
    assert (f"does not say what to label next: it is of 4 steps, and the checkpoint in {continued} of 6; the command "
            "that trained it, with --train_steps=6, finishes it") in caplog.text


def test_predictions_of_a_newer_checkpoint_are_not_taken_for_the_results(continued, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(continued, run)
    os.remove(run / predicted.FILE)
    before = (run / "report.html").read_bytes()
    assert program.main([f"--model_dir={run}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --model_dir={run} has results of 4 steps without their test_predictions.npz, and a "
                          "checkpoint of 6 steps: ") and err.count("\n") == 1
    assert not (run / predicted.FILE).exists() and (run / "report.html").read_bytes() == before


def test_a_run_without_test_evaluation_has_no_report(trained, tmp_path, capsys, monkeypatch):
    train.train(settings(tmp_path / "run", train_steps=1, method="baseline", evaluate="holdout", holdout=20, export=False))
    monkeypatch.setattr(of_run, "run_of", None)         # before any long work
    for flag, arguments in (("--model_dir", [f"--model_dir={tmp_path / 'run'}"]), (
            "--against", [f"--model_dir={trained / 'run'}", f"--against={tmp_path / 'run'}"])):
        assert program.main(arguments) == 2
        assert capsys.readouterr().err == (
            f"error: {flag}={tmp_path / 'run'} has no test evaluation, it was trained with --evaluate=holdout: a report "
            "is of test data; train it anew with --evaluate=all\n")


@pytest.mark.parametrize("name, content", [("report.html", "<!DOCTYPE html>\n<html lang=\"en\"><p>mine</p></html>\n"),
                                           ("report.csv", "a;b\n1;2\n"), ("report.csv", "")])
def test_files_of_somebody_else_stay(trained, tmp_path, capsys, monkeypatch, name, content):
    (tmp_path / name).write_text(content)
    monkeypatch.setattr(of_run, "run_of", None)         # before any long work
    assert program.main([f"--model_dir={trained / 'run'}", f"--output_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: --output_dir={tmp_path} has a {name} that this program did not write: it stays as it is; move it "
        "elsewhere, or choose another --output_dir\n")
    assert (tmp_path / name).read_text() == content and os.listdir(tmp_path) == [name]


def test_an_output_dir_that_is_a_file_is_refused_before_any_work(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "o.csv").write_text("")
    monkeypatch.setattr(of_run, "run_of", None)
    assert program.main([f"--model_dir={trained / 'run'}", f"--output_dir={tmp_path / 'o.csv'}"]) == 2
    assert capsys.readouterr().err == (f"error: --output_dir={tmp_path / 'o.csv'} is a file, or lies in one: expected a "
                                       "folder; choose another --output_dir\n")


def test_without_images_none_is_shown_or_listed(trained, tmp_path, capsys):
    of_run.write([str(trained / "run")], [str(trained / "control")], str(tmp_path), images=False)
    assert "the meta gradient" in capsys.readouterr().out.lower()
    read = Reader((tmp_path / "report.html").read_text("utf-8"))
    assert not [image for image in read.images if int(image["width"]) <= 96] and not (tmp_path / "label_next.csv").exists()
    text = "".join(read.texts)
    assert "No images are shown, as --noreport asks." in text and "student against its control" in text
    assert "--noreport" not in said(trained / "run")


def test_a_page_of_two_data_sets_is_refused(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    noted = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**noted, "unlabeled": "61 examples (0123)"}))
    before = (run / "report.html").read_bytes()
    assert program.main([f"--model_dir={run}"]) == 2
    err = capsys.readouterr().err
    assert "was trained on other data: unlabeled 61 examples (0123) then, 1297 examples" in err
    assert "a report would mix both" in err and err.count("\n") == 1
    os.remove(run / predicted.FILE)     # nor are the others' predictions kept as the run's
    assert program.main([f"--model_dir={run}"]) == 2
    assert not (run / predicted.FILE).exists() and (run / "report.html").read_bytes() == before
    capsys.readouterr()
    assert program.main([f"--model_dir={trained / 'run'}", f"--against={run}", f"--output_dir={tmp_path}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --against={run} was trained on other data: ") and "--model_dir" not in err


def test_what_to_label_next_holds_no_labeled_image(trained):
    from mpl_tf.run import wiring
    run = config.of(**run_folder.read_flags(str(trained / "run")))
    dataset = wiring.load_dataset(run)
    known = {image.tobytes() for image in dataset.labeled.images}
    found = of_run.from_folder(str(trained / "run")).unlabeled
    assert len(found.next) == contents.LISTED and found.total == 1297
    asked = dataset.unlabeled[found.positions[found.next]]
    assert known and not known & {image.tobytes() for image in asked}
    entropies = -(found.probabilities["student"] * np.log(found.probabilities["student"])).sum(axis=1)
    assert (np.diff(entropies[found.next]) <= 1e-9).all()


def test_a_report_that_fails_ends_no_run(tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no page\nto be had")
    monkeypatch.setattr(of_run.files, "write", fails)
    results = train.train(settings(tmp_path / "run", train_steps=1, method="baseline"))
    assert results["train_steps"] == 1 and run_folder.read_results(str(tmp_path / "run"))
    assert "the report could not be written (RuntimeError: no page to be had); the run is complete" in caplog.text


@pytest.mark.parametrize("changes", [
    pytest.param(dict(dataset="two_moons", student_network="mlp-8", labeled_examples=6, batch_size=6),
                 marks=pytest.mark.slow),
    pytest.param(dict(method="baseline", ema_decay=0.5), marks=pytest.mark.slow)])
def test_other_runs_have_one_too(tmp_path, changes):
    train.train(settings(tmp_path / "run", train_steps=1, summary_steps=100, **changes))
    text = said(tmp_path / "run")
    assert f"test {'examples' if 'dataset' in changes else 'images'} right" in text
    assert ("no meta gradient" in text) == (changes.get("method") == "baseline")
    assert ("What to label next" in text) and ("Its surest mistakes" in text) == ("dataset" not in changes)


@pytest.mark.slow
def test_features_show_the_photographs_that_they_are_of(tmp_path):
    folder, _ = featured.made(tmp_path)
    run = settings(tmp_path / "run", dataset="features", data_dir=str(folder), student_network="linear", train_steps=1,
                   batch_size=2, unlabeled_batch_size=2, teacher_network="linear", student_dropout=0.0, teacher_dropout=0.0)
    train.train(run)
    text = said(tmp_path / "run")
    assert "What to label next" in text
    found = of_run.from_folder(str(tmp_path / "run"))
    assert found.unlabeled.images.pictures(found.unlabeled.positions[:2]).shape == (2, 96, 96, 3)
    assert {name.rpartition(".")[2] for name in found.unlabeled.names} == {"jpg"} and len(found.unlabeled.names) == 5
    shutil.rmtree(tmp_path / "shards")      # its photographs are gone: no pictures, and the page all the same
    assert found.test.pictures(np.arange(2)).ndim == 2
    assert program.main([f"--model_dir={tmp_path / 'run'}"]) == 0 and "Its surest" not in said(tmp_path / "run")


@pytest.mark.parametrize("arguments, words", [
    (["--model_dir={root}/absent"], "--model_dir={root}/absent holds no run"),
    (["--model_dir={root}/run", "--against={root}"], "error: --against={root} is not a run's folder"),
    (["--model_dir={root}/run", "--against={root}/absent"], "; correct --against\n"),
    (["--model_dir={root}/run", "--against={root}/./run"], "/./run is --model_dir itself"),
    (["--against={root}/run"], "--model_dir")])
def test_bad_arguments_are_one_line(trained, capsys, arguments, words):
    try:
        code = program.main([text.format(root=trained) for text in arguments])
    except SystemExit as error:
        code = error.code
    err = capsys.readouterr().err
    assert code == 2 and words.format(root=trained) in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_flag_file_beside_its_baselines(tmp_path, capsys):
    flagfile = tmp_path / "tiny.cfg"
    flagfile.write_text("--dataset=digits\n--student_network=mlp-8\n--objective=supervised\n--model_dir=unused\n"
                        "--train_steps=2\n--noplots\n--noreport\n--batch_size=8\n")
    argv = ["--baselines", str(flagfile), "--seeds=3-4", f"--output_dir={tmp_path / 'all'}", "--", "--meta_weight=2"]
    assert compare.main(argv) == 0
    out = capsys.readouterr().out
    assert "| tiny_baseline |" in out and "minus tiny_control" in out and "the meta gradient" in out.lower()
    text = said(tmp_path / "all")
    assert "student against its control, mean" in text and "student against its baseline, mean" in text
    assert "differs further" not in text and "No images are shown, as --noreport asks." in text
    flags = json.loads((tmp_path / "all" / "tiny_control_seed4" / "results.json").read_text())["flags"]
    assert (flags["meta_weight"], flags["seed"], flags["split_seed"]) == (0.0, 4, 4)
    assert compare.main(argv) == 0      # finished: the table and the page again
    assert "nothing to do" in capsys.readouterr().out


def test_the_rows_of_a_flag_file_with_its_baselines():
    chosen, extra = compare.parse(["--baselines", "flags/digits.cfg", "--seeds=1,2", "--", "--meta_weight=3"])
    runs = compare.with_companions(chosen, compare.configs(chosen, extra))
    assert chosen.output_dir == "runs/digits_and_baselines" and chosen.reference == "digits_control"
    assert chosen.names[:3] == ["digits", "digits_baseline", "digits_control"]
    assert len(runs) == 2 * len(chosen.names) == len({run.model_dir for run in runs.values()})
    assert {run.train_steps for run in runs.values()} == {400}
    assert (runs["digits", 2].meta_weight, runs["digits_control", 2].meta_weight) == (3.0, 0.0)
    assert runs["digits_baseline", 1].method == "baseline" and runs["digits_baseline", 1].split_seed == 1


@pytest.mark.parametrize("argv, words", [
    (["--baselines", "flags/digits.cfg", "flags/digits_uda.cfg"], "--baselines with 2 flag files: expected one"),
    (["--baselines", "flags/digits_uda.cfg"], "--baselines with --method=baseline: expected a run with a meta gradient"),
    (["--baselines", "flags/digits.cfg", "--", "--meta_weight=0"], "--baselines with --meta_weight=0.0: expected a run"),
    (["--baselines", "flags/digits.cfg", "--", "--meta_signal=shuffled"],
     "--baselines with --meta_signal=shuffled: expected a run with a meta gradient"),
    (["--baselines", "flags/digits.cfg", "--reference=x"], "expected one of digits, digits_baseline, digits_control")])
def test_baselines_of_what_has_none_are_refused(argv, words, capsys):
    try:
        code = compare.main(argv)
    except SystemExit as error:
        code = error.code
    assert code == 2 and words in capsys.readouterr().err

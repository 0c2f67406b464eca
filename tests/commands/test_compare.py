"""The comparison table: hand-worked numbers, and a real comparison of two short runs."""

import json

import pytest

from mpl_tf import compare, config
from mpl_tf.run import run_folder, tables
from tests.runs import settings


def test_table_against_hand_worked_numbers():
    figures = {("a", 0): 0.80, ("a", 1): 0.90, ("b", 0): 0.83, ("b", 1): 0.91}
    lines = tables.table(["a", "b"], [0, 1], figures, "a").split("\n")
    assert lines[2] == "| a | 85.00 ± 7.07 | – | 80.00 | 90.00 |"
    assert lines[3] == "| b | 87.00 ± 5.66 | +2.00 ± 1.41 | 83.00 | 91.00 |"
    assert {line.count("|") for line in lines} == {6}
    one = tables.table(["a", "b"], [1], figures, "a").split("\n")
    assert one[0] == "| run | mean [%], n = 1 | minus a | seed 1 |"
    assert one[3] == "| b | 91.00 | +1.00 | 91.00 |"


def test_a_bar_in_a_name_ends_no_cell():
    figures = {("a | b", 0): 0.5, ("c", 0): 0.25}
    lines = tables.table(["a | b", "c"], [0], figures, "a | b").split("\n")
    assert r"| minus a \| b |" in lines[0] and lines[2] == r"| a \| b | 50.00 | – | 50.00 |"
    assert {line.replace(r"\|", "").count("|") for line in lines} == {5}


@pytest.mark.parametrize("argv, named", [
    (["--seeds=0,x", "flags/digits.cfg"], "--seeds: '0,x': expected whole numbers"),
    (["--reference=b", "flags/digits.cfg"], "expected one of digits"),
    (["flags/digits.cfg", "elsewhere/digits.cfg"], "the name digits twice"),
    (["--seeds=0-3,2", "flags/digits.cfg"], "the seed 2 twice"),
    (["--seeds=9-0", "flags/digits.cfg"],  "'9-0': expected whole numbers of 0 or more such as 0,1,2 or 0-9"),
    (["--seeds=0-99999999", "flags/digits.cfg"], "at most 1000 of them"),
    (["--seeds=0-899,1000-1100", "flags/digits.cfg"], "at most 1000 of them"),
    (["--seeds=", "flags/digits.cfg"], "--seeds: '': expected whole numbers"),
    (["--seeds=-1", "flags/digits.cfg"], "expected whole numbers of 0 or more"),
    (["flags/digits.cfg", "--train_steps=9"], "unknown flag --train_steps: expected a flag that "
     "--help lists; flags for every run go after --"),
    (["--output=x"], "unknown flag --output: did you mean --output_dir?"),
    ([], "flagfiles"),
])
def test_bad_arguments_are_refused(argv, named, capsys):
    with pytest.raises(SystemExit) as error:
        compare.parse(argv)
    assert error.value.code == 2 and named in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_of_short_runs(tmp_path, capsys):
    flagfile = tmp_path / "short.cfg"
    flagfile.write_text("--dataset=digits\n--method=baseline\n--objective=supervised\n"
                        "--model_dir=unused\n--train_steps=2\n--noplots\n")
    argv = [str(flagfile), "--seeds=3,4", f"--output_dir={tmp_path / 'runs'}", "--",
            "--batch_size=10"]
    assert compare.main(argv) == 0
    assert "| short |" in capsys.readouterr().out
    written = json.loads((tmp_path / "runs" / "student_test_accuracy.json").read_text())
    run = json.loads((tmp_path / "runs" / "short_seed4" / "results.json").read_text())
    assert written["figures"]["short"][1] == run["student_test_accuracy"]
    assert (run["flags"]["seed"], run["flags"]["split_seed"], run["flags"]["batch_size"]) == (4, 4, 10)
    (tmp_path / "runs" / "comparison.png").unlink()
    assert compare.main(argv) == 0      # finished: prints and draws only
    assert (tmp_path / "runs" / "comparison.png").stat().st_size > 1000
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("given, words", [
    (["--model_dir=x"], "--model_dir after --: each run has a folder of its own in --output_dir"),
    (["-model_dir", "x"], "-model_dir after --: "), (["--seed=3"], "--seed after --: the runs' seeds are --seeds"),
    (["--split_seed=3"], "--split_seed after --: it is each run's seed; the flag to give is --seeds")])
def test_flags_that_it_sets_itself_are_refused(tmp_path, capsys, monkeypatch, given, words):
    monkeypatch.setattr(compare, "train", None)
    assert compare.main(["flags/digits.cfg", f"--output_dir={tmp_path / 'runs'}", "--", *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {words}") and err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_run_of_other_data_is_named(tmp_path, capsys, monkeypatch):
    def train(config):
        raise run_folder.OtherData(config.model_dir, {"test": ("3 examples (a)", "4 examples (b)")})

    monkeypatch.setattr(compare, "train", train)
    assert compare.main(["flags/digits.cfg", "--seeds=7", f"--output_dir={tmp_path / 'runs'}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path / 'runs' / 'digits_seed7'} was trained on other data: "
                          "test 3 examples (a) then, 4 examples (b) now; give the same --data_dir, ")
    assert err.endswith("or a new --output_dir\n")


def test_what_cannot_be_done_names_its_own_flags(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert compare.main(["flags/digits.cfg", f"--output_dir={tmp_path / 'file'}"]) == 2
    out, err = capsys.readouterr()      # before any run begins
    assert out == "" and err == (f"error: --output_dir={tmp_path / 'file'} is a file, or lies in one: expected a "
                                 "folder; choose another --output_dir\n")

    def train(config):
        raise ValueError(f"--model_dir={config.model_dir} is a run with other flags: use another --model_dir")

    monkeypatch.setattr(compare, "train", train)
    assert compare.main(["flags/digits.cfg", "--seeds=7", f"--output_dir={tmp_path / 'runs'}"]) == 2
    assert capsys.readouterr().err == (f"error: {tmp_path / 'runs' / 'digits_seed7'} is a run with other flags: "
                                       "use another --output_dir\n")


def test_a_warning_of_every_seed_is_said_once(tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setattr(compare, "train", lambda config: {"student_test_accuracy": 0.5})
    (tmp_path / "runs").mkdir()
    assert compare.main(["flags/digits.cfg", "--seeds=0-2", f"--output_dir={tmp_path / 'runs'}", "--",
                         "--train_steps=60"]) == 0
    assert sum("leaves --warmup_steps=" in line for line in caplog.messages) == 1
    assert capsys.readouterr().out.endswith(f"in {tmp_path / 'runs'}: comparison.png, student_test_accuracy.json\n")


def test_it_goes_seed_by_seed(tmp_path, monkeypatch):
    """So that what an interrupted comparison has done is pairs."""
    order = []
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(compare, "train", lambda config: order.append(
        (config.meta_weight, config.seed)) or {"student_test_accuracy": 0.5})
    for name, weight in (("a", 2), ("b", 3)):
        (tmp_path / f"{name}.cfg").write_text(f"--dataset=digits\n--method=mpl\n--meta_weight={weight}\n")
    assert compare.main(["--seeds=3,4", f"--output_dir={tmp_path / 'runs'}", str(tmp_path / "a.cfg"),
                         str(tmp_path / "b.cfg")]) == 0
    assert order == [(2, 3), (3, 3), (2, 4), (3, 4)]


@pytest.mark.parametrize("argv, words", [
    (["--baselines", "--figure=teacher_test_accuracy"], "--figure=teacher_test_accuracy: digits_baseline will have none, "
     "as with --method=baseline no teacher classifies images; choose another --figure, such as student_test_accuracy"),
    (["--figure=student_holdout_accuracy"], "--figure=student_holdout_accuracy: digits will have none, as no labels are "
     "held out; choose another"),
    (["--", "--evaluate=holdout", "--holdout=20"], "--figure=student_test_accuracy: digits will have none, as "
     "--evaluate=holdout leaves the test data out; choose another --figure, such as student_holdout_accuracy"),
    (["--figure=median_last_evaluations", "--", "--evaluate=holdout", "--holdout=20"], "digits will have none")])
def test_a_figure_that_a_run_will_not_have_is_refused_before_any_run(tmp_path, capsys, monkeypatch, argv, words):
    monkeypatch.setattr(compare, "train", None)
    assert compare.main(["flags/digits.cfg", f"--output_dir={tmp_path / 'runs'}", *argv]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_figures_that_runs_will_have_are_not_refused():
    digits = config.from_arguments(["--flagfile=flags/digits.cfg", "--model_dir=x", "--holdout=20"])
    held = digits.replace(evaluate="holdout")
    for figure, runs in (("teacher_test_accuracy", digits), ("median_last_evaluations", digits),
                         ("teacher_holdout_accuracy", held), ("student_labeled_accuracy", held)):
        compare.check_figure(figure, {("a", 0): runs})
    stored = settings("x", method="reduced_mpl", predictions_dir="p")
    with pytest.raises(ValueError, match="a will have none, as with --method=reduced_mpl no teacher classifies images"):
        compare.check_figure("teacher_test_accuracy", {("a", 0): stored})     # it takes stored predictions


@pytest.fixture
def quick(monkeypatch):
    """Runs that take no time, and what the page is asked for."""
    from mpl_tf.report import of_run
    asked = []
    monkeypatch.setattr(of_run, "write", lambda *given, **how: asked.append((given, how)))
    monkeypatch.setattr(compare, "train", lambda config: {"student_test_accuracy": 0.5, "student_holdout_accuracy": 0.5})
    return asked


def test_baselines_without_test_data_have_a_table_and_no_page(tmp_path, capsys, quick):
    (tmp_path / "runs").mkdir()
    assert compare.main(["--baselines", "flags/digits.cfg", "--seeds=0", "--figure=student_holdout_accuracy",
                         f"--output_dir={tmp_path / 'runs'}", "--", "--evaluate=holdout", "--holdout=20"]) == 0
    out = capsys.readouterr().out
    assert "| digits_control | 50.00 |" in out and quick == []
    assert out.endswith("no report.html: it is of test data, which --evaluate=holdout leaves out\n")


@pytest.mark.parametrize("given, images", [([], True), (["--noreport"], False)])
def test_the_page_of_runs_without_reports_has_no_images(tmp_path, quick, given, images):
    (tmp_path / "runs").mkdir()
    assert compare.main(["--baselines", "flags/digits.cfg", "--seeds=0", f"--output_dir={tmp_path / 'runs'}", "--",
                         *given]) == 0
    [(_, how)] = quick
    assert how == {"images": images}


@pytest.mark.parametrize("name, content", [
    ("comparison.png", "mine"), ("student_test_accuracy.json", "mine"), ("student_test_accuracy.json", "{}"),
    ("student_test_accuracy.json", '{"command": ["mine"]}'), ("report.html", "mine"), ("report.csv", "mine")])
def test_files_of_somebody_else_stay(tmp_path, capsys, monkeypatch, name, content):
    monkeypatch.setattr(compare, "train", None)
    (tmp_path / name).write_text(content)
    (tmp_path / "notes.json").write_text('{"command": ["compare"]}')        # it tells nothing of the picture
    assert compare.main(["--baselines", "flags/digits.cfg", f"--output_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: --output_dir={tmp_path} has a {name} that this program did not write: it stays as it is; move it "
        "elsewhere, or choose another --output_dir\n")
    assert (tmp_path / name).read_text() == content


def test_its_own_files_are_renewed(tmp_path, quick):
    argv = ["flags/digits.cfg", "--seeds=0", f"--output_dir={tmp_path}"]
    for _ in range(2):
        assert compare.main(argv) == 0
    assert compare.main([*argv, "--figure=student_holdout_accuracy", "--", "--holdout=20"]) == 0    # a further table
    for name in ("student_test_accuracy.json", "student_holdout_accuracy.json"):
        (tmp_path / name).unlink()
    (tmp_path / "digits_seed0").mkdir()     # it was killed between the picture and the table
    assert compare.main(argv) == 0

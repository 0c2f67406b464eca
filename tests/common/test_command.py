"""The one runner of all programs: exit codes, one line for what goes wrong, paths, lists."""

import errno
import importlib
import os
import signal
import subprocess
import sys

import pytest

from mpl_tf.common import command
from tests.conftest import ROOT


def raising(error):
    def main(arguments):
        raise error
    return main


@pytest.mark.parametrize("error, code, line", [
    (ValueError("--x=1: expected 2"), 2, "error: --x=1: expected 2"),
    (FileNotFoundError("there is no folder x"), 2, "error: there is no folder x"),
    (FloatingPointError("loss is nan in step 3"), 1, "error: loss is nan in step 3"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 1,
     "error: runs/x cannot be written (No space left on device): make room; the same command "
     "continues"),
    (KeyboardInterrupt(), 130, "interrupted: the same command continues"),
    (ValueError("no file photos/a\udce9.jpg"), 2, "error: no file photos/a\\udce9.jpg"),
])
def test_what_goes_wrong_is_one_line_and_an_exit_code(error, code, line, capfd):
    assert command.run(raising(error), []) == code
    assert capfd.readouterr() == ("", line + "\n")


@pytest.mark.parametrize("text, shown", [
    ("a\nb\x1b[31m\x9b", r"a\nb\x1b[31m\x9b"), ("\u2028\u2029", r"\u2028\u2029"),
    ("\u202eabc\u2069\u200f\u061c", r"\u202eabc\u2069\u200f\u061c"),
    ("\xad\ufeff\u180e\U000e0041", r"\xad\ufeff\u180e\U000e0041"),
    ("Äpfel 名前 é \udcff \\", "Äpfel 名前 é \udcff \\")])
def test_what_changes_how_a_terminal_shows_the_rest_is_escaped(text, shown):
    assert command.shown(text) == shown


def test_a_stop_by_a_signal_is_not_done(capfd):
    for number in (signal.SIGTERM, signal.SIGINT):
        stopped = command.Stopped("stopped after step 3 of 6", number)
        assert command.run(raising(stopped), []) == 128 + number
    assert capfd.readouterr().out == "stopped after step 3 of 6\n" * 2


@pytest.mark.parametrize("name, said", [
    ("sudent", "did you mean one of --student_network, --student_dropout?"),
    ("teachr", "did you mean one of --fixed_teacher, --teacher_network?"),
    ("source", "did you mean --source_dir?"), ("train-step", "did you mean --train_steps?"),
    ("sead", "did you mean --seed?"), ("epochs", "did you mean --train_steps?"),
    ("verbose", "expected a flag that --help lists")])
def test_the_most_similar_flags_are_suggested(name, said):
    assert command.suggestion(name, ["seed", "split_seed", "fixed_teacher", "student_network",
                                     "student_dropout", "teacher_network", "source_dir",
                                     "train_steps"]) == said


def test_all_unknown_flags_are_named_and_where_names_with_a_dash_go(capsys):
    parser = command.Parser("mpl_tf.predict", "about")
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("paths", nargs="+")
    for given, said in (
            (["--epochs=1", "--modl_dir=x", "a.jpg"], "unknown flag --epochs: expected a flag that --help "
             "lists; unknown flag --modl_dir: did you mean --model_dir?"),
            (["--model_dir=x", "-a.jpg"], "are required: paths; names that begin with - go after --"),
            (["--model_dir=x", "-a.jpg", "b.jpg"], "arguments: -a.jpg; names that begin with - go after --")):
        with pytest.raises(SystemExit):
            parser.parse_args(given)
        err = capsys.readouterr().err
        assert err.endswith(f"{said}\n") and err.count("\n") == 1
    assert parser.parse_args(["--model_dir=x", "--", "-a.jpg", "--b"]).paths == ["-a.jpg", "--b"]


def test_what_a_program_returns_is_its_exit_code():
    assert [command.run(lambda _: code, []) for code in (None, 0, 1)] == [0, 0, 1]
    assert command.run(lambda arguments: len(arguments), ["a", "b"]) == 2


def test_errors_of_several_lines_keep_their_traceback_but_for_ours(capfd):
    with pytest.raises(ValueError, match="in user code"):
        command.run(raising(ValueError("in user code:\n  File x")), [])

    from mpl_tf.common import storage       # whose errors name what a user named
    assert command.run(lambda _: storage.read_json("/dev/null/a\nb") and None, []) == 0
    assert command.run(lambda _: command.path("~no\nsuch"), []) == 2
    assert capfd.readouterr().err.startswith("error: path=~no such: there is no such user")


def test_the_home_folder_is_meant_whoever_writes_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert command.path("~/x") == "/home/somebody/x" and command.path("~") == "/home/somebody"
    assert command.path("./~/x") == "./~/x" and command.path("a/~") == "a/~"
    with pytest.raises(ValueError, match="--model_dir=~nobody-here/x: there is no such user"):
        command.path("~nobody-here/x", "--model_dir")


HOME_PATHS = [
    ("mpl_tf.train", ["--dataset=digits", "--method=baseline", "--train_steps=2"], "--model_dir"),
    ("mpl_tf.train", ["--model_dir=x"], "--flagfile"),
    ("mpl_tf.compare", ["digits.cfg", "--seeds=0", "--", "--train_steps=0"], "--output_dir"),
    ("mpl_tf.evaluate", [], "--model_dir"),
    ("mpl_tf.predict", ["x.png"], "--model_dir"),
    ("mpl_tf.two_moons", ["--seeds=1"], "--json"),
    ("mpl_tf.benchmark", ["--what=input"], "--data_dir"),
    *[(f"data_prep.{name}", ["--output_dir=out"], "--source_dir")
      for name in ("image_folder", "imagenet", "cifar10", "svhn", "unlabeled", "inspect")],
    ("data_prep.predict", ["--source_dir=x", "--output_dir=y"], "--model_dir"),
    ("data_prep.select", ["--output_dir=y", "--per_class=3"], "--predictions_dir"),
]


@pytest.mark.parametrize("module, arguments, flag", HOME_PATHS,
                         ids=lambda value: value if isinstance(value, str) else "")
def test_every_program_expands_the_home_folder(module, arguments, flag, capfd):
    """By the one refusal that only `command.path` makes; nothing is written."""
    program = importlib.import_module(
        f"{module}.__main__" if module.rpartition(".")[2] in ("two_moons", "benchmark") else module)
    main = getattr(program, "main", None) or (
        program.study.main if hasattr(program, "study")
        else lambda given: command.run(program.run, given))
    given = [f"{flag}=~nobody-here/x", *arguments]
    try:
        code = main(given)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    err = capfd.readouterr().err
    assert "~nobody-here/x: there is no such user" in err and err.count("\n") == 1
    assert not os.path.exists("~nobody-here")


@pytest.mark.parametrize("package", ["mpl_tf", "data_prep"])
def test_a_package_alone_lists_its_programs(package):
    done = subprocess.run([sys.executable, "-m", package], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 0 and done.stderr == ""
    listed = {line.split()[2].partition(".")[2] for line in done.stdout.splitlines()
              if line.startswith("  python -m")}
    folder = ROOT / package
    programs = {path.stem for path in folder.glob("*.py")
                if path.name != "__main__.py" and '__name__ == "__main__"' in path.read_text()}
    programs |= {path.parent.name for path in folder.glob("*/__main__.py")}
    assert listed == programs
    assert all(len(line) <= 140 for line in done.stdout.splitlines())

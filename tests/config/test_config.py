"""Flags: what they accept, refuse and say. Nothing here needs TensorFlow."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from mpl_tf import config
from mpl_tf.config import checks
from mpl_tf.config.flag_files import shipped
from tests.conftest import ROOT


def parse(*arguments):
    return config.parse(["--model_dir=runs/test", *arguments])


def from_shell(*arguments, folder=ROOT):
    """Runs from_arguments in a process of its own, which also tells whether TensorFlow was imported."""
    code = ("import atexit, sys; from mpl_tf import config; from mpl_tf.common import command\n"
            "atexit.register(lambda: print('tensorflow' in sys.modules))\n"
            "sys.exit(command.run(lambda given: config.from_arguments(given) and None))")
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, text=True,
                          capture_output=True, env={"PYTHONPATH": str(ROOT)})


# Defaults and conversions.

def test_dataset_and_model_dir_are_enough():
    c = parse("--dataset=digits")
    assert (c.method, c.objective, c.student_network, c.teacher_network) == (
        "mpl", "uda", "small_conv", "small_conv")
    assert (c.labeled_examples, c.labeled_selection, c.unlabeled_batch_size) == (50, "random", 64)
    assert (c.train_steps, c.eval_steps, c.checkpoint_steps, c.summary_steps) == (1500, 75, 75, 75)
    for dataset in ("two_moons", "cifar10"):
        assert parse(f"--dataset={dataset}").dataset == dataset


@pytest.mark.parametrize("steps, execution, expected", [
    (5, 1, (1, 1)), (1000000, 1, (50000, 1000)), (1400, 100, (100, 100)),
    (96000, 300, (4800, 900))])
def test_intervals_follow_train_steps_and_steps_per_execution(steps, execution, expected):
    c = config.of(train_steps=steps, steps_per_execution=execution)
    assert (c.eval_steps, c.summary_steps) == expected
    assert c.checkpoint_steps == c.summary_steps


def test_syntax_of_absl(tmp_path):
    flagfile = tmp_path / "my.cfg"
    flagfile.write_text("# a comment\n// another\n\n  --seed=1\n-train_steps=10\n--jit_compile\n")
    c = parse("--seed", "3", f"--flagfile={flagfile}", "--noplots", "--train_steps", "20")
    assert (c.seed, c.train_steps, c.jit_compile, c.plots) == (1, 20, True, False)


def test_values_are_plain_and_survive_json():
    c = parse("--meta_weight=0", "--train_steps=400")
    values = json.loads(json.dumps(c.flags.to_dict()))
    assert config.of(**values) == c
    assert values["eval_steps"] == 0 and dataclasses.asdict(c)["eval_steps"] == 20
    assert type(c.meta_weight) is float and type(config.of(meta_weight=2).meta_weight) is float
    assert set(values) == {field.name for field in dataclasses.fields(config.Flags)}
    assert config.of(**c.to_dict()) == config.resolve(c) == config.resolve(c.flags) == c
    assert type(config.resolve(c).flags) is config.Flags
    with pytest.raises(ValueError, match="change it by its method `replace`|follows from its flags"):
        dataclasses.replace(c, train_steps=20)
    later = config.resolve(dataclasses.replace(c.flags, train_steps=800))
    assert (later.train_steps, later.eval_steps, c.eval_steps) == (800, 40, 20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        c.seed = 1
    with pytest.raises(ValueError, match="did you mean --seed"):
        config.of(sed=1)


def test_replace_lets_derived_defaults_follow():
    c = parse("--batch_size=8").replace(batch_size=16, train_steps=4000)
    assert (c.unlabeled_batch_size, c.eval_steps) == (16, 200)


# Flag files; those of this repository are in test_shipped_files.py.

@pytest.mark.parametrize("text, expected", [
    ("--flagfile={folder}/b.cfg", "circle"), ("--flagfile=missing.cfg", "no such file"),
    ("--flagfile=", "no such file"), ("seed=1", "'seed=1' \\(in .*a.cfg\\) is not a flag"),
    ("--seed=1 # why", "lines of their own"), ("--seed", "has no value"),
    ("--sed=1", "unknown flag --sed \\(in .*a.cfg\\): did you mean --seed"),
    ("--seed=x", "--seed=x: expected a whole number.*in .*a.cfg")])
def test_bad_flag_files(text, expected, tmp_path):
    (tmp_path / "b.cfg").write_text("--flagfile=a.cfg\n")
    (tmp_path / "a.cfg").write_text(text.format(folder=tmp_path) + "\n")
    with pytest.raises(ValueError, match=expected):
        parse(f"--flagfile={tmp_path}/a.cfg")
    for bad, said in (("aa.cfg", "did you mean --flagfile=.*a.cfg"), ("", "cannot be read")):
        with pytest.raises(ValueError, match=said):
            parse(f"--flagfile={tmp_path}/{bad}")


def test_a_flag_file_is_suggested_by_its_name_without_the_end():
    for name, near in (("nope.cfg", None), ("mnist.cfg", None), ("digit.cfg", "digits.cfg"),
                       ("digits_contrl", "digits_control.cfg"), ("cifar.cfg", "cifar10.cfg")):
        with pytest.raises(ValueError) as refused:
            parse(f"--flagfile={name}")
        said = str(refused.value)
        assert ("did you mean" in said) == bool(near) and said.count("\n") == 0
        assert (f"--flagfile={near}?" if near else f"{shipped()} holds those that come") in said


# Refusals: received, expected, fix.

@pytest.mark.parametrize("arguments, received, fix", [
    ("--train_steps=0", "--train_steps=0: expected a whole number, at least 1", "=1500"),
    ("--train_steps=1e6", "--train_steps=1e6: expected a whole number", "=1500"),
    ("--batch_size=0", "--batch_size=0", "=64"),
    ("--unlabeled_batch_size=-1", "--unlabeled_batch_size=-1", "leave it out"),
    ("--student_dropout=1", "=1.0: expected a number, at least 0 and below 1", "0.0"),
    ("--uda_temperature=0", "expected a number, above 0", "0.8"),
    ("--meta_weight=nan", "--meta_weight=nan: expected a number", "1.0"),
    ("--teacher_learning_rate=inf", "--teacher_learning_rate=inf", "0.1"),
    ("--seed=-1", "--seed=-1", "=0"),
    ("--plots=maybe", "--plots=maybe: expected true or false", "=true"),
    ("--dataset=cifar", "cifar10, digits, image_folder", "did you mean"),
    ("--objective=fixmatch", "--objective=fixmatch: expected one of supervised", "leave it out"),
    ("--student_network=wrn-27-2", "the depth has to be 6 n + 4", "wrn-28-2"),
    ("--student_network=vgg", "--student_network=vgg: unknown network", "use for example"),
    ("--train_step=5", "unknown flag --train_step", "did you mean --train_steps"),
    ("--batch-size=5", "unknown flag --batch-size", "did you mean --batch_size"),
    ("--verbose", "unknown flag --verbose", "--help"),
    ("--sudent=x", "unknown flag --sudent", "one of --student_network, --student_weights, "),
    ("--steps=5", "unknown flag --steps", "did you mean one of --train_steps, --eval_steps"),
    ("--epochs=3", "unknown flag --epochs", "did you mean --train_steps?"),
    ("--learning-rate=1", "unknown flag --learning-rate",
     "one of --student_learning_rate, --teacher_learning_rate?"),
    ("--sead=1 --batchsize 7 --lr=1 --sead=1", "unknown flag --sead: did you mean --seed; unknown flag "
     "--batchsize: did you mean --batch_size; unknown flag --lr: did you mean one of ", "rate?"),
    ("--image_size=31.5", "--image_size=31.5: expected a whole number", "leave it out, or give 0, for "
     "the default ("),
    ("flags", "'flags' is not a flag", "did you mean --model_dir=flags?"),
    ("runs/none", "'runs/none' is not a flag", "did you mean --model_dir=runs/none?"),
    ("digits.cfg", "'digits.cfg' is not a flag", "did you mean --flagfile=digits.cfg?"),
    ("--no_plots", "unknown flag --no_plots", "did you mean --noplots?"),
    ("--seed --noplots", "--seed has no value", "--seed=VALUE"),
    ("digits", "'digits' is not a flag", "--NAME=VALUE"),
    ("--model_dir=", "--model_dir is missing", "runs/NAME"),
    ("--method=distillation", "without --fixed_teacher", "add --fixed_teacher=runs/NAME"),
    ("--fixed_teacher=runs/x", "with --method=mpl", "leave it empty"),
    ("--randaugment_layers=0", "--objective=uda with --randaugment_layers=0", "above 0"),
    ("--supervised_weight=0 --uda_weight=0 --meta_weight=0", "leave the teacher nothing", "raise"),
    ("--method=baseline --objective=supervised --supervised_weight=0", "nothing to learn", "raise"),
    ("--supervised_weight=0 --uda_weight=0 --meta_scale=relative", "can be measured by", "raise"),
    ("--meta_signal=shuffled --unlabeled_batch_size=1", "at least 2 images", "raise"),
    ("--microbatch_size=8", "with --meta_gradient=nested_tape", "add --meta_gradient=jvp"),
    ("--microbatch_size=8 --meta_gradient=jvp --unlabeled_batch_size=12", "with --unlabeled_batch_size=12",
     "change"),
    ("--method=baseline --microbatch_size=8", "no effect with --method=baseline", "leave"),
    ("--dataset=two_moons --objective=uda", "no strong view", "use --objective=supervised"),
    ("--dataset=two_moons --student_network=small_conv", "a network of points", "rbf"),
    ("--teacher_network=rbf", "a network of images", "small_conv"),
    ("--cutout=8", "less than an image's 8 pixels", "smaller"),
    ("--cutout=3", "expected an even number", "--cutout=2 or --cutout=4"),
    ("--unlabeled_batch_size=1298", "--unlabeled_batch_size=1298 with --dataset=digits: expected "
     "unlabeled batches of at most its 1297 training examples", "use fewer"),
    ("--batch_size=1298", "--batch_size=1298 with --dataset=digits: expected unlabeled", "fewer"),
    ("--labeled_examples=1298", "at most its 1297 training examples", "use fewer"),
    ("--holdout=50", "--holdout=50 of --labeled_examples=50", "lower --holdout"),
    ("--holdout=45", "leaves 5: expected at least one for each of the 10 classes", "use more"),
    ("--dataset=cifar10 --labeled_examples=50001", "at most its 50000", "use fewer"),
    ("--warmup_steps=1500", "--warmup_steps=1500 with --train_steps=1500", "lower"),
    ("--steps_per_execution=7", "--steps_per_execution=7 with --train_steps=1500", "change"),
    ("--steps_per_execution=50 --eval_steps=75", "--eval_steps=75: expected a divisor", "change"),
    ("--jit_compile --strategy=mirrored", "with --strategy=mirrored", "--nojit_compile"),
    ("--tpu=local", "--tpu=local with --strategy=default", "--strategy=tpu"),
    ("--method=baseline --teacher_dropout=0.1", "--teacher_dropout=0.1 has no effect with "
     "--method=baseline", "leave one of them out"),
    ("--noise=0.1", "--noise=0.1 has no effect with --dataset=digits", "leave"),
    ("--method=soft_pseudo_labels --fixed_teacher=x --labeled_sampling=balanced",
     "--labeled_sampling=balanced has no effect with --method=soft_pseudo_labels", "leave"),
    ("--labeled_shards=3", "no effect with --dataset=digits", "leave"),
    ("--dataset=cifar10 --skip_corrupt", "no effect with --dataset=cifar10", "leave"),
    ("--unlabeled_dir=x", "--unlabeled_dir=x with --dataset=digits", "leave it out"),
    ("--dataset=svhn --extra_unlabeled --unlabeled_dir=x", "both say", "leave the other"),
    ("--dataset=imagenet --image_size=4", "--image_size=4", "larger"),
    ("--dataset=imagenet --cutout=224", "224 pixels", "smaller"),
])
def test_refusals(arguments, received, fix):
    with pytest.raises(ValueError) as refusal:
        parse(*arguments.split())
    line = str(refusal.value)
    assert received in line and fix in line and "\n" not in line


def test_config_refuses_as_the_command_line_does():
    for values in ({"seed": 1.5}, {"seed": True}, {"model_dir": None}, {"jit_compile": 1},
                   {"student_dropout": 1.0}, {"method": "distillation"}):
        with pytest.raises(ValueError, match=f"--{next(iter(values))}="):
            config.of(**values)


def test_settings_from_a_file_may_be_unused():
    c = config.parse([f"--flagfile={ROOT}/flags/cifar10.cfg", "--method=baseline"])
    assert c.unused()["teacher_dropout"] == "--method=baseline"
    assert "student_dropout" not in c.unused()


@pytest.mark.parametrize("method", ["mpl", "baseline", "distillation"])
@pytest.mark.parametrize("objective", ["supervised", "randaugment", "uda"])
def test_what_a_method_needs(method, objective):
    c = config.of(method=method, objective=objective,
                      fixed_teacher="runs/x" if method == "distillation" else "")
    assert c.strong_views == (method != "distillation" and objective != "supervised")
    assert c.needs_unlabeled == (method != "baseline" or objective == "uda")
    assert ("cutout" in c.unused()) != c.strong_views
    assert ("unlabeled_batch_size" in c.unused()) != c.needs_unlabeled


# Resuming.

def test_differences_name_what_changes_the_result():
    old = json.loads(json.dumps(parse("--train_steps=200").flags.to_dict()))
    assert config.differences(old, parse("--train_steps=200")) == []
    neutral = parse("--train_steps=400", "--data_dir=elsewhere", "--keep_checkpoints=5",
                    "--checkpoint_steps=7", "--noplots")
    assert config.differences(old, neutral) == []
    changed = parse("--train_steps=200", "--seed=1", "--student_network=mlp")
    assert config.differences(old, changed) == [
        "--seed: 0 in model_dir, 1 now",
        "--student_network: small_conv in model_dir, mlp now",
        "--teacher_network: small_conv in model_dir, mlp now"]
    assert config.differences(old, parse("--train_steps=100")) == [
        "--train_steps: 200 in model_dir, 100 now (only more steps continue a run)"]


def test_differences_compare_what_flags_stand_for():
    old = parse("--train_steps=200").flags.to_dict()
    explicit = parse("--train_steps=200", "--eval_steps=10", "--labeled_examples=50",
                     "--unlabeled_batch_size=64")
    assert config.differences(old, explicit) == []
    assert config.differences(old, parse("--train_steps=200", "--eval_steps=5")) == [
        "--eval_steps: 10 in model_dir, 5 now"]
    baseline = parse("--method=baseline")
    assert config.differences({**baseline.flags.to_dict(), "teacher_dropout": 0.5}, baseline) == []
    assert config.differences({**old, "ema": 0.9}, parse("--train_steps=200")) == [
        "--ema: 0.9 in model_dir, no such flag now"]
    assert config.RESULT_NEUTRAL <= set(old)


# The process: exit codes, one line, no TensorFlow.

@pytest.mark.parametrize("argument", ["--help", "-h", "--helpshort"])
def test_help(argument):
    shown = from_shell("--seed=x", argument)
    assert shown.returncode == 0 and shown.stderr == ""
    text, imported = shown.stdout[:-1].rsplit("\n", 1)
    assert imported == "False"
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) < 210
    assert "usage: python -m mpl_tf.train" in "\n".join(lines[:5])
    assert sum(line.startswith("  python -m mpl_tf.train") for line in lines[:10]) == 3
    for field in dataclasses.fields(config.Flags):
        assert any(line.split()[:1] in ([f"--{field.name}"], [f"--[no]{field.name}"])
                   for line in lines), field.name
    assert "alsologtostderr" not in text


@pytest.mark.parametrize("arguments, said", [
    (["--trian_steps=3"], "did you mean --train_steps?"),
    (["--model_dir=x", "--train_steps=0"], "--train_steps=0"),
    (["--model_dir=x", "--holdout=50"], "--holdout=50"),
    (["--model_dir=x", "--dataset=imagenet"], "without --data_dir"),
    (["--model_dir=x", "--dataset=image_folder", "--data_dir=absent"], "no such folder"),
    (["--flagfile=flags/digit.cfg"], "did you mean --flagfile=flags/digits.cfg?"),
    (["--model_dir=x", "--method=distillation", "--fixed_teacher=absent"], "no such folder"),
    (["--model_dir=x", "--seed=1\n2"], "--seed=1 2: expected")])
def test_a_refusal_is_one_line_and_exit_code_2(arguments, said):
    refused = from_shell(*arguments)
    assert refused.returncode == 2 and refused.stdout == "False\n"
    assert refused.stderr.startswith("error: ") and said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_programs_may_take_only_some_flags(capsys):
    only = ("model_dir", "data_dir")
    assert config.from_arguments(["--model_dir=x"], only=only).model_dir == "x"
    with pytest.raises(ValueError, match="unknown flag --seed"):
        config.from_arguments(["--model_dir=x", "--seed=1"], only=only)
    with pytest.raises(SystemExit):
        config.from_arguments(["-h"], usage="Evaluates.", only=only)
    text = capsys.readouterr().out
    assert text.startswith("Evaluates.\n") and "--seed" not in text and "--data_dir" in text


def test_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse("--model_dir=~/runs").model_dir == "/home/someone/runs"


def test_networks_named_here_are_the_ones_that_exist():
    from mpl_tf import networks
    for name in ("wrn-10-1", "small_conv", "mlp", "mlp-8-8"):
        checks.checked_value("student_network", name, str, "", {})
        assert networks.build(name, 10, (8, 8, 1)).output_shape == (None, 10)


def test_a_typed_flag_that_a_later_file_overrides_is_told(said):
    file = f"--flagfile={ROOT / 'flags' / 'digits.cfg'}"
    assert config.parse(["--train_steps=9", "--seed=1", file]).train_steps == 400
    [line] = said()
    assert "--train_steps=9 is overridden (in " in line
    for arguments in ([file, "--train_steps=900"], ["--train_steps=400", file],
                      ["--train_steps=9", file, "--train_steps=800"]):
        config.parse(arguments)
    assert not said()


def test_a_warm_up_that_a_shorter_training_inherits_is_told(said):
    file = f"--flagfile={ROOT / 'flags' / 'image_folder.cfg'}"
    config.parse([file, "--data_dir=x", "--train_steps=2000"])
    assert said() == ["--train_steps=2000 leaves --warmup_steps=500 as it was, 25 % of the training: add "
                      "--warmup_steps=100"]
    for arguments in ([], ["--train_steps=2500"], ["--train_steps=2000", "--warmup_steps=500"],
                      ["--train_steps=2000", "--schedule=constant"]):
        config.parse([file, "--data_dir=x", *arguments])
    assert not said()


def test_messages_write_flags_as_they_are_typed():
    """A path in a message stands behind its flag with both dashes, wherever it is refused."""
    names = "|".join(name for name, field in config.FIELDS.items() if field.metadata["path"])
    bare = re.compile(rf'f"(?:[^"{{]*[ (])?(?:{names})=\{{')
    found = [f"{path}: {line.strip()}" for package in ("mpl_tf", "data_prep")
             for path in (ROOT / package).rglob("*.py")
             for line in path.read_text().splitlines() if bare.search(line)]
    assert not found

"""Checks of a Config: each value by itself, then the settings against each other.

All functions are pure. A refusal is one line that says what was received, what was expected, and
how to fix it. This file does not import TensorFlow.
"""

import difflib
import math
import os
import sys

from mpl_tf import datasets, networks
from mpl_tf.datasets import feature_files
from mpl_tf.config.methods import METHODS
from mpl_tf.method.objectives import OBJECTIVES


# Each value by itself.

def checked_value(name, value, kind, default, limits):
    """Returns the value of a flag, an int made a float if the flag is one.

    Args:
      name: the flag's name.
      value: the value as it was given.
      kind: the type that it has to have: int, float, bool or str.
      default: the flag's default, for the text of an error.
      limits: the flag's metadata, see flags._flag.

    Raises:
      ValueError: in one line, for a value of another type or outside its limits.
    """
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        value = float(value)
    if type(value) is not kind or not _possible(value, limits):
        raise ValueError(bad_value(name, value, kind, default, limits))
    if name.endswith("_network") and value:
        _check_network(name, value)
    if name == "dataset":
        try:
            datasets.find(value)
        except ValueError as error:
            raise ValueError(f"--{name}={_shown(value)}: {error}") from None
    return value


def _possible(value, limits):
    if isinstance(value, str):
        return "choices" not in limits or value in limits["choices"] or (
            value == "" and "derived" in limits) or value.startswith(limits.get("begins") or "\0")
    return ((type(value) is int or math.isfinite(value))
            and limits.get("above", -math.inf) < value < limits.get("below", math.inf)
            and limits.get("at_least", -math.inf) <= value <= limits.get("at_most", math.inf))


def bad_value(name, value, kind, default, limits):
    """The line that refuses a value; the arguments are those of `checked_value`."""
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    if "choices" in limits:
        expected = "one of " + ", ".join(limits["choices"])
    words = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
    bounds = [f"{words[key]} {limits[key]}" for key in words if key in limits]
    expected += ", " * bool(bounds) + " and ".join(bounds)
    close = "choices" in limits and difflib.get_close_matches(str(value), limits["choices"], n=1)
    if close:
        fix = f"did you mean --{name}={close[0]}?"
    elif "derived" in limits:
        zero = "" if kind is str else ", or give 0,"
        fix = f"leave it out{zero} for the default ({limits['derived']})"
    else:
        fix = f"use for example --{name}={str(default).lower() if kind is bool else default}"
    return f"--{name}={_shown(value)}: expected {expected}; {fix}"


def _shown(value):
    """A value as text, the beginning of it if it is long."""
    if type(value) is int and abs(value) > 10 ** 60:    # Python refuses to write out the longest
        return f"a number of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:60]}... ({len(text)} characters)"


def _check_network(name, value):
    try:
        networks.find(value)
    except ValueError as error:
        raise ValueError(
            f"--{name}={_shown(value)}: {error}; use for example --{name}=wrn-28-2") from None


# The settings against each other. In all functions c is a Config, its defaults filled in.

def contradictions(c):
    """Yields a line for each contradiction between the settings of c."""
    yield from _method(c)
    yield from _data(c)
    yield from _steps(c)
    if c.tpu and c.strategy != "tpu":
        yield (f"--tpu={c.tpu} with --strategy={c.strategy}: expected --strategy=tpu; add it or "
               "leave --tpu out")
    if c.jit_compile and c.strategy in ("mirrored", "multi_worker"):
        yield (f"--jit_compile with --strategy={c.strategy}: TensorFlow compiles a step on one "
               "device or a TPU; use --nojit_compile or --strategy=default")


def _method(c):
    if c.needs_fixed_teacher and not c.fixed_teacher:
        yield (f"--method={c.method} without --fixed_teacher: expected a finished run's model_dir "
               "or a .keras file; add --fixed_teacher=runs/NAME")
    if c.fixed_teacher and not c.needs_fixed_teacher:
        takers = ", ".join(name for name, method in METHODS.items() if method.teacher == "fixed")
        yield (f"--fixed_teacher={c.fixed_teacher} with --method={c.method}: expected only with "
               f"{takers}; choose one of these methods, or leave it empty")
    yield from _stored_predictions(c)
    if (c.strong_views and not c.source.backbone and c.randaugment_layers == 0
            and c.cutout == 0):
        yield (f"--objective={c.objective} with --randaugment_layers=0 and --cutout=0: expected a "
               "strong view; set one of them above 0, or --objective=supervised")
    weights = [flag for flag in c.objective_class.flags.values() if flag.endswith("weight")]
    learns_labels = not weights or any(getattr(c, flag) > 0 for flag in weights)
    if c.method == "baseline" and not learns_labels:
        yield ("--supervised_weight=0 leaves a baseline nothing to learn: expected a weight above "
               "0; raise it")
    if c.has_teacher and not learns_labels and c.meta_weight == 0:
        yield ("--supervised_weight=0 and --meta_weight=0 leave the teacher nothing to learn: "
               "expected one of them above 0; raise it")
    if c.has_teacher and not learns_labels and c.meta_scale != "absolute":
        yield (f"--supervised_weight=0 with --meta_scale={c.meta_scale}: expected an objective whose gradient "
               "the meta gradient can be measured by; raise the weight, or --meta_scale=absolute")
    if c.has_teacher and c.meta_signal == "shuffled" and c.unlabeled_batch_size == 1:
        yield ("--meta_signal=shuffled with --unlabeled_batch_size=1: expected at least 2 images, of which "
               "one can get the signal of the other; raise it")
    if c.has_teacher and c.microbatch_size and c.meta_gradient != "jvp":
        yield (f"--microbatch_size={c.microbatch_size} with --meta_gradient={c.meta_gradient}: expected jvp, "
               "because the nested tape holds all passes together; add --meta_gradient=jvp")
    for name in ("batch_size", "unlabeled_batch_size") if c.has_teacher and c.microbatch_size else ():
        if getattr(c, name) % c.microbatch_size:
            yield (f"--microbatch_size={c.microbatch_size} with --{name}={getattr(c, name)}: expected a "
                   "divisor of it; change one of them")


def _stored_predictions(c):
    method = f"--method={c.method}"
    if c.needs_probs and not c.predictions_dir:
        yield (f"{method} without --predictions_dir: expected a large network's predictions; write "
               "them with `python -m data_prep.predict`, and add --predictions_dir=DIR")
    if c.needs_probs and c.source.points:
        yield (f"{method} with --dataset={c.dataset}: expected images, which the student sees noised; "
               "use --dataset=digits")
    for name in ("predictions_dir", "selection"):
        if getattr(c, name) and not c.needs_probs:
            yield (f"--{name}={getattr(c, name)} with {method}: expected only with reduced_mpl or "
                   "noisy_student; choose one of these methods, or leave it empty")
    if c.method == "reduced_mpl" and c.objective != "supervised":
        yield (f"--objective={c.objective} with {method}: expected supervised, because its teacher "
               "sees stored predictions and no views; use --objective=supervised")
    if c.method == "reduced_mpl" and "probs" not in _network(c.teacher_network).takes:
        yield (f"--teacher_network={c.teacher_network} with {method}: expected a network of "
               f"distributions; use one of {networks.available('probs')}")
    for role in ("student", *["teacher"] * c.has_teacher):
        name, weights = getattr(c, f"{role}_network"), getattr(c, f"{role}_weights")
        if weights == "imagenet" and not _network(name).kept:
            yield (f"--{role}_weights=imagenet with --{role}_network={name}: expected a network that "
                   "has them; use for example keras.applications:EfficientNetV2B0, or a file")


def _network(name):
    return networks.find(name)[0]


def _data(c):
    if c.evaluate == "holdout" and not c.holdout and not c.holdout_shards:
        flag = "holdout_shards" if "holdout_shards" in c.source.options else "holdout"
        yield (f"--evaluate=holdout without --{flag}: expected labels that are held out; add "
               f"--{flag}=N")
    kind = "point" if c.source.points else "image"
    for name in ("student_network", *["teacher_network"] * (c.method == "mpl")):
        value = getattr(c, name)
        if kind not in _network(value).takes:
            yield (f"--{name}={value} with --dataset={c.dataset}: expected a network of {kind}s; use "
                   f"one of {networks.available(kind)}")
    if c.source.points and c.strong_views and not c.source.backbone:
        yield (f"--objective={c.objective} with --dataset={c.dataset}: expected supervised, because "
               "points have no strong view; use --objective=supervised")
    size = c.image_size or c.source.image_size or math.inf
    cuts = c.strong_views and not c.source.backbone
    if cuts and c.cutout % 2:
        yield (f"--cutout={c.cutout}: expected an even number, the side in pixels of a square about "
               f"its centre; use --cutout={c.cutout - 1} or --cutout={c.cutout + 1}")
    if cuts and c.cutout >= size:
        yield (f"--cutout={c.cutout} with --dataset={c.dataset}: expected less than an image's "
               f"{size} pixels; use a smaller one")
    if (c.source.in_shards and not c.source.points or c.image_size) and c.image_size < 8:
        yield f"--image_size={c.image_size}: expected at least 8 pixels; use a larger one"
    if c.unlabeled_dir and not c.source.photographs:
        yield (f"--unlabeled_dir={c.unlabeled_dir} with --dataset={c.dataset}: expected a data set "
               "of photographs; leave it out")
    if c.extra_unlabeled and c.unlabeled_dir:
        yield ("--extra_unlabeled and --unlabeled_dir both say what is unlabeled: expected one of "
               "them; leave the other out")
    examples = c.source.sizes.get("train", math.inf)
    if c.labeled_examples > examples:
        yield (f"--labeled_examples={c.labeled_examples} with --dataset={c.dataset}: expected at "
               f"most its {examples} training examples; use fewer")
    pool = math.inf if c.unlabeled_dir or c.extra_unlabeled else examples
    if c.needs_unlabeled and c.unlabeled_batch_size > pool:
        flag = "unlabeled_batch_size" if c.flags.unlabeled_batch_size else "batch_size"
        yield (f"--{flag}={c.unlabeled_batch_size} with --dataset={c.dataset}: expected unlabeled "
               f"batches of at most its {pool} training examples; use fewer")
    if not c.labeled_examples:      # all that a folder has, and how many is not known yet
        return
    classes, left = len(c.source.class_names) or 2, c.labeled_examples - c.holdout
    if c.holdout >= c.labeled_examples:
        yield (f"--holdout={c.holdout} of --labeled_examples={c.labeled_examples}: expected fewer, "
               "because they are taken from the labeled ones; lower --holdout")
    elif left < classes:
        yield (f"--labeled_examples={c.labeled_examples} with --holdout={c.holdout} leaves {left}: "
               f"expected at least one for each of the {classes} classes of {c.dataset}; use more")


def missing_files(c):
    """Yields a line for each file or folder that is needed but not named, or named but missing."""
    if c.source.in_shards and not c.data_dir:
        yield (f"--dataset={c.dataset} without --data_dir: expected a folder that data_prep "
               f"wrote; prepare one, see `python -m data_prep.{c.dataset} --help`, and add --data_dir=DIR")
    if c.source.in_shards and c.data_dir and not os.path.isdir(c.data_dir):
        yield (f"--data_dir={c.data_dir}: no such folder; prepare it, see "
               f"`python -m data_prep.{c.dataset} --help`")
    if c.source.backbone and c.strong_views and c.data_dir and os.path.isdir(c.data_dir):
        plan = feature_files.read_plan(c.data_dir)
        if not plan["augmented"]["views"]:
            yield (f"--objective={c.objective} with --data_dir={c.data_dir}: expected features with "
                   "strong views, and these have none; compute them with `python -m data_prep.features "
                   "--views=2` into another folder, or use --objective=supervised")
    if c.unlabeled_dir and not os.path.isdir(c.unlabeled_dir):
        yield (f"--unlabeled_dir={c.unlabeled_dir}: no such folder; prepare it, see "
               "`python -m data_prep.unlabeled --help`")
    for name, remedy in (
            ("predictions_dir", "write it with `python -m data_prep.predict`"),
            ("selection", "write it with `python -m data_prep.select`"),
            ("student_weights", "name a file NAME.keras or NAME.weights.h5, or imagenet"),
            ("teacher_weights", "name a file NAME.keras or NAME.weights.h5, or imagenet")):
        value = getattr(c, name)
        if value and not os.path.exists(value) and not (
                name.endswith("weights") and value == "imagenet"):
            yield f"--{name}={value}: no such file or folder; {remedy}"
    for name in ("student_network", *["teacher_network"] * c.has_teacher):
        found, arguments = networks.find(getattr(c, name))
        if found.function is networks.imported.imported:
            try:
                networks.imported.find_function(*arguments)
            except ValueError as error:
                yield f"--{name}={error}"
    path = c.fixed_teacher
    if path and "://" not in path and not os.path.exists(path):
        yield (f"--fixed_teacher={path}: no such folder or file; train the teacher first, or name a "
               "finished run's model_dir or a .keras file")


def _steps(c):
    if c.schedule != "constant" and c.warmup_steps >= c.train_steps:
        yield (f"--warmup_steps={c.warmup_steps} with --train_steps={c.train_steps}: expected a "
               "warm-up that ends before the training; lower --warmup_steps or train longer")
    for name in ("train_steps", "eval_steps", "checkpoint_steps", "summary_steps"):
        if getattr(c, name) % c.steps_per_execution:
            yield (f"--steps_per_execution={c.steps_per_execution} with "
                   f"--{name}={getattr(c, name)}: expected a divisor of it; change one of them")


def unused(c):
    """The flags that have no effect on the run of c.

    Returns:
      {flag's name: the setting, such as "--method=baseline", because of which it has no effect}.
    """
    reasons = {}

    def note(reason, *names):
        for name in names:
            reasons.setdefault(name, reason)

    method, objective = f"--method={c.method}", f"--objective={c.objective}"
    if not c.has_teacher:
        note(method, "teacher_schedule", "teacher_network", "teacher_weights", "teacher_dropout",
             "teacher_optimizer", "teacher_learning_rate", "teacher_weight_decay", "meta_weight",
             "meta_gradient", "meta_scale", "meta_signal", "microbatch_size")
    of_objectives = {flag for other in OBJECTIVES.values() for flag in other.flags.values()}
    if not c.facts.objective:       # such a student sees no labels
        note(method, "objective", "labeled_sampling", *of_objectives)
    note(objective, *of_objectives - set(c.objective_class.flags.values()))
    if not c.facts.temperature:
        note(method, "temperature")
    if not c.needs_unlabeled:
        note(f"{method} and {objective}", "unlabeled_batch_size")
    if not c.strong_views and not c.needs_probs:
        note(method if c.needs_fixed_teacher else objective, "randaugment_layers",
             "randaugment_magnitude", "randaugment_operations", "cutout")
    if c.randaugment_layers == 0:
        note("--randaugment_layers=0", "randaugment_magnitude", "randaugment_operations")
    rules = {c.student_optimizer} | ({c.teacher_optimizer} if c.has_teacher else set())
    if not rules & {"momentum", "nesterov", "rmsprop"}:
        note(f"--student_optimizer={c.student_optimizer}", "momentum")
    if "rmsprop" not in rules:
        note(f"--student_optimizer={c.student_optimizer}", "rmsprop_epsilon")
    schedules = {c.schedule} | ({c.teacher_schedule} if c.has_teacher else set())
    if schedules == {"constant"}:
        note("--schedule=constant", "warmup_steps")
    if "exponential" not in schedules:
        note(f"--schedule={c.schedule}", "decay_steps", "decay_rate")
    used = [_network(name) for name in (c.student_network, *[c.teacher_network] * c.has_teacher)]
    if not any("drop_connect" in network.options for network in used):
        note(f"--student_network={c.student_network}", "drop_connect")
    if c.has_teacher and "dropout" not in used[-1].options:
        note(f"--teacher_network={c.teacher_network}", "teacher_dropout")
    dataset = f"--dataset={c.dataset}"
    own = {option for source in datasets.known().values() for option in source.options}
    note(dataset, *own & {"noise", "extra_unlabeled", "labeled_shards", "holdout_shards",
                          "image_size", "train_split", "test_split", "unlabeled_split",
                          "feature_components", "feature_unit_length"} - c.source.options)
    if c.source.backbone:       # its views are stored
        note(dataset, "randaugment_layers", "randaugment_magnitude", "randaugment_operations", "cutout")
    if (not c.source.in_shards or c.source.backbone) and not c.unlabeled_dir:
        note(dataset, "skip_corrupt")
    if not c.source.photographs:
        note(dataset, "unlabeled_dir", "color")
    return reasons

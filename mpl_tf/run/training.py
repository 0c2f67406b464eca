"""A run, from its Config to results.json: what it will do, the loop, what it leaves behind."""

import json
import logging
import math
import os
import signal
import sys
import threading
import time

import tensorflow as tf

from mpl_tf import datasets
from mpl_tf.common import storage
from mpl_tf.run import (checkpoints, devices as strategies, evaluation, export, run_folder,
                        tensorboard, wiring)
from mpl_tf.run.probes import Probes
from mpl_tf.run.progress import Progress

log = logging.getLogger("mpl_tf")


def run(config):
    """Trains as `config` says, from the last checkpoint in its model_dir on; tells what it does.

    Returns:
      The results, as in results.json; None where SIGTERM or Ctrl-C ended the run early, after a
      checkpoint: the same call continues it.

    Raises:
      ValueError, FileNotFoundError: bad input, in one line, before any step is taken.
      FloatingPointError: a loss or weight is not finite; the last good checkpoint stays.
    """
    if not is_chief(config):
        return _train(config, writer=False)
    with run_folder.open_folder(config):
        results = run_folder.finished(config)
        if results is None:
            return _train(config, writer=True)
    print(f"{config.model_dir} is finished, {config.train_steps} steps: nothing to do (a larger "
          f"--train_steps continues it)\n{evaluation.table(results)}", flush=True)
    return results


def make_deterministic(seed):
    """A run of this process repeats bit for bit on its machine; call it before `run`.

    On a CPU it does so anyway and this costs nothing; on a GPU some operations would add in any
    order. TensorFlow asks for a seed then, from which nothing here draws.
    """
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(seed)


def is_chief(config):
    """Whether this process writes to model_dir; all do but workers other than the first."""
    if config.strategy != "multi_worker":
        return True
    try:
        tf_config = json.loads(os.environ["TF_CONFIG"])
        chief = "chief" if "chief" in tf_config["cluster"] else "worker"
        task = tf_config["task"]
        return task["type"] == chief and int(task["index"]) == 0
    except (KeyError, TypeError, ValueError):
        return True     # get_strategy says what is wrong with it


def _train(config, writer):
    start = time.monotonic()
    strategy = strategies.get_strategy(config.strategy, config.tpu)
    dataset = wiring.load_dataset(config)
    with strategy.scope():
        model = wiring.build_model(config, dataset)
        if writer:
            run_folder.check_data(config.model_dir, {
                **datasets.describe(dataset), **wiring.describe_fixed_teacher(config, model)})
        saved = checkpoints.Checkpoints(
            os.path.join(config.model_dir, run_folder.CHECKPOINTS), model, config.seed,
            config.keep_checkpoints, writer)
        start_step = saved.restore()
    print(plan(config, strategy, dataset, model, start_step), flush=True)
    probes = None
    if config.method == "reduced_mpl":
        probes = Probes(dataset, model.teacher, saved.journal, config.train_steps,
                        config.steps_per_execution, config.plots)

    with Clock(saved.journal, start) as clock, StopRequest() as stop, \
            wiring.records_in_one_line(dataset):
        step = loop(config, strategy, dataset, model, saved, start_step, writer, clock, stop,
                    probes)
    if step < config.train_steps:
        print(f"stopped after step {step} of {config.train_steps} and saved: the same command "
              "continues", flush=True)
        return None
    results = evaluation.results(config, saved.journal)
    skipped = sum(len(images.skipped) for images in wiring.record_images(dataset))
    if skipped:
        print(f"{skipped} records could not be used and were skipped: see the log above",
              flush=True)
    if writer:
        write_outcome(config, model, dataset.class_names, results, probes)
        figures = sorted(name for name in os.listdir(config.model_dir) if name.endswith(".png"))
        print(f"{evaluation.table(results)}\nin {config.model_dir}: " + ", ".join([
            run_folder.RESULTS, *figures, "student.keras", "saved_model", "tensorboard"]), flush=True)
    return results


def plan(config, strategy, dataset, model, start_step):
    """What the run will do: lines for a terminal."""
    counts = wiring.class_counts(dataset.labeled, dataset.num_classes)
    by_class = (f"{counts[0]} of each class" if len(set(counts)) == 1
                else "by class " + " ".join(map(str, counts)))
    holdout = f", {len(dataset.holdout.labels)} held out" if dataset.holdout else ""
    plain = config.needs_fixed_teacher or config.method == "noisy_student"
    method = config.method + ("" if plain else f", {config.objective}")
    networks = ", ".join(
        f"{role} {getattr(config, f'{role}_network')} ({network.count_params():,} weights)"
        for role, network in model.networks.items())
    if config.needs_fixed_teacher:
        networks += f", fixed teacher {config.fixed_teacher} ({model.teacher.count_params():,})"
    batch = f"{config.batch_size} labeled"
    if config.needs_unlabeled:
        batch += f" + {config.unlabeled_batch_size} unlabeled"
    steps = f"{start_step} to {config.train_steps}" if start_step else f"{config.train_steps}"
    return "\n".join([
        f"method     {method}",
        f"device     {strategies.describe(strategy)}, {config.precision}",
        f"data       {dataset.name}: {len(dataset.labeled.labels)} labeled ({by_class}), "
        f"{len(dataset.unlabeled)} unlabeled, {len(dataset.test.labels)} test{holdout}",
        f"networks   {networks}",
        f"steps      {steps}, {batch} examples each, seed {config.seed}",
        f"model_dir  {config.model_dir}"])


def loop(config, strategy, dataset, model, saved, step, writer, clock, stop, probes=None):
    """Takes the steps from `step` on; returns how many are taken in all, fewer if `stop` asks."""
    if step == config.train_steps:
        return step
    stride = config.steps_per_execution
    journal = saved.journal
    train_function, reset_metrics = model.make_train_function(), tf.function(model.reset_metrics)
    batches = wiring.train_batches(config, dataset, strategy, step)
    eval_datasets = wiring.eval_datasets(config, dataset)
    accuracies = {role: evaluation.accuracy_function(network)
                  for role, network in model.classifiers.items()}
    board = tensorboard.Summaries(
        os.path.join(config.model_dir, "tensorboard") if writer else None, model,
        dataset.class_names, step)
    progress = Progress(config.train_steps, step)
    watch = SignalWatch(config)
    stopping = False
    if probes and step == 0:
        probes.record(0, board)

    while step < config.train_steps and not stopping:
        feed = batches
        if step and step % config.summary_steps == 0:
            next_batch, feed = wiring.look_ahead(strategy, batches, stride)
            board.costly(step, next_batch, clock.examples_per_second(config))

        clock.start_step()
        logs = {name: float(value) for name, value in train_function(feed).items()}
        reset_metrics()     # logs are of one execution, not means since the start
        step += stride
        watch.check(step, logs, saved)
        journal.add(stride, {name: logs[name] for name in logs if tensorboard.is_loss(name)})
        board.scalars(step, logs)
        progress.update(step, logs, clock.examples_per_second(config))
        clock.end_step(stride)

        last = step == config.train_steps
        if last or step % config.eval_steps == 0:
            figures = evaluation.evaluate(accuracies, eval_datasets)
            journal.evaluated(step, figures)
            board.scalars(step, figures, "evaluation")
            progress.say(f"step {step}: " + evaluation.line(figures))
        if probes and (last or step % config.eval_steps == 0 or probes.due(step)):
            probes.record(step, board)
        due = step % config.checkpoint_steps == 0
        # Several workers save together, so they stop at a step where all of them save.
        stopping = stop.asked and (due or config.strategy != "multi_worker")
        if last or due or stopping:
            clock.note()
            if writer:
                run_folder.note_steps(config)
            saved.save(step)
    progress.close()
    board.close()
    return step


def write_outcome(config, model, class_names, results, probes=None):
    """Writes the student, the figures and, when all else is there, results.json."""
    folder = config.model_dir
    export.export(model.classifiers["student"], folder)
    storage.write_json(os.path.join(folder, run_folder.CLASSES), list(class_names))
    if config.plots:
        with storage.partial(os.path.join(folder, "curves.png")) as temporary:
            tensorboard.curves(temporary, results["evaluations"])
    if config.plots and probes:
        with storage.partial(os.path.join(folder, "targets.png")) as temporary:
            with open(temporary, "wb") as file:
                file.write(probes.figure())
    if config.plots and config.dataset == "two_moons":
        from mpl_tf.two_moons import study    # an entry point of its own, above this module
        study.write_figures(config, folder)
    storage.write_json(os.path.join(folder, run_folder.RESULTS), results)


class SignalWatch:
    """Looks at what each execution logs: stops at a loss that is not finite, warns of no signal."""

    def __init__(self, config):
        self._stride = config.steps_per_execution
        self._warn = config.has_teacher and config.meta_weight != 0

    def check(self, step, logs, saved):
        """Raises FloatingPointError, in one line, naming the step."""
        steps = f"step {step}" if self._stride == 1 else f"steps {step - self._stride + 1}-{step}"
        for name, value in logs.items():
            if tensorboard.is_loss(name) and not math.isfinite(value):
                left = (f"the checkpoint of step {saved.step} stays" if saved.step is not None
                        else "there is no checkpoint yet")
                raise FloatingPointError(
                    f"{name} is {value} in {steps}: training stopped, {left}; start anew with a "
                    "lower learning rate or a longer warm-up")
        norm = logs.get("meta_gradient_norm", 1.0)
        if self._warn and not (norm and math.isfinite(norm)):
            self._warn = False
            log.warning("%s: the meta gradient's norm is %s, so the teacher gets no feedback from "
                        "the student (said once)", steps, norm)


class Clock:
    """Keeps a journal's times: of the whole run over all processes, and of its steps alone."""

    def __init__(self, journal, start):
        self._journal, self._start = journal, start
        self._before = journal.wall_seconds
        self._step_start, self._first = None, True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.note()

    def note(self):
        """Brings the journal's wall time up to date."""
        self._journal.wall_seconds = self._before + time.monotonic() - self._start

    def start_step(self):
        """Begins an execution of steps."""
        self._step_start = time.monotonic()

    def end_step(self, steps):
        """Ends it; a process's first, which compiles, is not counted."""
        if not self._first:
            self._journal.timed_steps += steps
            self._journal.timed_seconds += time.monotonic() - self._step_start
        self._first = False

    def examples_per_second(self, config):
        """The mean so far, None before the second execution."""
        return evaluation.rate(config, self._journal.timed_steps, self._journal.timed_seconds)


class StopRequest:
    """While it is open, SIGTERM and Ctrl-C ask for a stop between steps; a second Ctrl-C aborts."""

    def __init__(self):
        self.asked, self._previous = False, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():   # Python's rule for signals
            self._previous = {number: signal.signal(number, self._ask)
                              for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step; Ctrl-C again aborts without saving", file=sys.stderr,
              flush=True)

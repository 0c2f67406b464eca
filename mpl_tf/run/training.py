"""A run, from its Config to results.json: its plan, its loop, and the files of its outcome."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from typing import Any, Callable, Dict, Optional

import tensorflow as tf

from mpl_tf import datasets
from mpl_tf.common import command, keras_seam, pictures, storage
from mpl_tf.common.stop_request import StopRequest
from mpl_tf.config import FIELDS, Config
from mpl_tf.run import (checkpoints, composing, curves, devices, evaluation, export, kept_networks,
                        predicted, restoring, run_folder, same_data, serving, tensorboard, watch, wiring,
                        workers)
from mpl_tf.run.probes import Probes
from mpl_tf.run.progress import Progress

log = logging.getLogger("mpl_tf")


def run(config: Config, figures: Optional[Callable[[Config, str], None]] = None,
        report: Optional[Callable[..., None]] = None,
        observe: Optional[Callable[[int, Dict[str, float]], None]] = None) -> Dict[str, Any]:
    """Trains as `config` says, from the last checkpoint in its model_dir on, and prints progress.

    Args:
      config: the run's Config.
      figures: a function (config, folder) that draws further figures of a finished run, or None.
      report: a function (config, outcome) that writes a report of a finished run, see Outcome, or None.
      observe: a function (step, accuracies as of evaluation.evaluate) that is called after every
        evaluation, or None. What it raises ends the run, without a checkpoint of that step.

    Returns:
      The results, as in results.json.

    Raises:
      command.Stopped: if SIGTERM or Ctrl-C ended the run early. A checkpoint has been saved, and
        the same call continues the run.
      ValueError, FileNotFoundError: in one line, for bad input, before any step is taken.
      FloatingPointError: if a loss or a weight is not finite. The last checkpoint is kept.
      ConnectionError: in one line, if another worker has ended or cannot be reached.
    """
    if not devices.is_chief(config):
        results = run_folder.finished(config)
        if results is None:
            return _train(config, writer=False)
        unseen = same_data.look(config)
    else:
        with run_folder.open_folder(config) as before:
            results = run_folder.finished(config)
            if results is None and run_folder.is_trained(config):       # its exports alone are missing
                return _train(config, True)
            if results is None:
                return _train(config, True, figures, report, observe)
            unseen = same_data.look(config)
            if unseen:
                run_folder.put_back(config.model_dir, before)
    print(f"{config.model_dir} is finished, {config.train_steps} steps: nothing to do (a larger "
          f"--train_steps continues it)\n" + f"its data were not looked at: {command.shown(unseen)}\n" * bool(
              unseen) + evaluation.table(results), flush=True)
    return results


def _train(config, writer, figures=None, report=None, observe=None):
    start = time.monotonic()
    strategy = devices.get_strategy(config.strategy, config.tpu)
    agreement = workers.Agreement(strategy)
    with agreement.losses_in_one_line(lambda: checkpoints.left(_checkpoints_of(config))):
        return _train_on(strategy, agreement, config, writer, figures, report, observe, start)


def _checkpoints_of(config):
    return os.path.join(config.model_dir, run_folder.CHECKPOINTS)


def _train_on(strategy, agreement, config, writer, figures, report, observe, start):
    path = checkpoints.latest(_checkpoints_of(config))
    if path:
        restoring.check_keras(path)
    kept_networks.check(config, run_folder.has_checkpoint(config.model_dir))
    dataset = wiring.load_dataset(config)
    with strategy.scope():
        model = wiring.build_model(config, dataset)
        data = {**datasets.describe(dataset), **wiring.describe_fixed_teacher(config, lambda: model.teacher)}
        if writer:
            run_folder.check_data(config.model_dir, data)
        saved = checkpoints.Checkpoints(_checkpoints_of(config), model, config.seed,
                                        config.keep_checkpoints, writer)
        start_step = saved.restore()
        agreement.check_start(start_step)
    print(plan(config, strategy, dataset, model, start_step), flush=True)
    probes = None
    if config.method == "reduced_mpl":
        probes = Probes(dataset, model.teacher, saved.journal, config.train_steps,
                        config.steps_per_execution, config.plots)

    with watch.Clock(saved.journal, start) as clock, StopRequest(
            "stopping after this step; Ctrl-C again aborts without saving") as stop, \
            wiring.records_in_one_line(dataset), model.errors_in_one_line():
        step, views = loop(config, strategy, dataset, model, saved, start_step, writer, clock, stop,
                           agreement, probes, observe)
    if step < config.train_steps:
        agreement.gather(0)     # nobody leaves before the first has saved
        where = " on every worker" if agreement.several else ""
        raise command.Stopped(f"stopped after step {step} of {config.train_steps} and saved: the "
                              f"same command{where} continues", stop.asked)
    results = evaluation.results(config, saved.journal, dataset.class_names)
    skipped = sum(len(images.skipped) for images in wiring.images_of(dataset))
    if skipped:
        print(f"{skipped} records could not be used and were skipped: see the log above",
              flush=True)
    classifiers = dict(model.classifiers)
    if agreement.several:       # all take part in reading their averages, and the first writes copies
        copies = wiring.build_networks(config, dataset)
        for role, network in classifiers.items():
            copies[role].set_weights(network.get_weights())
            classifiers[role] = copies[role]
    if writer:
        write_outcome(config, Outcome(results, dataset, classifiers, views), probes, figures, report)
        written = sorted(name for name in os.listdir(config.model_dir) if name.endswith(
            (".png", ".html", ".csv", ".npz", ".keras")) or name == run_folder.SAVED_MODEL)
        print(f"{evaluation.table(results)}\nin {config.model_dir}: " + ", ".join([
            run_folder.RESULTS, *written, "TensorBoard's events.*"]), flush=True)
    agreement.gather(0)     # nobody leaves before the first has written
    return results


def plan(config, strategy, dataset, model, start_step):
    """Says what the run will do, in lines for a terminal."""
    counts = wiring.class_counts(dataset.labeled, dataset.num_classes)
    by_class = (f"{counts[0]} of each class" if len(set(counts)) == 1
                else "by class " + " ".join(map(str, counts)))
    if config.labeled_sampling == "balanced" and "labeled_sampling" not in config.unused():
        by_class += ", each class drawn equally often"
    holdout = f", {len(dataset.holdout.labels)} held out" if dataset.holdout else ""
    test = f"{len(dataset.test.labels)} test" if dataset.test else "no test data"
    method = config.method + (f", {config.objective}" if config.facts.objective else "")
    networks = ", ".join(
        f"{role} {getattr(config, f'{role}_network')} ({network.count_params():,} weights)"
        for role, network in model.networks.items())
    if config.needs_fixed_teacher:
        networks += f", fixed teacher {config.fixed_teacher} ({model.teacher.count_params():,})"
    batch = f"{config.batch_size} labeled"
    if config.needs_unlabeled:
        batch += f" + {config.unlabeled_batch_size} unlabeled"
    steps = f"{start_step} to {config.train_steps}" if start_step else f"{config.train_steps}"
    size = getattr(model, "microbatch_size", None)
    norm = size and any(isinstance(layer, tf.keras.layers.BatchNormalization) for network in
                        model.networks.values() for layer in keras_seam.layers_of(network))
    slices = [f"slices     {size} labeled and {size} unlabeled examples in memory at a time"
              + f"; batch norm's statistics are those of {size}, its averages move once a slice" * bool(norm)
              ] if size else []
    return "\n".join([
        f"method     {method}",
        f"device     {devices.describe(strategy)}, {config.precision}",
        f"data       {dataset.name}: {len(dataset.labeled.labels)} labeled ({by_class}), "
        f"{len(dataset.unlabeled)} unlabeled, {test}{holdout}",
        f"networks   {networks}",
        f"steps      {steps}, {batch} examples each, seed {config.seed}",
        *slices,
        f"model_dir  {config.model_dir}"])


def loop(config, strategy, dataset, model, saved, step, writer, clock, stop, agreement,
         probes=None, observe=None):
    """Takes the steps after the first `step` ones, and evaluates and saves at their intervals.

    Returns:
      (step, views): the number of steps taken in all, which is below config.train_steps if `stop`, of
      this or of another worker, was asked; its number is then in stop.asked. And the views that
      TensorBoard was shown last, see tensorboard.Summaries.
    """
    if step == config.train_steps:
        return step, None
    stride = config.steps_per_execution
    journal = saved.journal
    with strategy.scope():
        model.check_layers(tf.TensorSpec((None, *dataset.unlabeled.shape[1:]), tf.float32))
    train_function, reset_metrics = keras_seam.step_function(model), tf.function(model.reset_metrics)
    batches = wiring.train_batches(config, dataset, strategy, step)
    eval_datasets = wiring.eval_datasets(config, dataset)
    accuracies = {role: evaluation.accuracy_function(network)
                  for role, network in model.classifiers.items()}
    board = tensorboard.Summaries(
        tensorboard.folder_of(config.model_dir) if writer else None, model, dataset.class_names, step)
    progress = Progress(config.train_steps, step)
    signal_watch = watch.SignalWatch(config)
    stopping = 0
    if step == 0:
        board.flags({name: getattr(config, name) for name in FIELDS}, config.unused())
    if probes and step == 0:
        probes.record(0, board)

    while step < config.train_steps and not stopping:
        feed = batches
        if step and step % config.summary_steps == 0:
            with progress.first_traces("summary"):
                next_batch, feed = wiring.look_ahead(strategy, batches, stride)
                journal.diagnosed(step, board.costly(
                    step, next_batch, clock.examples_per_second(config)))

        clock.start_step()
        logs = {name: float(value) for name, value in train_function(feed).items()}
        if "student_loss" in logs:
            del logs["loss"]        # the same number, for Keras's callbacks
        reset_metrics()     # so that logs are of one execution, not means since the start
        step += stride
        signal_watch.check(step, logs, saved)
        journal.add(stride, {name: logs[name] for name in logs if curves.is_loss(name)})
        board.scalars(step, logs)
        progress.update(step, logs, clock.examples_per_second(config))
        clock.end_step(stride)

        last = step == config.train_steps
        if last or step % config.eval_steps == 0:
            with progress.first_traces("evaluation"):
                figures, by_class, matrices = evaluation.evaluate(accuracies, eval_datasets)
            journal.evaluated(step, figures, by_class)
            board.accuracies(step, figures)
            if last:
                board.classes(step, by_class)
                board.confusion(step, matrices)
            progress.say(f"step {step}: " + evaluation.line(figures))
            if observe:
                observe(step, figures)
        if probes and (last or step % config.eval_steps == 0 or probes.due(step)):
            probes.record(step, board)
        due = step % config.checkpoint_steps == 0
        stopping = max(agreement.gather(stop.asked))    # at one step, as workers save together
        if last or due or stopping:
            clock.note()
            if writer:
                run_folder.note_steps(config)
            saved.save(step)
    stop.asked = stop.asked or stopping
    progress.close()
    board.close()
    return step, board.views


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run ends with.

    Attributes:
      results: as in results.json. dataset: the datasets.Dataset.
      classifiers: {"student" and, where one takes images, "teacher": network}.
      views: (weak, strong) views of some unlabeled images, arrays in [-1, 1], or one of them, or None.
      predicted: the predicted.Predicted of the test images, if there are any. functions: {role: logits_function}.
    """
    results: Dict[str, Any]
    dataset: datasets.Dataset
    classifiers: Dict[str, tf.keras.Model]
    views: Optional[Any] = None
    predicted: Optional[predicted.Predicted] = None
    functions: Dict[str, Any] = dataclasses.field(default_factory=dict)


def write_outcome(config, outcome, probes=None, figures=None, report=None):
    """Writes the student, the figures, the report and, after all else, results.json."""
    folder, dataset, results = config.model_dir, outcome.dataset, outcome.results
    student, class_names = outcome.classifiers["student"], dataset.class_names
    found, functions = None, {}
    if dataset.test:
        found, functions = predicted.measure(outcome.classifiers, dataset.test, config.train_steps,
                                             config.eval_batch_size)
        predicted.write(folder, found)
    if dataset.made:
        composing.write(folder, dataset.made, lambda path: export.save(student, path))
    if config.export:
        whole = composing.of_run(dataset.made, student) if dataset.made else student
        export.export(whole, folder, class_names, serving.view_of(config)["crop"])
    else:
        export.remove(folder)       # what a shorter run has left is another network
        if not dataset.made:
            export.save_whole(student, folder)
    storage.write_json(os.path.join(folder, run_folder.CLASSES), list(class_names))
    if config.plots:
        pictures.write(os.path.join(folder, "curves.png"),
                       lambda file: curves.curves(file, results["evaluations"]))
    if config.plots and probes:
        pictures.write(os.path.join(folder, "targets.png"),
                       lambda file: file.write(probes.figure()))
    if figures:
        with pictures.or_warn("the figures of this data set"):
            figures(config, folder)
    if report:
        try:
            report(config, dataclasses.replace(outcome, predicted=found, functions=functions))
        except Exception as error:      # a page that fails ends no run
            log.warning("the report could not be written (%s: %s); the run is complete, and `python -m "
                        "mpl_tf.report` tries it again", type(error).__name__,
                        " ".join(command.readable(error).split())[:200])
    storage.write_json(os.path.join(folder, run_folder.RESULTS), results)

"""Measures a real run beside its own step: how much of the step's rate the loop of a run reaches, and why.

Four turns, again and again, each of the same number of steps, and medians over the rounds:

    step alone          the run's train function on one batch that lies in memory
    run                 the loop of mpl_tf.train itself, its pipeline, logs, bar and event file included
    input alone         batches are taken from the pipeline, and no step
    step beside input   batches are taken from the pipeline and thrown away, and the step has its batch
                        in memory; `waiting for a batch` is how long the taking takes

The loop is mpl_tf.run.training.loop with a new run's folder. `between steps` is its time outside of the
train function: logs, bar and event file. Evaluations, summaries and checkpoints, which come every some
hundred steps, are left out. The images are CIFAR-10's, or are drawn where no --data_dir
is given. CPU seconds are those of all threads of the process.
"""

import statistics
import tempfile
import time

from mpl_tf.common import command

TURN = 1.5                  # seconds that a turn takes, within these numbers of steps
FEWEST, MOST = 5, 100
SETTLE = 0.3                # seconds, in which pipelines fill their buffers before a turn
DRAWN, LABELED = 5000, 1000     # images that are drawn, and of these labeled ones
ALONE, RUN, INPUT, BESIDE = "step alone", "run", "input alone", "step beside input"
WAIT, BETWEEN = "waiting for a batch", "between steps"


def config_of(chosen, folder):
    """The Config of a run of the command line's settings in `folder`, which itself would never evaluate.

    Raises:
      ValueError: in one line, for settings that do not fit CIFAR-10 or each other.
    """
    from mpl_tf import config
    if chosen.image_size != 32:
        raise ValueError(f"--image_size={chosen.image_size} with --what=run: expected 32, the size of CIFAR-10's "
                         "images; leave it out")
    never = 10 ** 6
    return config.of(
        model_dir=folder, dataset="cifar10", data_dir=chosen.data_dir or "", method="mpl",
        objective=chosen.objective.split("_")[0], uda_joint_views="apart" not in chosen.objective,
        student_network=chosen.network, teacher_network=chosen.network,
        batch_size=chosen.batch_size, unlabeled_batch_size=chosen.batch_size, train_steps=never,
        eval_steps=never, checkpoint_steps=never, summary_steps=never,
        precision="float32" if chosen.precision == "both" else chosen.precision)


def drawn_dataset():
    """A data set like CIFAR-10 of images that are drawn, as `datasets.load` would return it."""
    import numpy as np
    from mpl_tf import datasets
    from mpl_tf.benchmark import inputs
    images, labels = inputs.smooth_images(DRAWN, 32, 32), np.arange(DRAWN) % 10
    part = lambda count: datasets.Split(images[:count], labels[:count])
    return datasets.Dataset("drawn", 10, tuple("abcdefghij"), part(LABELED), images, part(100), flip=True)


class TimedFunction:
    """A train function that sums up its (wall, CPU) seconds in `spent`."""

    def __init__(self, function):
        self._function, self.spent = function, (0.0, 0.0)

    def __call__(self, batches):
        began = _now()
        logs = self._function(batches)
        self.spent = tuple(sum_ + now - then for sum_, now, then in zip(self.spent, _now(), began))
        return logs


class Turns:
    """Takes the other turns between those of a run's loop, which calls `due` after each step.

    It stands where a run of ReducedMPL has its probes.Probes.

    Args:
      make_batches: a function () -> an iterator over the run's batches.
      function: the run's train function, a TimedFunction.
      rounds: how many are measured; one more is not, in which things happen for the first time.
      stop: the run's StopRequest, which is asked when all is measured.

    Attributes:
      steps: of a turn.
      by_round: [{turn: (wall, CPU) seconds of a step}], with WAIT and BETWEEN, which are parts of turns.
      complete: whether all rounds were measured; else a signal ended the loop.
    """

    def __init__(self, make_batches, function, rounds, stop):
        self._make_batches, self._function = make_batches, function
        self._rounds, self._stop = rounds, stop
        self._memory = self._beside = self._last = self._began = None
        self.steps, self.by_round, self.complete = FEWEST, [], False

    def due(self, step):
        """Whether the loop's turn ends after `step`."""
        return step == self._last

    def record(self, step, board):
        """Ends the loop's turn, if one was, takes all others, and begins the loop's next."""
        if self._began is None:
            self._prepare()
        else:
            found = {RUN: self._since(self._began)}
            found[BETWEEN] = tuple(whole - inside / self.steps for whole, inside in zip(
                found[RUN], self._function.spent))
            found.update({ALONE: self._alone(), INPUT: self._input()})
            found[BESIDE], found[WAIT] = self._stepping_beside_input()
            self.by_round.append(found)
        if len(self.by_round) > self._rounds:
            del self.by_round[0]        # in which the loop's own functions were traced
            self._stop.asked, self.complete = 1, True
        time.sleep(SETTLE)
        self._function.spent = (0.0, 0.0)
        self._last, self._began = step + self.steps, _now()

    def _take_step(self, batches):
        for value in self._function(batches).values():
            float(value)

    def _prepare(self):
        import tensorflow as tf
        self._beside = self._make_batches()
        self._memory = iter(tf.data.Dataset.from_tensors(next(self._beside)).repeat())
        self._take_step(self._memory)       # traces
        seconds = []
        for _ in range(FEWEST):
            began = _now()
            self._take_step(self._memory)
            seconds.append(_now()[0] - began[0])
        self.steps = max(FEWEST, min(MOST, round(TURN / min(seconds))))

    def _since(self, began):
        return tuple((now - then) / self.steps for now, then in zip(_now(), began))

    def _alone(self):
        time.sleep(SETTLE)
        began = _now()
        for _ in range(self.steps):
            self._take_step(self._memory)
        return self._since(began)

    def _input(self):
        batches = self._make_batches()      # new, as it would else fill what it was found to need
        until = _now()[0] + SETTLE
        while _now()[0] < until:
            next(batches)
        began = _now()
        for _ in range(self.steps):
            next(batches)
        return self._since(began)

    def _stepping_beside_input(self):
        time.sleep(SETTLE)
        began, take = _now(), TimedFunction(next)
        for _ in range(self.steps):
            take(self._beside)
            self._take_step(self._memory)
        return self._since(began), tuple(spent / self.steps for spent in take.spent)


def _now():
    return time.perf_counter(), time.process_time()


def measure(chosen, folder):
    """Takes the turns of a run in `folder`.

    Returns:
      (config, Turns) of it.
    """
    from mpl_tf.common import keras_seam
    from mpl_tf.common.stop_request import StopRequest
    from mpl_tf.run import checkpoints, devices, training, watch, wiring, workers
    config = config_of(chosen, folder)
    devices.make_deterministic(config.seed)
    strategy = devices.get_strategy(config.strategy)
    dataset = wiring.load_dataset(config) if chosen.data_dir else drawn_dataset()
    model = wiring.build_model(config, dataset)
    saved = checkpoints.Checkpoints(folder, model, config.seed)
    # Both Keras keep a train function that is there, so the loop takes this one.
    model.train_function = function = TimedFunction(keras_seam.step_function(model))
    make_batches = lambda: wiring.train_batches(config, dataset, strategy)
    with watch.Clock(saved.journal, time.monotonic()) as clock, StopRequest("stopping") as stop:
        turns = Turns(make_batches, function, chosen.rounds, stop)
        training.loop(config, strategy, dataset, model, saved, 0, True, clock, stop,
                      workers.Agreement(strategy), turns)
    if not turns.complete:
        raise command.Stopped(f"stopped before {chosen.rounds} rounds were measured; nothing is kept", stop.asked)
    return config, turns


def medians(by_round):
    """{turn: (wall, CPU) seconds of a step}, each the median over the rounds."""
    return {turn: tuple(statistics.median(found[turn][i] for found in by_round) for i in range(2))
            for turn in by_round[0]}


def ratio(by_round, kind=0):
    """The loop's rate in the step's own: its quartiles over the rounds. kind 1: by CPU seconds."""
    ratios = [found[ALONE][kind] / found[RUN][kind] for found in by_round]
    return statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else ratios * 3


def reading(middle, cores):
    """In plain words: what waits for what.

    Args:
      middle: as of `medians`. cores: how many there are.
    """
    run, (alone, alone_cpu), cpu = middle[RUN][0], middle[ALONE], middle[INPUT][1]
    percent = lambda part: f"{100 * middle[part][0] / run:.1f} %"
    ready = middle[WAIT][0] < 0.01 * run
    slowed = max(1 - (alone + middle[WAIT][0] + middle[BETWEEN][0]) / run, 0.0)
    return (f"The step waits for its batch at most {percent(WAIT)} of the run's time, the loop's Python between "
            f"steps takes {percent(BETWEEN)}, the step as fast as alone {100 * min(alone / run, 1):.1f} %, and "
            f"{100 * slowed:.1f} % are lost to what runs beside the step"
            + ("; the next batch is made in time" if ready else "")
            + f". Alone it keeps {alone_cpu / alone:.2f} of {cores} cores busy: with none idle, the input's "
            f"{1000 * cpu:.1f} CPU ms would leave {alone_cpu / (alone_cpu + cpu):.3f} of its rate.")


def measure_run(chosen):
    """Prints the table of `--what=run`; returns `medians` of it."""
    import tensorflow as tf
    from mpl_tf.common.cores import cores
    with tempfile.TemporaryDirectory() as folder:
        config, turns = measure(chosen, folder)
    examples = config.batch_size + config.unlabeled_batch_size
    middle = medians(turns.by_round)
    images = "CIFAR-10" if chosen.data_dir else "drawn images"
    print(f"{chosen.network}, {chosen.objective}, {config.precision}, batch {config.batch_size} + "
          f"{config.unlabeled_batch_size}, {images}, {len(turns.by_round)} rounds of "
          f"{turns.steps} steps, TensorFlow {tf.__version__}, {cores()} cores\n"
          f"{'turn':20}{'examples/s':>12}{'wall ms':>10}{'CPU ms':>10}   (a step)")
    for turn in (ALONE, RUN, INPUT, BESIDE, WAIT, BETWEEN):
        wall, cpu = middle[turn]
        rate = "" if turn in (WAIT, BETWEEN) else f"{examples / wall:,.0f}"
        print(f"{turn:20}{rate:>12}{1000 * wall:10.2f}{1000 * cpu:10.2f}")
    wall, cpu = ("{1:.3f} (quartiles {0:.3f} to {2:.3f})".format(*ratio(turns.by_round, kind)) for kind in (0, 1))
    print(f"run / step alone: {wall} of its rate; by CPU seconds {cpu}\n"
          f"input CPU s a step / step CPU s a step: {middle[INPUT][1] / middle[ALONE][1]:.3f}; the run's CPU is "
          f"{middle[RUN][1] / (middle[ALONE][1] + middle[INPUT][1]):.3f} of the sum of both\n"
          + reading(middle, cores()))
    return middle

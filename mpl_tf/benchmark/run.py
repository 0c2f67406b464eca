"""Measures a real run beside its own step: how much of the step's rate the loop of a run reaches, and why.

Four turns, again and again, each of the same number of steps, and medians over the rounds:

    step alone          the run's train function on one batch that lies in memory
    run                 the loop of mpl_tf.train itself, its pipeline, logs, bar and event file included
    input alone         batches are taken from the pipeline, and no step
    step beside input   batches are taken from the pipeline and thrown away, and the step has its batch
                        in memory: so long does a step wait for its batch

The loop is mpl_tf.run.training.loop with a new run's folder; evaluations, summaries and checkpoints, which
come every some hundred steps, are left out. The images are CIFAR-10's, or are drawn where no --data_dir
is given. CPU seconds are those of all threads of the process.
"""

import statistics
import tempfile
import time

import mpl_tf  # noqa: F401

TURN = 4.0                  # seconds that a turn takes, where that is
FEWEST, MOST = 5, 200       # steps
SETTLE = 0.3                # seconds, in which pipelines fill their buffers before a turn
DRAWN, LABELED = 5000, 1000     # images that are drawn, and of these labeled ones
ALONE, RUN, INPUT, BESIDE = "step alone", "run", "input alone", "step beside input"


def config_of(chosen, folder):
    """The Config of a run of the command line's settings in `folder`, which itself would never evaluate."""
    from mpl_tf import config
    never = 10 ** 6
    return config.of(
        model_dir=folder, dataset="cifar10", data_dir=chosen.data_dir or "", method="mpl",
        objective=chosen.objective, student_network=chosen.network, teacher_network=chosen.network,
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


class Turns:
    """Takes the other turns between those of a run's loop, which calls `due` after each step.

    It stands where a run of ReducedMPL has its probes.Probes.

    Args:
      make_batches: a function () -> an iterator over the run's batches.
      take_step: a function of an iterator that takes a training step, and waits for it.
      rounds: how many are measured; one more is not, in which things happen for the first time.
      stop: the run's StopRequest, which is asked when all is measured.

    Attributes:
      steps: of a turn.
      by_round: [{turn: (wall, CPU) seconds of a step}], with the turn "wait", of which wall alone counts.
    """

    def __init__(self, make_batches, take_step, rounds, stop):
        self._make_batches, self._take_step = make_batches, take_step
        self._rounds, self._stop = rounds, stop
        self._memory = self._beside = self._last = self._began = None
        self.steps, self.by_round = FEWEST, []

    def due(self, step):
        """Whether the loop's turn ends after `step`."""
        return step == self._last

    def record(self, step, board):
        """Ends the loop's turn, if one was, takes all others, and begins the loop's next."""
        if self._began is None:
            self._prepare()
        else:
            found = {RUN: self._since(self._began), ALONE: self._alone(), INPUT: self._input()}
            found[BESIDE], found["wait"] = self._stepping_beside_input()
            self.by_round.append(found)
        if len(self.by_round) > self._rounds:
            del self.by_round[0]        # in which the loop's own functions were traced
            self._stop.asked = 1
        time.sleep(SETTLE)
        self._last, self._began = step + self.steps, _now()

    def _prepare(self):
        import tensorflow as tf
        self._beside = self._make_batches()
        self._memory = iter(tf.data.Dataset.from_tensors(next(self._beside)).repeat())
        self._take_step(self._memory)       # traces
        self._began = _now()
        for _ in range(FEWEST):
            self._take_step(self._memory)
        self.steps = max(FEWEST, min(MOST, round(TURN / self._since(self._began)[0])))

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
        until = time.perf_counter() + SETTLE
        while time.perf_counter() < until:
            next(batches)
        began = _now()
        for _ in range(self.steps):
            next(batches)
        return self._since(began)

    def _stepping_beside_input(self):
        time.sleep(SETTLE)
        waited, began = 0.0, _now()
        for _ in range(self.steps):
            asked = time.perf_counter()
            next(self._beside)
            waited += time.perf_counter() - asked
            self._take_step(self._memory)
        return self._since(began), (waited / self.steps, 0.0)


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

    def take_step(batches):
        return [float(value) for value in keras_seam.step_function(model)(batches).values()]

    with watch.Clock(saved.journal, time.monotonic()) as clock, StopRequest("stopping") as stop:
        turns = Turns(lambda: wiring.train_batches(config, dataset, strategy), take_step,
                      chosen.rounds, stop)
        training.loop(config, strategy, dataset, model, saved, 0, True, clock, stop,
                      workers.Agreement(strategy), turns)
    return config, turns


def medians(by_round):
    """{turn: (wall, CPU) seconds of a step}, each the median over the rounds."""
    return {turn: tuple(statistics.median(found[turn][i] for found in by_round) for i in range(2))
            for turn in by_round[0]}


def ratio(by_round, kind=0):
    """The loop's rate in the step's own, the median over the rounds; kind 1: by CPU seconds."""
    return statistics.median(found[ALONE][kind] / found[RUN][kind] for found in by_round)


def reading(middle, cores):
    """One sentence: what waits for what. `middle` as of `medians`."""
    (run, run_cpu), (alone, alone_cpu), (_, cpu), (beside, _), (wait, _) = (
        middle[turn] for turn in (RUN, ALONE, INPUT, BESIDE, "wait"))
    share = lambda seconds: f"{100 * seconds / run:.1f} %"
    busy = alone_cpu / alone
    return (f"A step of the run takes {1000 * run:.1f} ms, {1000 * (run - alone):+.1f} ms beside the step alone: it "
            f"waits for its batch {share(wait)} of the time; the step itself is slower while the next batch is made, "
            f"by {share(beside - wait - alone)}; logs, bar and event file take {share(run - beside)}. The step alone "
            f"keeps {busy:.2f} of {cores} cores busy; if it left none idle, the input's {1000 * cpu:.1f} CPU ms would "
            f"leave the run {alone_cpu / (alone_cpu + cpu):.3f} of the step's rate.")


def measure_run(chosen):
    """Prints the table of `--what=run`; returns `medians` of it."""
    import tensorflow as tf
    from mpl_tf.common.cores import cores
    with tempfile.TemporaryDirectory() as folder:
        config, turns = measure(chosen, folder)
    examples = config.batch_size + config.unlabeled_batch_size
    middle = medians(turns.by_round)
    print(f"{chosen.network}, {chosen.objective}, {config.precision}, batch {config.batch_size} + "
          f"{config.unlabeled_batch_size}, {'CIFAR-10' if chosen.data_dir else 'drawn images'}, {len(turns.by_round)} "
          f"rounds of {turns.steps} steps, TensorFlow {tf.__version__}, {cores()} cores\n"
          f"{'turn':20}{'examples/s':>12}{'wall ms':>10}{'CPU ms':>10}   (a step)")
    for turn in (ALONE, RUN, INPUT, BESIDE):
        wall, cpu = middle[turn]
        print(f"{turn:20}{examples / wall:12,.0f}{1000 * wall:10.2f}{1000 * cpu:10.2f}")
    print(f"run / step alone: {ratio(turns.by_round):.3f} of its rate; CPU {ratio(turns.by_round, 1):.3f}\n"
          f"input CPU s a step / step CPU s a step: {middle[INPUT][1] / middle[ALONE][1]:.3f}; the run's CPU is "
          f"{middle[RUN][1] / (middle[ALONE][1] + middle[INPUT][1]):.3f} of the sum of both\n"
          + reading(middle, cores()))
    return middle

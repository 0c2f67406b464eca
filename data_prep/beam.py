"""Runs data_prep.predict, select and features on Apache Beam, for many machines (Section 4.2).

    pip install '.[beam]'       # or '.[dask]', with Dask to run it on
    python -m data_prep.beam predict FLAGS [-- BEAM OPTIONS]
    python -m data_prep.beam select FLAGS [-- BEAM OPTIONS]
    python -m data_prep.beam features FLAGS [-- BEAM OPTIONS]

FLAGS are those of `python -m data_prep.predict`, `python -m data_prep.select` and `python -m
data_prep.features`, and the output is the same, byte for byte. BEAM OPTIONS choose the runner, for
example `--runner=FlinkRunner`, or `--runner=DaskRunner --dask_client_address=HOST:8786`; without them
Beam's local runner does all the work on this machine. All workers must see the folders at the same paths, and need this project and
its requirements. Beam distributes the files, repeats those that fail, and shows progress in the way
of its runner; what is printed at the end is counted in the files that the workers wrote. An
interrupted predict or features continues with the files that are missing.
"""

import dataclasses
import functools
import os
import re
import sys
import threading

import numpy as np

from data_prep import command, features, predict, select
from mpl_tf.datasets import feature_files, prediction_files
from mpl_tf.features import computing
from mpl_tf.reduced import forward, labelling, selecting
from mpl_tf.run.serving import Served

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.runner import create_runner
except ImportError:
    if __name__ != "__main__":
        raise
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(print(__doc__))
    sys.exit("error: Apache Beam is not installed: pip install '.[beam]'")

SPACE = "mpl_tf"        # Beam's namespace of the counters, which some runners show
RUNNERS = {"DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}     # Beam wants it whole
CLUSTERS = ("asyncio", "concurrent", "distributed", "grpc")     # whose errors are no fault of ours
_LOADING = threading.Lock()


def run(arguments):
    """Predicts or selects as the command line says."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    end = arguments.index("--") if "--" in arguments else len(arguments)
    stages = {"predict": run_predict, "select": run_select, "features": run_features}
    if arguments[0] not in stages:
        raise ValueError(f"{arguments[0]!r}: expected predict, select or features, then their flags, then -- "
                         "and Beam's options")
    return stages[arguments[0]](arguments[1:end], options_of(arguments[end + 1:]))


def options_of(arguments):
    """Makes Beam's PipelineOptions of their command line; its runner is imported.

    Raises:
      ValueError: in one line: the runner is not known, or what it needs is not installed.
    """
    options = PipelineOptions(arguments, save_main_session=False)
    standard = options.view_as(StandardOptions)
    standard.runner = RUNNERS.get(standard.runner, standard.runner)
    try:
        create_runner(standard.runner or StandardOptions.DEFAULT_RUNNER)
    except ImportError as error:
        raise ValueError(f"--runner={standard.runner} cannot be imported ({error}): install what it "
                         "needs, for DaskRunner with pip install '.[dask]'") from error
    return options


def run_predict(arguments, options):
    """Runs data_prep.predict with its command line `arguments` and Beam's `options`."""
    flags = predict.parse(arguments)
    if flags.num_shards != 1:
        raise ValueError(f"--num_shards={flags.num_shards}: Beam distributes the files itself; "
                         "leave out --num_shards and --shard_index")
    model_dir, output_dir = map(os.path.abspath, (flags.model_dir, flags.output_dir))
    sources = [source if source == "digits" else os.path.abspath(source)
               for source in flags.source_dir]
    plan, tasks, todo = labelling.begin(model_dir, sources, output_dir, flags.splits)
    if todo:
        work = functools.partial(predict_file, plan=plan, model_dir=model_dir, folder=output_dir,
                                 batch_size=flags.batch_size, skip_corrupt=flags.skip_corrupt)
        execute(lambda pipeline: (
            pipeline | beam.Create(todo) | beam.Reshuffle() | "predict" >> beam.Map(work)), options)
        images, skipped = labelling.counted(output_dir, todo)
        print(f"{images} images predicted", flush=True)
        if skipped:
            print(f"{skipped} images could not be read and were skipped", flush=True)
    labelling.end(output_dir, tasks)


def predict_file(task, plan, model_dir, folder, batch_size, skip_corrupt):
    """Predicts and writes one file, a reading.Task. Runs on a worker."""
    network = load(model_dir, plan["model"], plan["num_classes"], plan["view"]["size"])
    for _, shard in forward.predict_shards([task], plan, network, batch_size, skip_corrupt):
        prediction_files.write_shard(prediction_files.shard_path(folder, task.name), shard)
        beam.metrics.Metrics.counter(SPACE, "images").inc(len(shard.key))
        beam.metrics.Metrics.counter(SPACE, "skipped").inc(len(shard.skipped))


def load(model_dir, model, num_classes, size):
    """Returns the Served network, loaded once by each worker process; its threads share it."""
    with _LOADING:
        return _load(model_dir, model, num_classes, size)


@functools.lru_cache(maxsize=1)
def _load(model_dir, model, num_classes, size):
    found = prediction_files.model_fingerprint(model_dir)
    if found != model:
        raise ValueError(f"--model_dir={model_dir} holds another network on this worker "
                         f"({found[:12]}) than where the pipeline began ({model[:12]}): give a "
                         "folder on a file system that all workers see")
    return Served(model_dir, size, num_classes)


def run_features(arguments, options):
    """Runs data_prep.features with its command line `arguments` and Beam's `options`."""
    flags = features.parse(arguments)
    if flags.num_shards != 1:
        raise ValueError(f"--num_shards={flags.num_shards}: Beam distributes the files itself; "
                         "leave out --num_shards and --shard_index")
    flags = dataclasses.replace(flags, output_dir=os.path.abspath(flags.output_dir),
                                sources=[os.path.abspath(source) for source in flags.sources])
    plan, tasks, todo, _ = computing.begin(flags)
    if todo:
        work = functools.partial(features_of_file, plan=plan, folder=flags.output_dir,
                                 batch_size=flags.batch_size, skip_corrupt=flags.skip_corrupt)
        execute(lambda pipeline: (
            pipeline | beam.Create(todo) | beam.Reshuffle() | "features" >> beam.Map(work)), options)
    computing.end(flags.output_dir, tasks)


def features_of_file(task, plan, folder, batch_size, skip_corrupt):
    """Computes and writes the features of one file, a reading.Task. Runs on a worker."""
    from mpl_tf.features.views import Network
    with _LOADING:
        model = _backbone(folder, plan["backbone"]["digest"])
    for _, shard in computing.shards([task], plan, Network(model, plan), batch_size, skip_corrupt):
        feature_files.write_shard(feature_files.shard_path(folder, task.name), shard)
        beam.metrics.Metrics.counter(SPACE, "images").inc(len(shard.key))
        beam.metrics.Metrics.counter(SPACE, "skipped").inc(len(shard.skipped))


@functools.lru_cache(maxsize=1)
def _backbone(folder, digest):
    from mpl_tf.run import composing
    return composing.stored(folder, digest)


def run_select(arguments, options):
    """Runs data_prep.select with its command line `arguments` and Beam's `options`."""
    flags = select.parse(arguments)
    choice = {name: getattr(flags, name) for name in ("per_class", "rank_all", "short")}
    plan, names = selecting.begin(flags.predictions_dir, flags.output_dir, splits=flags.splits,
                                  overwrite=flags.overwrite, **choice)
    if not names:
        return
    folders = tuple(map(os.path.abspath, (flags.predictions_dir, flags.output_dir)))

    def stages(pipeline):
        shards = (pipeline | beam.Create(list(enumerate(names))) | beam.Reshuffle()
                  | beam.Map(read, folders[0], plan))
        kept = (shards | beam.FlatMap(
            lambda numbered: selecting.candidates(numbered[1], numbered[0], flags.rank_all,
                                                  flags.per_class))
                | beam.CombinePerKey(BestOfClass(flags.per_class)))
        histogram = (shards | beam.Map(lambda numbered: np.bincount(
            numbered[1].top, minlength=plan["num_classes"])) | beam.CombineGlobally(sum))
        return (pipeline | "once" >> beam.Create([None]) | "write" >> beam.Map(
            write, folders, plan, names, beam.pvalue.AsDict(kept),
            beam.pvalue.AsSingleton(histogram), choice))

    execute(stages, options)
    selecting.check_written(*folders, plan, names, **choice)
    selecting.say(flags.output_dir, plan)


def read(numbered, folder, plan):
    """Maps (i, name) to (i, prediction_files.Shard), checked. Runs on a worker."""
    return numbered[0], prediction_files.read_shard(folder, numbered[1], plan)


def write(_, folders, plan, names, kept, histogram, choice):
    """Writes the selection. Runs on one worker, which holds all of its K * classes examples.

    Args:
      folders: (that of the predictions, that of the selection).
      plan, names, histogram: see selecting.write. kept: {class: its best candidates}.
      choice: {"per_class", "rank_all", "short": their values}.
    """
    empty = selecting.Best(choice["per_class"]).take()
    selecting.write(*folders, plan, names,
                    [kept.get(label, empty) for label in range(plan["num_classes"])],
                    np.asarray(histogram), **choice)


class BestOfClass(beam.CombineFn):
    """Combines the candidates for a class to the K best, with selecting.Best."""

    def __init__(self, per_class):
        super().__init__()
        self._per_class = per_class

    def create_accumulator(self):
        return selecting.Best(self._per_class)

    def add_input(self, best, found):
        best.add(found)
        return best

    def merge_accumulators(self, bests):
        merged = self.create_accumulator()
        for best in bests:
            merged.add(best.take())
        return merged

    def compact(self, best):
        best.take()
        return best

    def extract_output(self, best):
        return best.take()


def execute(stages, options):
    """Runs a pipeline to its end, on any runner.

    Args:
      stages: function that adds the steps to a beam.Pipeline.

    Raises:
      ValueError: a step failed, or the cluster did; the message is the one line that the step or
        the cluster raised.
    """
    pipeline = beam.Pipeline(options=options)
    stages(pipeline)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        if not (isinstance(error, (ValueError, OSError, RuntimeError))
                or type(error).__module__.partition(".")[0] in CLUSTERS):
            raise
        raise ValueError(reason(error)) from error


def reason(error):
    """Extracts from a runner's exception the one line that the failed step raised."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    lines = [line.partition(" [while running")[0] for line in lines] or [type(error).__name__]
    if len(lines) == 1 or not lines[0].startswith("Traceback"):
        return lines[0]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|CorruptRecord): ", line)]
    return raised[-1].partition(": ")[2] if raised else lines[-1]   # a worker's traceback, as text


if __name__ == "__main__":
    from data_prep import beam as importable    # workers find what is pickled by this name
    sys.exit(command.main(importable.run))

"""Measures the accuracies of networks, and makes the results that a run ends with."""

import platform
import statistics

import tensorflow as tf

TOP5_CLASSES = 100      # from this many classes on, top-5 accuracy is measured too


def accuracy_function(network):
    """Makes a function that measures how much of a dataset `network` gets right.

    Every example counts once, whatever the sizes of the batches. Under a strategy each worker
    evaluates all of the data on its first device.

    Returns:
      A function of a dataset of (image, label) batches that returns {"accuracy": fraction}, and
      "top5_accuracy" if there are 100 classes or more.
    """
    images = tf.TensorSpec([None, *network.input_shape[1:]], network.inputs[0].dtype)
    ranks = {"accuracy": 1}
    if network.output_shape[-1] >= TOP5_CLASSES:
        ranks["top5_accuracy"] = 5

    @tf.function(input_signature=[images, tf.TensorSpec([None], tf.int64)])
    def count(images, labels):
        logits = network(images, training=False)
        right = [tf.argmax(logits, axis=-1) == labels]
        if len(ranks) > 1:
            right.append(tf.math.in_top_k(labels, logits, 5))
        return [tf.reduce_sum(tf.cast(each, tf.int64)) for each in right]

    def accuracy(dataset):
        right, seen = [0] * len(ranks), 0
        for images, labels in dataset:
            right = [before + int(more) for before, more in zip(right, count(images, labels))]
            seen += int(labels.shape[0])
        return {name: value / seen for name, value in zip(ranks, right)}

    return accuracy


def evaluate(accuracies, datasets):
    """Measures the accuracies of all networks on all data.

    Args:
      accuracies: {role: what `accuracy_function` returned for its network}.
      datasets: {part, such as "test": dataset of (image, label) batches}.

    Returns:
      {"student_test_accuracy": fraction, ...}.
    """
    return {f"{role}_{part}_{name}": value for role, accuracy in accuracies.items()
            for part, dataset in datasets.items() for name, value in accuracy(dataset).items()}


def results(config, journal):
    """Makes what results.json holds of a finished run.

    Args:
      config: the run's Config.
      journal: the run's checkpoints.Journal, whose last evaluation is that of the final weights.

    Returns:
      A dict of the last evaluation's accuracies, as fractions (teacher_test_accuracy is None if no
      teacher was evaluated); median_last_evaluations, the median of student_test_accuracy;
      wall_seconds; examples_per_second, labeled and unlabeled ones, in training; "flags", the value
      of every setting; and "evaluations", all of them.
    """
    last = journal.evaluations[-1]
    recent = [evaluation["student_test_accuracy"]
              for evaluation in journal.evaluations[-config.median_evaluations:]]
    flags = {name: getattr(config, name) for name in config.flags.to_dict()}
    return {
        "student_test_accuracy": last["student_test_accuracy"],
        "teacher_test_accuracy": last.get("teacher_test_accuracy"),
        "median_last_evaluations": statistics.median(recent),
        **{name: value for name, value in last.items()
           if name.endswith("_accuracy") and not name.endswith("_test_accuracy")},
        "train_steps": config.train_steps, "seed": config.seed,
        "wall_seconds": round(journal.wall_seconds, 2),
        "examples_per_second": rate(config, journal.timed_steps, journal.timed_seconds),
        "python": platform.python_version(), "tensorflow": tf.__version__,
        "flags": flags, "evaluations": journal.evaluations}


def rate(config, steps, seconds):
    """Examples per second, labeled and unlabeled ones together; None if nothing was timed."""
    examples = config.batch_size + config.unlabeled_batch_size * config.needs_unlabeled
    return round(steps * examples / seconds, 1) if seconds else None


def line(figures):
    """Writes an evaluation's accuracies, {name: fraction}, in one line, in per cent."""
    return ", ".join(f"{name[:-len('_accuracy')].replace('_', ' ')} {100 * value:.2f} %"
                     for name, value in figures.items())


def table(results):
    """Writes results as a table for a terminal: accuracies in per cent, a row for each network."""
    parts = [part for part in ("test", "test_top5", "labeled", "holdout")
             if f"student_{part}_accuracy" in results]
    lines = ["".join(["accuracy [%]", *(f"{part.replace('_', ' '):>10}" for part in parts)])]
    for role in ("student", "teacher"):
        if results.get(f"{role}_test_accuracy") is not None:
            cells = [f"{100 * results[f'{role}_{part}_accuracy']:10.2f}" for part in parts]
            lines.append("".join([f"{role:<12}", *cells]))
    if "median_last_evaluations" in results:
        count = min(results["flags"].get("median_evaluations", 1), len(results["evaluations"]))
        lines.append(f"median of the student's last {count} evaluations on test data: "
                     f"{100 * results['median_last_evaluations']:.2f}")
    return "\n".join(lines)

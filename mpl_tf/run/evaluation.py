"""Measures the accuracies of networks, and makes the results that a run ends with."""

import collections
import platform
import statistics

import numpy as np
import tensorflow as tf

from mpl_tf.run import confusion

TOP5_CLASSES = 100      # from this many classes on, top-5 accuracy is measured too


def accuracy_function(network):
    """Makes a function that measures how much of a dataset `network` gets right.

    Every example counts once, whatever the sizes of the batches. Under a strategy each worker
    evaluates all of the data on its first device.

    Returns:
      A function of a dataset of (image, label) batches that returns {"accuracy": fraction,
      "balanced_accuracy": the mean of the classes' own accuracies, "by_class": these, a list with
      None for a class without examples, "confusion": see confusion.counts, None for very many
      classes}, and "top5_accuracy" if there are 100 classes or more.
    """
    images = tf.TensorSpec([None, *network.input_shape[1:]], network.inputs[0].dtype)
    classes = network.output_shape[-1]

    @tf.function(input_signature=[images, tf.TensorSpec([None], tf.int64)])
    def classified(images, labels):
        logits = network(images, training=False)
        found = [tf.argmax(logits, axis=-1)]
        return found + [tf.math.in_top_k(labels, logits, 5)] * (classes >= TOP5_CLASSES)

    def accuracy(dataset):
        classified.get_concrete_function()      # traced here, as predicted.logits_function says
        pairs, top5 = [], 0
        for images, labels in dataset:
            found, *among_five = (each.numpy() for each in classified(images, labels))
            pairs.append((labels.numpy(), found))
            top5 += sum(int(each.sum()) for each in among_five)
        labels, found = map(np.concatenate, zip(*pairs))
        right, seen = (np.bincount(each, minlength=classes).tolist()
                       for each in (labels[found == labels], labels))
        total = len(labels)
        by_class = [value / count if count else None for value, count in zip(right, seen)]
        found = {"accuracy": sum(right) / total, "balanced_accuracy": statistics.fmean(
            value for value in by_class if value is not None), "by_class": by_class,
            "confusion": confusion.counts(labels, found, classes) if classes <= confusion.COUNTED else None}
        return {**found, "top5_accuracy": top5 / total} if classes >= TOP5_CLASSES else found

    return accuracy


def evaluate(accuracies, datasets):
    """Measures the accuracies of all networks on all data.

    Args:
      accuracies: {role: what `accuracy_function` returned for its network}.
      datasets: {part, such as "test": dataset of (image, label) batches}.

    Returns:
      (figures, by_class, matrices): {"student_test_accuracy": fraction,
      "student_test_balanced_accuracy": fraction, ...}, {"student_test": a list of each class's
      accuracy, or None, ...}, and {"student_test": the confusion matrix, ...} where it was counted.
    """
    figures, by_class, matrices = {}, {}, {}
    for role, accuracy in accuracies.items():
        for part, dataset in datasets.items():
            found = accuracy(dataset)
            by_class[f"{role}_{part}"] = found.pop("by_class")
            matrix = found.pop("confusion")
            if matrix is not None:
                matrices[f"{role}_{part}"] = matrix
            figures.update({f"{role}_{part}_{name}": value for name, value in found.items()})
    return figures, by_class, matrices


def named(by_class, class_names):
    """{"student_test": {name of a class: its accuracy}, ...} of what `evaluate` found by class.

    A name that several classes have gets the number of its class.
    """
    twice = {name for name, count in collections.Counter(class_names).items() if count > 1}
    names = [f"{name} ({number})" if name in twice else str(name)
             for number, name in enumerate(class_names)]
    return {part: dict(zip(names, values)) for part, values in by_class.items()}


def results(config, journal, class_names):
    """Makes what results.json holds of a finished run.

    Args:
      config: the run's Config.
      journal: the run's checkpoints.Journal, whose last evaluation is that of the final weights.
      class_names: the names of the data's classes.

    Returns:
      A dict of the last evaluation's accuracies, as fractions (teacher_test_accuracy is None if no
      teacher was evaluated); median_last_evaluations, the median of student_test_accuracy; "evaluate",
      the flag, with whose value "holdout" these three are None, as no test example was evaluated;
      class_accuracy, {"student_test": {name of a class: its accuracy}, ...};
      wall_seconds; examples_per_second, labeled and unlabeled ones, in training; "flags", the value
      of every setting; and "evaluations", all of them.
    """
    last = journal.evaluations[-1]
    recent = [evaluation["student_test_accuracy"]
              for evaluation in journal.evaluations[-config.median_evaluations:]
              if "student_test_accuracy" in evaluation]
    flags = {name: getattr(config, name) for name in config.flags.to_dict()}
    return {
        "evaluate": config.evaluate,
        "student_test_accuracy": last.get("student_test_accuracy"),
        "teacher_test_accuracy": last.get("teacher_test_accuracy"),
        "median_last_evaluations": statistics.median(recent) if recent else None,
        **{name: value for name, value in last.items()
           if name.endswith("_accuracy") and not name.endswith("_test_accuracy")},
        "class_accuracy": named(journal.by_class, class_names),
        "train_steps": config.train_steps, "seed": config.seed,
        "wall_seconds": round(journal.wall_seconds, 2),
        "examples_per_second": rate(config, journal.timed_steps, journal.timed_seconds),
        "python": platform.python_version(), "tensorflow": tf.__version__,
        "flags": flags, "diagnostics": journal.diagnostics, "evaluations": journal.evaluations}


def rate(config, steps, seconds):
    """Examples per second, labeled and unlabeled ones together; None if nothing was timed."""
    examples = config.batch_size + config.unlabeled_batch_size * config.needs_unlabeled
    return round(steps * examples / seconds, 1) if seconds else None


def line(figures):
    """Writes an evaluation's accuracies, {name: fraction}, in one line, in per cent.

    The balanced ones are left to the table and to TensorBoard.
    """
    return ", ".join(f"{name[:-len('_accuracy')].replace('_', ' ')} {100 * value:.2f} %"
                     for name, value in figures.items() if not name.endswith("balanced_accuracy"))


def table(results):
    """Writes results as a table for a terminal: accuracies in per cent, a row for each network."""
    parts = [part for part in ("test", "test_balanced", "test_top5", "labeled", "holdout")
             if results.get(f"student_{part}_accuracy") is not None]
    widths = [max(10, len(part) + 2) for part in parts]
    lines = ["".join(["accuracy [%]", *(f"{part.replace('_', ' '):>{width}}"
                                        for part, width in zip(parts, widths))])]
    for role in ("student", "teacher"):
        found = [results.get(f"{role}_{part}_accuracy") for part in parts]
        if any(share is not None for share in found):
            cells = [f"{'-' if share is None else f'{100 * share:.2f}':>{width}}"
                     for share, width in zip(found, widths)]
            lines.append("".join([f"{role:<12}", *cells]))
    if results.get("median_last_evaluations") is not None:
        count = min(results["flags"].get("median_evaluations", 1), len(results["evaluations"]))
        last = "last evaluation" if count == 1 else f"last {count} evaluations"
        lines.append(f"median of the student's {last} on test data: "
                     f"{100 * results['median_last_evaluations']:.2f}")
    return "\n".join(lines)

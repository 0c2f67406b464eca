"""Builds the data, networks, model and optimizers of a Config; no algorithm, no training loop."""

import contextlib
import hashlib
import os

import numpy as np
import tensorflow as tf

from mpl_tf import data, datasets, networks
from mpl_tf.datasets.images import as_images
from mpl_tf.method.baselines import Baseline, FixedTeacher, StoredTargets
from mpl_tf.method.mpl import MetaPseudoLabels
from mpl_tf.method.requirements import check_networks
from mpl_tf.method.schedules import WarmupCosine, WarmupExponential
from mpl_tf.run import composing, devices, kept_networks, keras_files

# The labeled accuracy of images in shards is measured on at most this many of them (or as many as
# there are test images, if more): each evaluation decodes them again, and all of ImageNet's labeled
# images would take far longer than its test set.
MOST_LABELED = 10_000


def load_dataset(config, stored=True, download=True):
    """Loads the datasets.Dataset that the flags describe; raises as `datasets.load`.

    stored: whether to load the predictions and the selection too, which only training needs.
    download: False reads what is there already.
    """
    stored = {name: getattr(config, name) for name in ("predictions_dir", "selection")
              if stored and getattr(config, name)}
    dataset = datasets.load(
        config.dataset, data_dir=config.data_dir or None, labeled_examples=config.labeled_examples,
        labeled_selection=config.labeled_selection, split_seed=config.split_seed,
        holdout=config.holdout, noise=config.noise, extra_unlabeled=config.extra_unlabeled,
        image_size=config.image_size, labeled_shards=config.labeled_shards,
        holdout_shards=config.holdout_shards, unlabeled_dir=config.unlabeled_dir or None,
        skip_corrupt=config.skip_corrupt, train_split=config.train_split,
        test_split=config.test_split, unlabeled_split=config.unlabeled_split,
        feature_components=config.feature_components,
        feature_unit_length=config.feature_unit_length, test=config.evaluate == "all", download=download,
        **stored)
    if config.color != "none" and dataset.unlabeled.shape[-1] != 3:     # only the files told it
        raise ValueError(f"--color={config.color} with --dataset={config.dataset}, whose images are "
                         "grey: expected photographs; leave it out")
    return dataset


def images_of(dataset):
    """The images of all parts of `dataset`, a list of objects with the interface images.Images."""
    splits = [split.images for split in (dataset.labeled, dataset.test, dataset.holdout) if split]
    return [as_images(images) for images in (*splits, dataset.unlabeled)]


@contextlib.contextmanager
def records_in_one_line(dataset):
    """Context manager: raises a CorruptRecord of a pipeline itself instead of TensorFlow's error."""
    try:
        yield
    except tf.errors.OpError:
        for images in images_of(dataset):
            if images.problem is not None:
                raise images.problem from None
        raise


def build_networks(config, dataset):
    """Builds the networks to train: {"student": network} and, where one is trained, "teacher".

    A baseline's network starts from the weights that the teacher of Meta Pseudo Labels would have,
    so that with --meta_weight=0 that teacher learns the same as the baseline.
    """
    tf.keras.mixed_precision.set_global_policy(config.precision)
    built = {"student": build_student(config, dataset)}
    if config.has_teacher:
        shape = ((dataset.num_classes,) if config.needs_probs
                 else dataset.unlabeled.shape[1:])
        built["teacher"] = _network(config, "teacher", dataset, shape, 2 * config.seed + 1)
    return built


def build_student(config, dataset):
    """Builds the student, or a baseline's network, with its initial weights."""
    return _network(config, "student", dataset, dataset.unlabeled.shape[1:],
                    2 * config.seed + (config.method == "baseline"))


def _network(config, role, dataset, shape, seed):
    """Builds the network of `role` by the flags that begin with it, or reads what the run has kept."""
    points = getattr(dataset.unlabeled, "points", None)     # of which some networks choose centres

    def build():
        name = getattr(config, f"{role}_network")
        with kept_networks.flagged(role, name):
            return networks.build(
                name, dataset.num_classes, shape, dropout=getattr(config, f"{role}_dropout"),
                drop_connect=config.drop_connect, batch_norm_decay=config.batch_norm_decay,
                weights=getattr(config, f"{role}_weights") or None, role=role, seed=seed,
                points=points)

    return kept_networks.network(config, role, build, devices.is_chief(config))


def build_model(config, dataset):
    """Builds and compiles the model of the flags' method; call it in the strategy's scope."""
    model = _compiled(config, build_networks(config, dataset), dataset.made)
    if config.ema_decay:
        model.average_weights(build_student(config, dataset), config.ema_decay)
    return model


def _compiled(config, built, made):
    student = built["student"]
    options = dict(jit_compile=config.jit_compile, steps_per_execution=config.steps_per_execution)
    if config.has_teacher:
        model = MetaPseudoLabels(
            student, built["teacher"], build_objective(config), meta_weight=config.meta_weight,
            meta_gradient=config.meta_gradient, meta_scale=config.meta_scale,
            meta_signal=config.meta_signal, microbatch_size=config.microbatch_size, seed=config.seed,
            teacher_input="teacher_probs" if config.needs_probs else "image")
        model.compile(
            student_optimizer=build_optimizer(config, "student"),
            teacher_optimizer=build_optimizer(config, "teacher"),
            student_weight_decay=config.student_weight_decay,
            teacher_weight_decay=config.teacher_weight_decay, metrics=["accuracy"], **options)
        return model
    if config.facts.objective:
        model, metrics = Baseline(student, build_objective(config), seed=config.seed), ["accuracy"]
    elif config.needs_probs:
        model, metrics = StoredTargets(student, seed=config.seed), None
    else:   # its batches are unlabeled: no training accuracy
        model, metrics = FixedTeacher(
            student, load_fixed_teacher(config, student, made), hard=config.facts.hard,
            temperature=config.temperature, seed=config.seed), None
    model.compile(build_optimizer(config, "student"), weight_decay=config.student_weight_decay,
                  metrics=metrics, **options)
    return model


def build_objective(config):
    """Builds the objective that the teacher, or a baseline, minimises."""
    kind = config.objective_class
    return kind(**{argument: getattr(config, flag) for argument, flag in kind.flags.items()})


def build_optimizer(config, role):
    """Builds the Keras optimizer, with its schedule, of `role`: "student" or "teacher"."""
    name = getattr(config, f"{role}_optimizer")
    rate = getattr(config, f"{role}_learning_rate")
    schedule = config.schedule if role == "student" else config.teacher_schedule
    if schedule == "cosine":
        rate = WarmupCosine(rate, config.train_steps, config.warmup_steps)
    if schedule == "exponential":
        rate = WarmupExponential(rate, config.decay_steps, config.decay_rate, config.warmup_steps)
    if name == "adam":
        return tf.keras.optimizers.Adam(rate)
    if name == "rmsprop":
        return tf.keras.optimizers.RMSprop(rate, rho=0.9, momentum=config.momentum,
                                           epsilon=config.rmsprop_epsilon)
    return tf.keras.optimizers.SGD(rate, momentum=0.0 if name == "sgd" else config.momentum,
                                   nesterov=name == "nesterov")


def describe_fixed_teacher(config, teacher):
    """{"fixed_teacher": a digest of its weights} where the method has one, else {}.

    teacher: a function without arguments that returns that network.
    """
    if not config.needs_fixed_teacher:
        return {}
    digest = hashlib.blake2b(digest_size=8)
    for weight in teacher().get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return {"fixed_teacher": digest.hexdigest()}


def load_fixed_teacher(config, student, made=None):
    """Loads the trained network in --fixed_teacher, a .keras file or a finished run's model_dir.

    Args:
      made: the features.Made of the data, of whose points it is then the run's head that is taken.

    Raises:
      ValueError: in one line: there is no such network, its file is not to be loaded (see
        keras_files), or it does not fit the student.
    """
    path, teacher = config.fixed_teacher, read_fixed_teacher(config, made)
    wrong = made and os.path.isdir(path) and composing.check_head(path, made.transform)
    if wrong:
        raise ValueError(f"--fixed_teacher={path}: {wrong}")
    check_networks(student=student, fixed_teacher=teacher)
    if teacher.input_shape != student.input_shape:
        raise ValueError(f"--fixed_teacher={path} takes inputs of shape {teacher.input_shape[1:]}, "
                         f"but the data have {student.input_shape[1:]}: use a teacher that was "
                         "trained on such data")
    teacher.trainable = False
    return teacher


def read_fixed_teacher(config, made=None):
    """Reads the network in --fixed_teacher, whatever the student is; as `load_fixed_teacher`."""
    path = config.fixed_teacher
    name = composing.HEAD if made else "student.keras"
    file = os.path.join(path, name) if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise ValueError(f"--fixed_teacher={path} has no {name}: expected the model_dir of a "
                         "finished run, or a .keras file; train it to the end first")
    try:
        return keras_files.load(file)
    except ValueError as error:
        raise ValueError(f"--fixed_teacher={error}") from error


def train_batches(config, dataset, strategy_, start_step=0):
    """Returns an iterator over training batches from `start_step` on, for a train function."""
    def of_replicas(num_replicas, replica_offset, local_replicas):
        return data.train_dataset(
            dataset, batch_size=config.batch_size,
            unlabeled_batch_size=config.unlabeled_batch_size, unlabeled=config.needs_unlabeled,
            strong=config.strong_views, labeled_strong=config.strong_views and not config.needs_probs
            and config.objective_class.labeled_view == "augmented", seed=config.seed, start_step=start_step,
            randaugment_layers=config.randaugment_layers,
            randaugment_magnitude=config.randaugment_magnitude,
            randaugment_operations=config.randaugment_operations, cutout=config.cutout,
            color=config.color, labeled_sampling=config.labeled_sampling,
            num_replicas=num_replicas, replica_offset=replica_offset,
            local_replicas=local_replicas)

    return iter(devices.distribute(strategy_, of_replicas))


def look_ahead(strategy_, iterator, count):
    """Returns (next batch, iterator that yields the next `count` batches, that one first).

    The new iterator yields the batches that were taken from `iterator` and has the same type, so
    that a train function that was traced for one takes the other. On several replicas it passes on
    the batches in the order that strategy.distribute expects.
    """
    batches = [next(iterator) for _ in range(count)]
    local = [strategy_.experimental_local_results(batch) for batch in batches]
    elements = [element for values in local for element in values]

    def of_replicas(*_):
        result = tf.data.Dataset.from_tensors(elements[0])
        for element in elements[1:]:
            result = result.concatenate(tf.data.Dataset.from_tensors(element))
        return result

    return batches[0], iter(devices.distribute(strategy_, of_replicas))


def eval_datasets(config, dataset):
    """Evaluation batches: {"labeled" and, where there are such, "test", "holdout": tf.data.Dataset}.

    Of labeled images that are decoded each time, only the first ones are used, see MOST_LABELED.
    """
    labeled, most = dataset.labeled, max(len(dataset.test.labels) if dataset.test else 0, MOST_LABELED)
    images = as_images(labeled.images)
    if len(images) > most and images.decoded_each_time:
        labeled = datasets.Split(images.subset(np.arange(most)), labeled.labels[:most])
    parts = {"test": dataset.test, "labeled": labeled, "holdout": dataset.holdout}
    return {name: data.eval_dataset(split, config.eval_batch_size)
            for name, split in parts.items() if split is not None}


def class_counts(split, num_classes):
    """Counts the examples of each class in `split`, int [K]."""
    return np.bincount(split.labels, minlength=num_classes)

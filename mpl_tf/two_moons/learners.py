"""The learners that Figures 1 and 8 compare on the two moons.

The paper gives no settings for its Figure 1; those of flags/two_moons.cfg are ours. Four learners
see the same points and labels for train_steps steps, in the batches of a run, in its order:

    supervised      the teacher alone: its network, objective and optimizer, on the labeled points
    pseudo labels   a student of the supervised model's decisions (hard labels) on all points; with
                    its probabilities instead, such a student does as the control does
    MPL             the student of Meta Pseudo Labels
    control         the student of Meta Pseudo Labels with meta_weight 0: its teacher learns as the
                    supervised model does, so it is a student of soft pseudo labels that costs as
                    much as MPL
"""

import dataclasses

import numpy as np
import tensorflow as tf

from mpl_tf import data
from mpl_tf.method import baselines, mpl, targets
from mpl_tf.run import wiring

LEARNERS = ("supervised", "pseudo labels", "MPL", "control")


@dataclasses.dataclass(frozen=True)
class Learner:
    """A trained learner.

    Attributes:
      network: a Keras model, points [B, 2] -> logits [B, 2].
      accuracy: its accuracy on all points, a fraction.
      cosines: float [M, 3], or None if they were not measured. A row has a number of steps, and two
        cosines of the gradient of the training loss after these steps: that with the gradient of
        the cross-entropy on all points with their true labels, and that with the gradient of the
        cross-entropy on the labeled points.
    """
    network: object
    accuracy: float
    cosines: np.ndarray = None


def train_learners(config, names=LEARNERS, measure=False):
    """Trains learners on one draw of the data.

    Args:
      config: a Config of two_moons. split_seed decides the draw, seed the initial weights and the
        batches. method, objective and fixed_teacher do not matter.
      names: which of LEARNERS to train. "pseudo labels" needs "supervised" before it.
      measure: whether to record the cosines, of all learners but "pseudo labels".

    Returns:
      (datasets.Dataset, {name: Learner}).
    """
    config = config.replace(method="mpl", objective="supervised", fixed_teacher="")
    dataset = wiring.load_dataset(config)
    inputs, learners = None, {}
    for name in names:
        network, model = _build(name, config, dataset, learners)
        inputs = inputs or _features(config, network, dataset)
        cosines = _fit(config, inputs, model, measure and name != "pseudo labels")
        predicted = outputs_of(network, dataset.test.images).argmax(axis=-1)
        accuracy = float(np.mean(predicted == dataset.test.labels))
        learners[name] = Learner(network, accuracy, cosines)
    return dataset, learners


def _build(name, config, dataset, learners):
    """Builds a learner: (the network of points, the compiled model that trains it on features)."""
    built = wiring.build_networks(config, dataset)
    heads = {role: _head(config, network) for role, network in built.items()}
    objective = wiring.build_objective(config)
    student_optimizer, teacher_optimizer = (
        wiring.build_optimizer(config, role) for role in ("student", "teacher"))
    if name == "supervised":
        model = baselines.Baseline(heads["teacher"], objective, config.seed)
        model.compile(teacher_optimizer, config.teacher_weight_decay)
        return built["teacher"], model
    if name == "pseudo labels":
        teacher = _head(config, learners["supervised"].network)
        model = baselines.FixedTeacher(heads["student"], teacher, hard=True, seed=config.seed)
        model.compile(student_optimizer, config.student_weight_decay)
        return built["student"], model
    model = mpl.MetaPseudoLabels(
        heads["student"], heads["teacher"], objective, meta_gradient=config.meta_gradient,
        meta_weight=config.meta_weight if name == "MPL" else 0.0, meta_scale=config.meta_scale,
        meta_signal=config.meta_signal, microbatch_size=config.microbatch_size, seed=config.seed)
    model.compile(student_optimizer, teacher_optimizer, config.student_weight_decay,
                  config.teacher_weight_decay)
    return built["student"], model


def outputs_of(network, points):
    """The outputs of `network` on points [N, 2]: an array [N, ...], of logits for a learner's."""
    return np.concatenate([network(points[start:start + 1000], training=False).numpy()
                           for start in range(0, len(points), 1000)])


# Gaussian features do not learn. They are computed once, and the layers after them are trained.

def _has_fixed_features(config):
    return config.student_network == config.teacher_network == "rbf"


def _features(config, network, dataset):
    """`dataset` with the features of `network` in place of the points."""
    if not _has_fixed_features(config):
        return dataset
    features = tf.keras.Model(network.input, network.get_layer("features").output)
    of = lambda points: outputs_of(features, points)
    of_split = lambda split: dataclasses.replace(split, images=of(split.images))
    return dataclasses.replace(
        dataset, unlabeled=of(dataset.unlabeled), labeled=of_split(dataset.labeled),
        test=of_split(dataset.test))


def _head(config, network):
    """The layers of `network` after its features, as a Keras model with the same weights."""
    if not _has_fixed_features(config):
        return network
    features = network.get_layer("features")
    inputs = tf.keras.Input(features.output.shape[1:])
    x = inputs
    for layer in network.layers[network.layers.index(features) + 1:]:
        x = layer(x)
    return tf.keras.Model(inputs, x, name=network.name)


def _fit(config, inputs, model, measured):
    """Trains `model` on the batches of a run of `config`; returns what Learner.cosines holds."""
    batches = data.train_dataset(
        inputs, batch_size=config.batch_size, unlabeled_batch_size=config.unlabeled_batch_size,
        strong=False, seed=config.seed)
    if (config.batch_size, config.unlabeled_batch_size) == (
            len(inputs.labeled.labels), len(inputs.unlabeled)):
        # A batch is the whole data, so the order of its examples does not matter.
        batches = batches.take(1).cache().repeat()
    rows, interval = [], max(config.train_steps // 100, 1)
    cosines = _cosines_of(model, inputs, config.label_smoothing) if measured else None

    def record(index, logs=None):
        if measured and (index + 1) % interval == 0:
            rows.append([index + 1, *cosines()])

    model.fit(batches, steps_per_epoch=config.train_steps, verbose=0,
              callbacks=[tf.keras.callbacks.LambdaCallback(on_train_batch_end=record)])
    return np.array(rows, "float32") if measured else None


def _cosines_of(model, inputs, label_smoothing):
    """A function () -> the two cosines of Learner.cosines, at the present weights of `model`."""
    student, teacher = model.networks["student"], model.networks.get("teacher")
    weights = student.trainable_variables
    num_classes = inputs.num_classes

    def gradient(images, labels):
        with tf.GradientTape() as tape:
            loss = targets.cross_entropy(labels, student(images, training=False))
        return tape.gradient(loss, weights)

    def cosine(a, b):
        inner = tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b)])
        return inner / (tf.linalg.global_norm(a) * tf.linalg.global_norm(b))

    @tf.function
    def cosines(unlabeled, all_images, all_labels, images, labels):
        if teacher is None:
            training = gradient(images, targets.smooth(labels, num_classes, label_smoothing))
        else:
            training = gradient(unlabeled, targets.soft(teacher(unlabeled, training=False)))
        return [cosine(training, gradient(x, targets.one_hot(y, num_classes)))
                for x, y in ((all_images, all_labels), (images, labels))]

    constants = [tf.constant(array) for array in (
        inputs.unlabeled, inputs.test.images, inputs.test.labels, inputs.labeled.images,
        inputs.labeled.labels)]
    return lambda: [float(value) for value in cosines(*constants)]

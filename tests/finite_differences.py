"""R as a function of the teacher's weights, recomputed apart from the package's own step.

Student's gradient by a plain tape on a cross-entropy written here, the update by Keras's own
`apply_gradients`, R by NumPy's formula. Only the seeds of the dropout masks are shared.
"""

import numpy as np
import tensorflow as tf

import mpl_tf
from mpl_tf.method import passes
from mpl_tf.networks import layers, parts
from tests import tiny

OPTIMIZERS = {
    "sgd": lambda: tf.keras.optimizers.SGD(0.3),
    "momentum": lambda: tf.keras.optimizers.SGD(0.2, momentum=0.9),
    "nesterov": lambda: tf.keras.optimizers.SGD(0.2, momentum=0.9, nesterov=True),
    "rmsprop": lambda: tf.keras.optimizers.RMSprop(0.02, rho=0.9, epsilon=1e-3),
    "rmsprop_momentum": lambda: tf.keras.optimizers.RMSprop(
        0.02, rho=0.9, momentum=0.9, epsilon=1e-3),
    "adam": lambda: tf.keras.optimizers.Adam(0.01),
    "schedule": lambda: tf.keras.optimizers.SGD(
        tf.keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5), momentum=0.5),
}


def dense_network(seed):
    """Points [B, 2] -> 3 logits, tanh."""
    init = tf.keras.initializers.GlorotNormal(seed)
    return tf.keras.Sequential([
        tf.keras.Input((2,)),
        tf.keras.layers.Dense(5, activation="tanh", kernel_initializer=init, name="hidden"),
        tf.keras.layers.Dense(3, kernel_initializer=init, name="logits")])


def conv_network(seed):
    """Images [B, 6, 6, 2] -> 3 logits: convolution, batch norm, ReLU, replayable dropout."""
    init = tf.keras.initializers.GlorotNormal(seed)
    return tf.keras.Sequential([
        tf.keras.Input((6, 6, 2)),
        tf.keras.layers.Conv2D(4, 3, use_bias=False, kernel_initializer=init, name="conv"),
        parts.batch_norm_layer(0.9, "bn"),
        tf.keras.layers.ReLU(),
        tf.keras.layers.Flatten(),
        mpl_tf.layers.Dropout(0.4, name="dropout"),
        tf.keras.layers.Dense(3, kernel_initializer=init, name="logits")])


def wrn_network(seed):
    """Images [B, 8, 8, 2] -> 3 logits: the project's own WideResNet blocks."""
    return mpl_tf.networks.wide_resnet(
        depth=10, width=1, num_classes=3, input_shape=(8, 8, 2), dropout=0.3, seed=seed)


def small_efficientnet(seed):
    """Images [B, 8, 8, 2] -> 3 logits: two stages of two blocks of EfficientNet, all its randomness
    on; with seed 2, the teacher's, a small convolutional network."""
    if seed == 2:
        return tiny.network("teacher", seed, shape=(8, 8, 2), dropout=0.3)
    from efficientnet.model import BlockArgs
    blocks = [BlockArgs(3, 2, 32, 8, 1, True, [1, 1], 0.25),
              BlockArgs(5, 2, 8, 16, 2, True, [2, 2], 0.25)]
    return mpl_tf.networks.efficientnet(
        0, 3, (8, 8, 2), dropout=0.3, drop_connect=0.6, name="student", seed=seed, blocks=blocks)


NETWORKS = {"dense": (dense_network, (2,)), "conv": (conv_network, (6, 6, 2)),
            "wrn": (wrn_network, (8, 8, 2)), "efficientnet": (small_efficientnet, (8, 8, 2))}


def make_batch(shape, seed=0, augmented=True):
    """A float64 batch of 6 labeled and 8 unlabeled examples in 3 classes."""
    rng = np.random.default_rng(seed)
    views = {"image": rng.normal(size=(8, *shape))}
    if augmented:
        views["augmented"] = rng.normal(size=(8, *shape))
    return {"labeled": {"image": tf.constant(rng.normal(size=(6, *shape))),
                        "augmented": tf.constant(rng.normal(size=(6, *shape))),
                        "label": tf.constant(rng.integers(0, 3, 6))},
            "unlabeled": {key: tf.constant(value) for key, value in views.items()}}


def make_model(network, optimizer, meta_gradient="nested_tape", objective=None, weight_decay=5e-3,
               teacher_rate=1.0, **kwargs):
    """A float64 model whose teacher follows plain SGD: its step is read off its weights."""
    tiny.use_float64()
    build, _ = NETWORKS[network]
    model = mpl_tf.MetaPseudoLabels(
        build(1), build(2), objective=objective or mpl_tf.objectives.Supervised(weight=0.0),
        meta_gradient=meta_gradient, seed=7, **kwargs)
    model.compile(OPTIMIZERS[optimizer](), tf.keras.optimizers.SGD(teacher_rate),
                  student_weight_decay=weight_decay)
    for role, optimizer in model.optimizers.items():
        optimizer.build(model.networks[role].trainable_variables)
    model.traced_step = tf.function(model.train_step, autograph=False)   # seconds faster to trace
    return model


def snapshot(model):
    """Values of everything that a step changes."""
    variables = [*model.variables, *(variable for optimizer in model.optimizers.values()
                                     for variable in optimizer.variables)]
    return variables, [variable.numpy() for variable in variables]


def restore(saved):
    """Puts a snapshot back."""
    for variable, value in zip(*saved):
        variable.assign(value)


def teacher_step(model, batch):
    """Minus the change of the teacher's weights by a real, traced train_step: dL/dPsi at rate 1."""
    before = [weight.numpy() for weight in model.teacher.trainable_variables]
    model.traced_step(batch)
    return [old - weight.numpy() for old, weight in zip(before, model.teacher.trainable_variables)]


def _cross_entropy(probs, logits):
    return -tf.reduce_mean(tf.reduce_sum(probs * (logits - tf.reduce_logsumexp(
        logits, axis=1, keepdims=True)), axis=1))


def validation_loss(model, batch, step):
    """R after one update of the student, at the model's present weights; leaves them updated."""
    student, teacher = model.student, model.teacher
    view = batch["unlabeled"].get("augmented", batch["unlabeled"]["image"])
    weak = batch["unlabeled"]["image"]
    with layers.random_seed(passes.pass_seed(7, step, passes.TEACHER_UNLABELED)):
        if model.objective.unlabeled and model.objective.joint_views:
            logits = tf.split(teacher(tf.concat([weak, view], 0), training=True), 2)[1]
        else:
            logits = teacher(view, training=True)
    pseudo_labels = tf.exp(logits) / tf.reduce_sum(tf.exp(logits), axis=1, keepdims=True)
    with tf.GradientTape() as tape:
        with layers.random_seed(passes.pass_seed(7, step, passes.STUDENT_UNLABELED)):
            loss = _cross_entropy(pseudo_labels, student(view, training=True))
        loss += model.student_weight_decay / 2 * tf.add_n([
            tf.reduce_sum(weight ** 2) for weight in student.trainable_variables
            if "kernel" in weight.name])
    gradients = tape.gradient(loss, student.trainable_variables)
    model.student_optimizer.apply_gradients(zip(gradients, student.trainable_variables))
    with layers.random_seed(passes.pass_seed(7, step, passes.STUDENT_LABELED)):
        logits = student(batch["labeled"]["image"], training=True).numpy()
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -np.mean(log_probs[np.arange(6), batch["labeled"]["label"].numpy()])


def relative_errors(model, batch, warm_steps=3, directions=4, epsilon=1e-6):
    """Errors of the step's teacher gradient along random directions, relative to its norm.

    The gradient comes from a real train_step after `warm_steps` others; central differences of R
    give the reference.
    """
    for _ in range(warm_steps):
        model.traced_step(batch)
    saved = snapshot(model)
    step = int(model.student_optimizer.iterations)
    gradient = teacher_step(model, batch)
    norm = np.sqrt(sum(np.sum(g ** 2) for g in gradient))
    rng = np.random.default_rng(3)
    errors = []
    for number in range(directions):
        direction = ([g / norm for g in gradient] if number == 0 and norm > 0
                     else [rng.normal(size=g.shape) for g in gradient])
        length = np.sqrt(sum(np.sum(d ** 2) for d in direction))
        direction = [d / length for d in direction]
        values = []
        for sign in (1, -1):
            restore(saved)
            for weight, d in zip(model.teacher.trainable_variables, direction):
                weight.assign_add(sign * epsilon * d)
            values.append(validation_loss(model, batch, step))
        reference = (values[0] - values[1]) / (2 * epsilon)
        ours = sum(np.sum(g * d) for g, d in zip(gradient, direction))
        errors.append(abs(ours - reference) / max(norm, abs(reference), 1e-12))
    restore(saved)
    return errors

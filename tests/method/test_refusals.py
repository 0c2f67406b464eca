"""What MetaPseudoLabels refuses, each in one line that names what is wrong."""

import math

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from tests import tiny


def _line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def _with(**options):
    """Networks whose student has a layer with `options`."""
    student = tf.keras.Sequential([
        tf.keras.Input((2,)), tf.keras.layers.Dense(3, name="odd", **options)])
    return student, tiny.network("teacher", 2)


@pytest.mark.parametrize("make, words", [
    (lambda: (tiny.network("student", 1), tiny.network("teacher", 2, classes=5)),
     "student has 3, teacher has 5"),
    (lambda: (lambda x: x, tiny.network("teacher", 2)), "student is a function"),
    (lambda: (tiny.network("student", 1),) * 2, "share weights"),
    (lambda: _with(activation="softmax"), "student ends in a softmax (layer 'odd'), expected logits"),
    (lambda: (tiny.network("student", 1), tf.keras.Sequential([
        tf.keras.Input((2,)), tf.keras.Sequential([
            tf.keras.layers.Dense(3), tf.keras.layers.Softmax(name="last")])])),
     "teacher ends in a softmax (layer 'last')"),
    (lambda: (tf.keras.Sequential([tf.keras.Input((2, 2)), tf.keras.layers.Dense(3)]),
              tiny.network("teacher", 2)), "student's output is (None, 2, 3), expected logits [B, K]"),
    (lambda: _with(kernel_regularizer="l2"), "'odd' has a kernel_regularizer"),
    (lambda: _with(bias_regularizer="l2"), "'odd' has a bias_regularizer"),
    (lambda: _with(activity_regularizer="l2"), "'odd' has a activity_regularizer"),
    (lambda: _with(kernel_constraint="non_neg"), "'odd' has a kernel_constraint"),
    (lambda: _with(dtype=tf.keras.mixed_precision.Policy("mixed_float16")), "mixed_float16")])
def test_networks(make, words):
    with pytest.raises(ValueError) as error:
        tiny.model(*make())
    assert words in _line(error)


def test_an_unbuilt_network_of_other_classes():
    student = tf.keras.Sequential([tf.keras.layers.Dense(4)])
    model = tiny.model(student, tiny.network("teacher", 2))
    with pytest.raises(ValueError, match="student has 4, teacher has 3"):
        model.train_step(tf.nest.map_structure(tf.constant, tiny.batches(1)[0]))


def _optimizer(name, **options):
    return lambda: getattr(tf.keras.optimizers, name)(0.1, **options)


@pytest.mark.parametrize("make, words", [
    (_optimizer("Adagrad"), ["Adagrad", "SGD (plain, momentum, Nesterov), RMSprop", "Adam"]),
    (_optimizer("AdamW"), ["AdamW", "RMSprop"]),
    (_optimizer("SGD", clipnorm=1.0), ["clipnorm=1.0"]),
    (_optimizer("SGD", clipvalue=0.5), ["clipvalue=0.5"]),
    (_optimizer("SGD", global_clipnorm=2.0), ["global_clipnorm=2.0"]),
    (_optimizer("Adam", weight_decay=0.1), ["weight_decay=0.1", "student_weight_decay"]),
    (_optimizer("Adam", use_ema=True), ["use_ema"]),
    (_optimizer("Adam", amsgrad=True), ["amsgrad"]),
    (_optimizer("RMSprop", centered=True), ["centered"])])
def test_student_optimizers(make, words):
    with pytest.raises(ValueError) as error:
        tiny.model(optimizers=(make(), "sgd"))
    assert all(word in _line(error) for word in words)


@pytest.mark.parametrize("make", [
    _optimizer("AdamW", clipnorm=1.0), _optimizer("Adagrad"), _optimizer("SGD", use_ema=True),
    pytest.param(lambda: tf.keras.optimizers.legacy.Adam(0.01), marks=tiny.keras_2_only)])
def test_teachers_take_any_optimizer(make):
    model = tiny.model(optimizers=("sgd", make()), objective=mpl_tf.objectives.Supervised())
    before = model.teacher.get_weights()
    logs = model.train_step(tf.nest.map_structure(tf.constant, tiny.batches(1)[0]))
    assert all(tf.math.is_finite(value) for value in logs.values())
    assert any((old != new).any() for old, new in zip(before, model.teacher.get_weights()))


def test_mixed_float16():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    with pytest.raises(ValueError, match="mixed_bfloat16") as error:
        tiny.model()
    _line(error)


@tiny.keras_2_only
def test_keras_dropout_is_refused_where_passes_are_replayed():
    def networks():
        return [tf.keras.Sequential([
            tf.keras.Input((2,)), tf.keras.layers.Dense(4), tf.keras.layers.Dropout(0.5, name="odd"),
            tf.keras.layers.Dense(3)], name=role) for role in ("student", "teacher")]

    with pytest.raises(ValueError) as error:
        tiny.model(*networks(), meta_gradient="jvp")
    assert "student has odd (Dropout)" in _line(error) and "nested_tape" in str(error.value)
    logs = tiny.model(*networks()).fit(tiny.dataset(tiny.batches(1)), verbose=0).history
    assert logs["meta_gradient_norm"][0] > 0


@tiny.keras_2_only
def test_random_layers_that_come_with_the_weights():
    """Made in `build`, after compile."""
    class Odd(tf.keras.layers.Layer):
        def build(self, shape):
            self.drop = tf.keras.layers.Dropout(0.5)

        def call(self, inputs, training=None):
            return self.drop(inputs, training=training)

    student = tf.keras.Sequential([Odd(), tf.keras.layers.Dense(3)])
    with pytest.raises(ValueError) as error:
        tiny.model(student, tiny.network("teacher", 2), meta_gradient="jvp").fit(
            tiny.dataset(tiny.batches(1)), verbose=0)
    assert "student has dropout" in _line(error)


@pytest.mark.slow
def test_an_embedding_has_no_forward_mode():
    """The student's: the teacher is not differentiated forwards."""
    def networks():
        return [tf.keras.Sequential([
            tf.keras.Input((2,)), tf.keras.layers.Lambda(lambda x: tf.cast(x > 0, tf.int32)),
            tf.keras.layers.Embedding(2, 3, name="odd"), tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(3)], name=role) for role in ("student", "teacher")]

    with pytest.raises(ValueError) as error:
        tiny.model(*networks(), meta_gradient="jvp")
    assert "embedding odd of student" in _line(error) and "nested_tape" in str(error.value)
    for role, options in ((networks()[0], {}),
                          (tiny.network("student", 1), dict(meta_gradient="jvp"))):
        logs = tiny.model(role, networks()[1], **options).fit(
            tiny.dataset(tiny.batches(1)), verbose=0).history
        assert logs["meta_gradient_norm"][0] > 0


def test_losses_and_constraints_of_a_networks_own():
    """Those that no layer's option shows: a subclassed layer's."""
    class Odd(tf.keras.layers.Layer):
        def __init__(self, constraint=None, loss=False):
            super().__init__(name="odd")
            self.options = [constraint, loss]

        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=(shape[-1],), constraint=self.options[0])

        def call(self, inputs):
            if self.options[1]:
                self.add_loss(tf.reduce_sum(self.scale))
            return inputs * self.scale

    def fit(role, **options):
        odd = tf.keras.Sequential([tf.keras.Input((2,)), Odd(**options), tf.keras.layers.Dense(3)])
        other = tiny.network("teacher", 2)
        model = tiny.model(*((odd, other) if role == "student" else (other, odd)))
        model.fit(tiny.dataset(tiny.batches(1)), verbose=0)

    with pytest.raises(ValueError, match="odd/scale.* has a constraint") as error:
        fit("student", constraint=tf.keras.constraints.NonNeg())
    _line(error)
    fit("teacher", constraint=tf.keras.constraints.NonNeg())    # not differentiated
    for role in ("student", "teacher"):
        with pytest.raises(ValueError, match="adds 1 losses of its own") as error:
            fit(role, loss=True)
        _line(error)


def test_one_optimizer_for_two():
    optimizer = tiny.nesterov()
    with pytest.raises(ValueError, match="one and the same optimizer"):
        tiny.model(optimizers=(optimizer, optimizer))


def test_weight_decay_of_0_is_none():
    def trained(**options):
        model = tiny.model(optimizers=(tf.keras.optimizers.Adam(0.1, **options), "sgd"))
        model.fit(tiny.dataset(tiny.batches(2)), verbose=0)
        return model.get_weights()
    tf.nest.map_structure(np.testing.assert_array_equal, trained(), trained(weight_decay=0))


def test_unknown_way():
    with pytest.raises(ValueError) as error:
        tiny.model(meta_gradient="jvp2")
    assert "'jvp2'" in _line(error) and "nested_tape" in str(error.value)


def _without(part, key):
    batch = tiny.batches(1)[0]
    del batch[part][key]
    return batch


def _relabeled(labels):
    batch = tiny.batches(1)[0]
    batch["labeled"]["label"] = labels(batch["labeled"]["label"])
    return batch


@pytest.mark.parametrize("make, words", [
    (lambda: _without("unlabeled", "augmented"), '["unlabeled"]["augmented"] (UDA needs it)'),
    (lambda: _without("unlabeled", "image"), '["unlabeled"]["image"]'),
    (lambda: _without("labeled", "label"), '["labeled"]["label"]'),
    (lambda: {"labeled": tiny.batches(1)[0]["labeled"]}, '["unlabeled"]["image"]'),
    (lambda: {"labeled": tiny.evaluation_data(8), "unlabeled": tiny.evaluation_data(8)},
     '["labeled"] is tuple'),
    (lambda: tiny.evaluation_data(8), "training data yields tuple"),
    (lambda: tiny.evaluation_data(8)[0], "training data yields TensorSpec"),
    (lambda: _relabeled(lambda labels: labels[:, None]), "expected class numbers: int [B_l]"),
    (lambda: _relabeled(lambda labels: labels.astype("float32")), "is float32")])
def test_training_data(make, words):
    """Judged before anything is traced."""
    with pytest.raises(ValueError) as error:
        tiny.model().fit(tiny.dataset([make()]))
    assert words in _line(error)


@pytest.mark.parametrize("move", [2, -1])
def test_labels_out_of_range(move):
    wrong = _relabeled(lambda labels: labels + move)
    for use in (lambda model: model.fit(tiny.dataset([wrong]), verbose=0),
                lambda model: model.train_step(tf.nest.map_structure(tf.constant, wrong))):
        with pytest.raises(ValueError, match=r"class numbers outside \[0, 3\), the classes") as error:
            use(tiny.model())
        _line(error)


@pytest.mark.slow
def test_labels_out_of_range_under_xla():
    """A step that XLA compiled cannot stop; its losses are not a number."""
    wrong = _relabeled(lambda labels: labels + 2)
    logs = tiny.model(objective=mpl_tf.objectives.Supervised(), jit_compile=True).fit(
        tiny.dataset([wrong]), verbose=0).history
    assert math.isnan(logs["R"][0]) and math.isnan(logs["teacher_supervised_loss"][0])


def test_the_own_terms_of_an_objective_and_its_attribute():
    class Odd(mpl_tf.objectives.Supervised):
        terms = ("other",)

    with pytest.raises(ValueError, match="its attribute `terms` has .'other'.: make them agree") as error:
        tiny.model(objective=Odd()).fit(tiny.dataset(tiny.batches(1)), verbose=0)
    _line(error)


def test_what_tensorflow_raises_in_a_users_objective_says_where():
    class Odd(mpl_tf.objectives.Objective):
        def losses(self, labels, labeled_logits, *_):
            loss = tf.reduce_sum(labeled_logits[:2] * labeled_logits[:3])
            return loss, {"supervised_loss": loss}

    with pytest.raises(ValueError, match="(in user code:(.|\n)*test_refusals.py(.|\n)*)?Dimensions"):
        tiny.model(objective=Odd()).fit(tiny.dataset(tiny.batches(1)), verbose=0)


class _Subclassed(tf.keras.Model):
    """Its output's shape is not known before it is called."""

    def __init__(self, rank=2):
        super().__init__(name=f"subclassed{rank}")
        self.dense, self.rank = tf.keras.layers.Dense(3), rank

    def call(self, inputs):
        logits = self.dense(inputs)
        return logits if self.rank == 2 else logits[:, None]


@pytest.mark.slow
def test_subclassed_networks():
    wrong = _relabeled(lambda labels: labels + 2)
    for student, data, said in ((_Subclassed(), wrong, "class numbers outside [0, 3)"),
                                (_Subclassed(3), tiny.batches(1)[0], "expected logits [B, K]")):
        with pytest.raises(ValueError) as error:
            tiny.model(student, _Subclassed()).fit(tiny.dataset([data]), verbose=0)
        assert said in _line(error)


def test_what_keras_takes_is_not_refused():
    relaxed = tf.keras.Sequential([tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(3)])
    relaxed(tf.zeros([1, 5, 5, 1]))
    inputs = tf.keras.Input((4, 4, 1))
    logits = tf.keras.layers.Dense(3)(tf.keras.layers.Flatten()(inputs))
    both = tf.keras.Model(inputs, [tf.keras.layers.Softmax()(logits), logits])
    outer = tf.keras.Input((4, 4, 1))
    teacher = tf.keras.Model(outer, both(outer)[1])
    images, labels = tf.zeros([8, 4, 4]), tf.zeros([8], tf.int32)
    for shown in (images, images[..., None]):
        student = relaxed if shown.shape.rank == 4 else tf.keras.Sequential([
            tf.keras.Input((4, 4, 1)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
        model = tiny.model(student, teacher, objective=mpl_tf.objectives.Supervised())
        model.fit(tf.data.Dataset.from_tensors(
            {"labeled": {"image": shown, "label": labels}, "unlabeled": {"image": shown}}), verbose=0)
    with pytest.raises(ValueError, match="teacher ends in a softmax"):
        tiny.model(relaxed, tf.keras.Model(outer, both(outer)[0]))
    with pytest.raises(ValueError, match="teacher ends in a softmax"):
        tiny.model(relaxed, tf.keras.Model(inputs, tf.keras.activations.softmax(logits)))


def test_errors_of_others_stay_as_they_are():
    class Odd(tf.keras.layers.Layer):
        def call(self, inputs, training=False):
            if training:
                raise ValueError("of a layer")
            return inputs

    student = tf.keras.Sequential([tf.keras.Input((2,)), Odd(), tf.keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="(in user code|calling Odd):?(.|\n)*of a layer"):
        tiny.model(student, tiny.network("teacher", 2)).fit(
            tiny.dataset(tiny.batches(1)), verbose=0)


def test_fit_before_compile():
    model = mpl_tf.MetaPseudoLabels(
        tiny.network("student", 1), tiny.network("teacher", 2), mpl_tf.objectives.Supervised())
    with pytest.raises(RuntimeError, match="is not compiled: call model.compile"):
        model.fit(tiny.dataset(tiny.batches(1)))


@pytest.mark.parametrize("objective", ["uda", mpl_tf.objectives.UDA, None])
def test_objectives(objective):
    with pytest.raises(ValueError, match="expected an mpl_tf.objectives.Objective such as") as error:
        mpl_tf.MetaPseudoLabels(tiny.network("student", 1), tiny.network("teacher", 2), objective)
    _line(error)


def test_images_of_another_shape():
    wide = tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(3)])
    with pytest.raises(ValueError) as error:
        tiny.model(tiny.network("student", 1), wide).fit(tiny.dataset(tiny.batches(1)))
    assert "teacher takes images (5,), but the training data's are (2,)" in _line(error)


def test_jit_compile_on_two_replicas():
    with tiny.two_replicas().scope(), pytest.raises(ValueError) as error:
        tiny.model(jit_compile=True)
    assert "jit_compile=True on 2 replicas" in _line(error)

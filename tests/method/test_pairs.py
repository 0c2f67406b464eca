"""fit takes the zip of two datasets; what else people try first gets one line, and no traceback."""

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from tests import tiny


def pairs(batches, views=True, weights=False):
    """The zip of a labeled and an unlabeled dataset that holds the same as dicts `batches`."""
    labeled = tiny.dataset(batches).map(
        lambda batch: (batch["labeled"]["image"], batch["labeled"]["label"], *[tf.range(6.0)] * weights))
    unlabeled = tiny.dataset(batches).map(
        lambda batch: (batch["unlabeled"]["image"], batch["unlabeled"]["augmented"])
        if views else batch["unlabeled"]["image"])
    return tf.data.Dataset.zip((labeled, unlabeled))


def dicts(batches, views=True, weights=False):
    made = tf.nest.map_structure(lambda each: each, batches)
    for batch in made:
        if not views:
            del batch["unlabeled"]["augmented"]
        if weights:
            batch["labeled"]["sample_weight"] = np.arange(6.0, dtype="float32")
    return tiny.dataset(made)


@pytest.mark.parametrize("objective, views, weights, arguments", [
    (mpl_tf.objectives.UDA(), True, True, {}), (mpl_tf.objectives.Supervised(), False, False, {}),
    pytest.param(mpl_tf.objectives.Supervised(), True, False, {"class_weight": {1: 3.0}},
                 marks=pytest.mark.slow)])
def test_a_zipped_pair_is_the_same_as_dicts(objective, views, weights, arguments):
    batches = tiny.batches(3)
    models = [tiny.model(objective=objective) for _ in range(2)]
    models[0].fit(pairs(batches, views, weights), verbose=0, **arguments)
    models[1].fit(dicts(batches, views, weights), verbose=0, **arguments)
    tiny.assert_same_state(*models)
    assert models[0].history.history == models[1].history.history


def test_a_baseline_and_train_on_batch_take_pairs():
    batches = tiny.batches(1)
    models = []
    for data in (pairs(batches), dicts(batches)):
        model = mpl_tf.Baseline(tiny.network("student", 1), mpl_tf.objectives.UDA())
        model.compile("adam")
        model.train_on_batch(next(iter(data)))
        models.append(model)
    tiny.assert_same_state(*models)


@pytest.mark.slow
def test_two_replicas_take_pairs():
    batches = tiny.batches(2)
    models = []
    with tiny.two_replicas().scope():
        for data in (pairs(batches), dicts(batches)):
            models.append(tiny.model())
            models[-1].fit(data, verbose=0)
    tiny.assert_same_state(*models)


X, Y = np.ones((8, 2), "float32"), np.arange(8) % 3


def sliced(*arrays):
    return tf.data.Dataset.from_tensors(arrays[0] if len(arrays) == 1 else arrays)


@pytest.mark.parametrize("given, words", [
    ((X, Y), "fit is given x and y, expected a tf.data.Dataset.*from_arrays.images, labels, unlabeled"),
    ((X,), "fit is given ndarray, .*from_arrays"), (([X, Y],), "fit is given list"),
    ((tf.constant(X),), "fit is given .*Tensor"), ((), "fit is given nothing"),
    ((sliced(X, Y),), "yields tuples of 2, as .x, y. are, but no unlabeled .*from_datasets.labeled, unl"),
    ((sliced(X, Y, X[:, 0]),), "yields tuples of 3"), ((sliced(X),), "yields TensorSpec, .*from_arrays"),
    ((sliced((X, Y), X),), "no .*augmented.*UDA needs it.*from_datasets"),
    ((sliced((X, Y), (X, Y)),), r"pairs of float32 \(8, 2\) and int64 \(8,\), .*labels, take them out"),
    ((sliced((X, Y), (X, X, X)),), "yields pairs, expected ..x, y., x_u. or"),
    ((sliced((X, {"y": Y}), X),), "yields pairs, expected ..x, y., x_u. or"),
    ((sliced((X, np.eye(3)[Y]), (X, X)),), r"is float64 \(8, 3\), .*from_datasets.* one-hot labels"),
    ((sliced((X[0], Y[0]), (X[0], X[0])),), r"is int64 \(\), .*batches both datasets"),
    ((pairs(tiny.batches(1)).repeat(),), "does not end, and no steps_per_epoch: add"),
    ((tf.data.Dataset.range(2 ** 62).map(lambda _: ((X, Y), (X, X))),), "does not end")])
def test_what_else_people_try_first_gets_one_line(given, words):
    with pytest.raises(ValueError, match=words) as refusal:
        tiny.model().fit(*given, verbose=0)
    assert "\n" not in str(refusal.value)


def test_the_line_about_one_hot_labels_is_that_of_the_data():
    from mpl_tf.data import from_tf_data
    from mpl_tf.method import batches
    assert from_tf_data.ONE_HOT == batches.ONE_HOT in batches.ASSERTED

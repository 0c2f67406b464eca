"""The order in which examples are drawn: every class equally often, and every example of a class."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import data, datasets
from mpl_tf.data import order

COUNTS = [7, 1, 0, 3, 20]       # examples of each class
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def drawn(positions, seed=0):
    at = tf.function(order.labeled_order(LABELS, seed, "balanced"))
    examples, epochs = at(tf.constant(positions, tf.int64))
    return examples.numpy(), epochs.numpy()


def test_each_round_has_every_class_once_and_each_epoch_every_member():
    examples, epochs = drawn(range(4 * 60))
    rounds = LABELS[examples].reshape(60, 4)
    assert (np.sort(rounds, axis=1) == [0, 1, 3, 4]).all()
    assert len({tuple(each) for each in rounds}) > 10       # in other orders
    for label, count in ((0, 7), (1, 1), (3, 3), (4, 20)):
        of_class = examples[LABELS[examples] == label][:60 // count * count].reshape(-1, count)
        assert (np.sort(of_class, axis=1) == np.flatnonzero(LABELS == label)).all()
        assert count < 7 or (of_class[0] != of_class[1]).any()
        numbers = epochs[LABELS[examples] == label]
        assert (numbers == np.arange(60) // count).all()


def test_positions_alone_decide_and_seeds_give_other_orders():
    whole = drawn(range(100))
    for begin, end in ((0, 13), (13, 64), (64, 100)):
        for part, all_ in zip(drawn(range(begin, end)), whole):
            np.testing.assert_array_equal(part, all_[begin:end])
    assert (drawn(range(100), seed=1)[0] != whole[0]).mean() > 0.5


def test_classes_come_in_no_preferred_order():
    first = LABELS[drawn(range(0, 4 * 4000, 4))[0]]
    hits = np.bincount(first, minlength=5)[[0, 1, 3, 4]]
    assert ((hits - 1000) ** 2 / 1000).sum() < 21       # 3 freedoms: 99.99 % are below


@pytest.fixture(scope="module")
def imbalanced():
    digits = datasets.load("digits")
    kept = np.concatenate([np.flatnonzero(digits.labeled.labels == label)[:count]
                           for label, count in enumerate([5, 1, 2, 3, 4, 5, 5, 5, 5, 2])])
    return dataclasses.replace(digits, labeled=datasets.Split(
        digits.labeled.images[kept], digits.labeled.labels[kept]))


def labels_of(dataset, count):
    return [batch["labeled"]["label"].numpy() for batch in itertools.islice(dataset, count)]


def test_balanced_batches_resume_and_are_shared_by_replicas(imbalanced):
    arguments = dict(batch_size=20, strong=False, labeled_sampling="balanced", seed=3)
    whole = labels_of(data.train_dataset(imbalanced, **arguments), 6)
    assert [np.bincount(labels, minlength=10).tolist() for labels in whole] == [[2] * 10] * 6
    np.testing.assert_array_equal(
        whole[4:], labels_of(data.train_dataset(imbalanced, **arguments, start_step=4), 2))
    halves = labels_of(data.train_dataset(imbalanced, **arguments, num_replicas=2, local_replicas=2), 12)
    np.testing.assert_array_equal(whole, np.concatenate([halves[::2], halves[1::2]], axis=1))
    uniform = np.concatenate(labels_of(data.train_dataset(imbalanced, batch_size=37, strong=False), 4))
    assert np.bincount(uniform).tolist() == [20, 4, 8, 12, 16, 20, 20, 20, 20, 8]


def test_another_sampling_is_refused(imbalanced):
    with pytest.raises(ValueError, match="labeled_sampling 'stratified' is unknown: use 'uniform' or"):
        data.train_dataset(imbalanced, labeled_sampling="stratified")

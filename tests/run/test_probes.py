"""Figure 10: what the small teacher makes of q_large's distributions, by steps."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import datasets, networks
from mpl_tf.run import checkpoints, probes


class Board:
    """Takes the place of tensorboard.Summaries."""

    def __init__(self):
        self.values, self.images = {}, {}

    def scalars(self, step, values, group):
        self.values[step] = (group, values)

    def image(self, step, name, png):
        self.images[step] = tf.io.decode_png(png).shape


def _dataset():
    plain = datasets.load("digits")
    probs = np.random.default_rng(0).dirichlet(np.ones(10), len(plain.unlabeled))
    return dataclasses.replace(plain, unlabeled_probs=probs.astype("float16"))


def test_quarters_entropy_and_changes():
    """The identity first; then a teacher that always says class 3."""
    dataset, journal, board = _dataset(), checkpoints.Journal(), Board()
    teacher = networks.calibration(10, hidden=(4,), seed=1)
    watched = probes.Probes(dataset, teacher, journal, train_steps=10, stride=2)
    assert [step for step in range(13) if watched.due(step)] == [0, 4, 6, 8, 10]
    watched.record(0, board)
    group, first = board.values[0]
    assert group == "targets" and first["top_class_changed"] == 0.0
    assert first["entropy"] == pytest.approx(first["entropy_of_q_large"], rel=1e-4)
    expected = -np.mean(np.sum(watched.q_large * np.log(watched.q_large + 1e-12), axis=1))
    assert first["entropy"] == pytest.approx(expected, rel=1e-4)
    teacher.get_layer("change").bias.assign(30.0 * np.eye(10)[3])
    watched.record(3, board)        # an evaluation between quarters
    watched.record(4, board)
    changed = np.mean(watched.q_large.argmax(1) != 3)
    assert board.values[3][1]["top_class_changed"] == pytest.approx(changed)
    assert board.values[4][1]["entropy"] < 0.01
    assert list(board.images) == [0, 4] == [int(s) for s in journal.probes["distributions"]]
    # A resumed run has them by its checkpoint, and records no step twice.
    again = checkpoints.Journal()
    again.deserialize(journal.serialize())
    assert again.probes == json.loads(json.dumps(journal.probes))
    resumed = probes.Probes(dataset, teacher, again, train_steps=10, stride=2)
    np.testing.assert_array_equal(resumed.q_large, watched.q_large)
    resumed.record(4, board)
    assert again.probes["steps"] == [0, 3, 4]
    assert np.shape(again.probes["distributions"]["4"]) == (probes.SHOWN, 10)

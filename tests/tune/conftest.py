"""Trials without a training."""

import pytest

from mpl_tf.tune import trial as trial_of


@pytest.fixture
def quick(monkeypatch):
    """Trials without a training, whose held-out accuracy is their learning rate's."""
    def run(config_, observe):
        return {"student_holdout_accuracy": min(config_.student_learning_rate, 1.0)}
    monkeypatch.setattr(trial_of, "train", run)

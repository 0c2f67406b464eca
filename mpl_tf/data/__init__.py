"""Batches and views: tf.data pipelines that are a function of (seed, step)."""

from mpl_tf.data.pipeline import eval_dataset, examples_at, train_dataset

__all__ = ["eval_dataset", "examples_at", "train_dataset"]

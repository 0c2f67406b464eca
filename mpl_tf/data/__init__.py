"""tf.data pipelines whose batches, with their augmented views, depend on (seed, step) alone."""

from mpl_tf.data.from_memory import from_arrays
from mpl_tf.data.from_tf_data import from_datasets
from mpl_tf.data.given import hold_out
from mpl_tf.data.order import examples_at
from mpl_tf.data.pipeline import eval_dataset, train_dataset

__all__ = ["eval_dataset", "examples_at", "from_arrays", "from_datasets", "hold_out",
           "train_dataset"]

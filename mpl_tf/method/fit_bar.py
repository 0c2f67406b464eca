"""The progress bar of `fit`: the numbers that a person looks at, on one line of a terminal."""

from __future__ import annotations

import tensorflow as tf

from mpl_tf.common import keras_seam


class FitBar(tf.keras.callbacks.ProgbarLogger):
    """Keras's bar with the loss, R and the compiled metrics; callbacks see all logs.

    A step of Meta Pseudo Labels logs a dozen numbers, which break the bar into several lines.

    Args:
      names: the logs that are shown, besides those that begin with "val_".
    """

    def __init__(self, names: "list[str]") -> None:
        super().__init__(**keras_seam.arguments_of_bar(names))
        self._names = frozenset(names)

    def _shown(self, logs):
        return {name: value for name, value in (logs or {}).items()
                if name in self._names or name.startswith("val_")}

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, self._shown(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, self._shown(logs))

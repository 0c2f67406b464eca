"""Writes for TensorBoard: scalars of every step, costly summaries now and then, accuracies.

The event files lie in the run's folder itself, because TensorBoard calls a run by the folder in which
they are. Groups of tags are in the order of their names there: accuracies come first.
"""

import glob
import io
import math
import os
import time

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from mpl_tf.common import command, pictures, plain_path
from mpl_tf.run import confusion, curves, run_folder

MONTAGE_IMAGES = 16
HEADING = 0.16      # the height of a line of words above a montage, in widths of an image
TITLE_LETTERS = 11      # of a class's name above an image
MOST_CLASSES = 100      # of which each has a scalar of its own
EVENTS, EARLIER = "events.out.tfevents.*", "tensorboard"


def folder_of(model_dir):
    """The folder of a run's event files: its own, or, where an earlier version began them, the one in it."""
    earlier = os.path.join(model_dir, EARLIER)
    return earlier if glob.glob(os.path.join(glob.escape(earlier), EVENTS)) else model_dir


class Summaries:
    """Writes a run's summaries. A value's step is the number of steps taken when it was measured.

    Args:
      folder: the folder of the event files, see folder_of, or None on a worker that writes none.
      model: mpl_tf.MetaPseudoLabels, Baseline, FixedTeacher or StoredTargets.
      class_names: the names of the data's classes.
      start_step: the number of steps taken before this process. A process that was killed may have
        written later steps; TensorBoard is told to forget them.
    """

    def __init__(self, folder, model, class_names, start_step=0):
        self._model, self._class_names, self._writes = model, class_names, folder is not None
        self._earlier = folder is not None and os.path.basename(folder) == EARLIER and os.path.isfile(
            os.path.join(os.path.dirname(folder), run_folder.CONFIG))
        self.views = None       # of the last montage: arrays in [-1, 1], the weak views first
        self._writer = tf.summary.create_noop_writer()
        if self._writes:
            self._writer = tf.summary.create_file_writer(plain_path.plain(folder))
            # Readers forget this step too, and the checkpoint's own stays.
            first = start_step + 1 if start_step else 0
            restart = tf.compat.v1.Event(
                step=first, wall_time=time.time(), session_log=tf.compat.v1.SessionLog(
                    status=tf.compat.v1.SessionLog.START))
            # TensorFlow has no public function for events that are no summaries.
            tf.raw_ops.ImportEvent(writer=self._writer._resource,
                                   event=restart.SerializeToString())
        self._diagnose = tf.function(model.diagnostics) if hasattr(model, "diagnostics") else None

    def flags(self, values, unused):
        """Writes the flags of a run: as a table among the texts, and for the page HParams.

        Args:
          values: {flag: value}, as resolved.
          unused: names of those that have no effect on the run, which are left out.
        """
        if not self._writes:
            return
        values = {name: value if isinstance(value, (bool, int, float))
                  else command.shown(command.readable(value))
                  for name, value in values.items() if name not in unused}
        code = lambda text: "`" + str(text).replace("`", "'").replace("|", "\\|") + "`"
        with self._writer.as_default(0):
            tf.summary.text("flags", "\n".join(["| flag | value |", "| --- | --- |"] + [
                f"| {code(name)} | {code(value) if value != '' else ''} |" for name, value in values.items()]))
            hparams.hparams(values)

    def scalars(self, step, values, group="training"):
        """Writes `values`, {name: float}, as one record.

        The operations of tf.summary.scalar would cost milliseconds.
        """
        if not self._writes:
            return
        summary = tf.compat.v1.Summary()
        for name, number in values.items():
            value = summary.value.add(tag=f"{group}/{name}")
            value.metadata.plugin_data.plugin_name = "scalars"
            value.tensor.dtype = tf.float32.as_datatype_enum
            value.tensor.float_val.append(number)
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def accuracies(self, step, figures):
        """Writes accuracies, {name: fraction} as of evaluation.evaluate."""
        if self._earlier:       # whose curves go on
            self.scalars(step, figures, "evaluation")
        else:
            self.scalars(step, {name.removesuffix("_accuracy"): value for name, value in figures.items()},
                         "accuracy")

    def confusion(self, step, matrices):
        """Writes the student's confusion matrix, of test data or, where there are none, held-out ones.

        Args:
          matrices: as of evaluation.evaluate.
        """
        part = next((each for each in ("test", "holdout") if f"student_{each}" in matrices), None)
        if part is None or not self._writes:
            return
        matrix, words = matrices[f"student_{part}"], {"test": "test data", "holdout": "held-out data"}
        with pictures.or_warn("TensorBoard's confusion matrix"):
            self.image(step, f"confusion_matrix/student_{part}", confusion.picture(
                matrix, self._class_names,
                f"What the student takes for what: {words[part]}, {matrix.sum():,} examples"))

    def classes(self, step, by_class):
        """Writes each class's accuracy on test and held-out data, as of evaluation.evaluate.

        Of many classes, whose scalars nobody could look through, it writes a histogram.
        """
        for part, accuracies in by_class.items():
            found = {number: value for number, value in enumerate(accuracies) if value is not None}
            if part.endswith("_labeled") or not self._writes:
                continue
            if len(accuracies) <= MOST_CLASSES:
                self.scalars(step, {command.readable(self._class_names[number]): value
                                    for number, value in found.items()}, f"class_accuracy/{part}")
            else:
                with self._writer.as_default(step):
                    tf.summary.histogram(f"class_accuracy/{part}", list(found.values()))

    def image(self, step, name, png):
        """Writes an image; `png` is the bytes of a PNG file."""
        if self._writes:
            with self._writer.as_default(step):
                tf.summary.image(name, tf.io.decode_png(png, channels=3)[tf.newaxis])

    def costly(self, step, batch, examples_per_second=None):
        """Measures and writes what a training step does not, on `batch`, the batch of the next step.

        With a teacher that learns, that is what MetaPseudoLabels.diagnostics returns, with a
        histogram of the pseudo labels' classes. For images it is both views of some unlabeled ones,
        with their pseudo labels. examples_per_second is written if it is given.

        Returns:
          {name: float} of what diagnostics measured; {} without a teacher that learns.
        """
        values, pseudo_labels = {}, None
        if self._diagnose is not None:      # all workers have to take part
            values = {name: value.numpy() for name, value in self._diagnose(batch).items()}
            pseudo_labels = values.pop("pseudo_labels")
        measured = {name: float(value) for name, value in values.items()}
        ratio = curves.signal_ratio(measured)
        if not self._writes:
            return measured
        if examples_per_second is not None:
            values["examples_per_second"] = examples_per_second
        if ratio is not None:
            values["meta_gradient_ratio"] = ratio
        if values:
            self.scalars(step, values, "diagnostics")
        with self._writer.as_default(step):
            if pseudo_labels is not None:
                tf.summary.histogram("pseudo_labels/class", pseudo_labels.argmax(axis=-1),
                                     buckets=len(self._class_names))
            strategy = self._model.distribute_strategy
            views = tf.nest.map_structure(
                lambda value: strategy.experimental_local_results(value)[0],
                batch.get("unlabeled", {}))
            if "image" in views and views["image"].shape.rank == 4:
                self.views = [views[name].numpy()[:MONTAGE_IMAGES] for name in ("image", "augmented")
                              if name in views]
                self._views(step, self.views, pseudo_labels)
        return measured

    def _views(self, step, views, pseudo_labels):
        with pictures.or_warn("TensorBoard's montage of views"):
            self.image(step, "views/weak_and_strong",
                       montage(views, pseudo_labels, self._class_names))

    def close(self):
        """Writes what is still buffered."""
        self._writer.close()


def heading(count, labeled):
    """The words above a montage of `count` views of each image, with pseudo labels or without."""
    words = "top: weak view, bottom: strong view" if count > 1 else "weak views"
    return f"{words}\nclass and number: what the teacher thinks, how surely" if labeled else words


def montage(views, pseudo_labels, class_names):
    """Draws the views of images, those of one image below each other, under its pseudo label.

    Words above them all say what is seen.

    Args:
      views: arrays [B, H, W, C] in [-1, 1], the weak views first. At most 16 images are shown.
      pseudo_labels: distributions [B, K], or None for no titles.
      class_names: the K names of the classes.

    Returns:
      The bytes of a PNG file.
    """
    count = min(MONTAGE_IMAGES, len(views[0]))
    height, width, channels = views[0].shape[1:]
    title = max(height // 3, 4)     # rows of pixels, above each pair
    columns = math.ceil(math.sqrt(count * len(views)))
    rows = math.ceil(count / columns)
    row_height = title + len(views) * (height + 1)
    words = heading(len(views), pseudo_labels is not None)
    head = math.ceil(HEADING * (1 + words.count("\n")) * (width + 2))      # rows of pixels, for the words
    canvas = np.ones((head + rows * row_height, columns * (width + 2), channels), np.float32)
    for i in range(count):
        top, left = head + i // columns * row_height + title, i % columns * (width + 2) + 1
        for j, view in enumerate(views):
            start = top + j * (height + 1)
            canvas[start:start + height, left:left + width] = view[i]
    # Text by the figure's renderer, without pyplot and its global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    inches = columns * 1.1
    figure = Figure((inches, inches * canvas.shape[0] / canvas.shape[1]), dpi=80)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas.squeeze() * 0.5 + 0.5, vmin=0, vmax=1, cmap="gray", aspect="auto",
                interpolation="nearest")
    axes.axis("off")
    axes.text(canvas.shape[1] / 2, head / 2, words, ha="center", va="center", fontsize=7, parse_math=False,
              usetex=False)
    for i in range(count if pseudo_labels is not None else 0):
        best = pseudo_labels[i].argmax()
        center = (i % columns * (width + 2) + width / 2 + 0.5,
                  head + i // columns * row_height + title / 2)
        name = pictures.shortened(class_names[best], lambda text: len(text) <= TITLE_LETTERS)
        axes.text(*center, f"{name} {pseudo_labels[i][best]:.2f}", ha="center", va="center",
                  fontsize=8, parse_math=False, usetex=False)      # a name may have $ and _
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()

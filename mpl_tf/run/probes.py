"""Records how ReducedMPL's teacher changes q_large's distributions (Section 5.3, Figure 10).

The probes are a fixed set of unlabeled examples. Every evaluation records the mean entropy of the
teacher's targets for them, and the fraction of them whose likeliest class differs from q_large's.
At the start and after every quarter of the training the distributions themselves are recorded. The
journal in the checkpoints holds all records, so that a resumed run keeps the earlier ones.
"""

import io

import numpy as np
import tensorflow as tf

from mpl_tf.common import pictures
from mpl_tf.datasets.images import as_images

PROBES, SHOWN, CLASSES_SHOWN = 256, 8, 10       # number of probes; of those, and of classes, drawn


class Probes:
    """The probes of a run.

    Args:
      dataset: a datasets.Dataset with unlabeled_probs.
      teacher: network that maps distributions [B, K] to logits [B, K].
      journal: checkpoints.Journal; `journal.probes` is {"steps", "entropy", "changed": lists with
        one number per record, "distributions": {step: [SHOWN, K] as lists}}.
      train_steps, stride: steps of the run, and of one execution of the train function.
      plots: whether TensorBoard also gets the figure, at every quarter.
    """

    def __init__(self, dataset, teacher, journal, train_steps, stride=1, plots=True):
        count = len(dataset.unlabeled)
        self._chosen = np.sort(np.random.default_rng(0).choice(
            count, min(count, PROBES), replace=False))      # in order: the file may be on disk
        probs = np.asarray(dataset.unlabeled_probs[self._chosen], np.float32)
        self.q_large = probs / probs.sum(axis=1, keepdims=True)
        self._plots = plots
        self._dataset, self._teacher, self._journal = dataset, teacher, journal
        self._quarters = {-(-train_steps * quarter // (4 * stride)) * stride
                          for quarter in range(5)}

    def due(self, step):
        """Whether the training begins at `step`, or a quarter of it ends there."""
        return step in self._quarters

    def record(self, step, board):
        """Records the targets at `step` in the journal and in TensorBoard.

        Args:
          board: tensorboard.Summaries.
        """
        targets = tf.nn.softmax(self._teacher(self.q_large, training=False)).numpy()
        record = self._journal.probes
        if step in record["steps"]:
            return
        figures = {"entropy": _entropy(targets),
                   "changed": float(np.mean(targets.argmax(1) != self.q_large.argmax(1)))}
        record["steps"].append(step)
        for name, value in figures.items():
            record[name].append(value)
        if self.due(step):
            record["distributions"][str(step)] = np.round(targets[self._shown()], 5).tolist()
        board.scalars(step, {"entropy": figures["entropy"],
                             "entropy_of_q_large": _entropy(self.q_large),
                             "top_class_changed": figures["changed"]}, "targets")
        if self._plots and self.due(step):
            with pictures.or_warn("TensorBoard's picture of the probes"):
                board.image(step, "targets/of_probe_images", self.figure())

    def _shown(self):
        return np.linspace(0, len(self._chosen) - 1, min(SHOWN, len(self._chosen))).astype(int)

    def figure(self):
        """Draws Figure 10: a row per probe image, a column per quarter. Returns the PNG's bytes."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        record, shown = self._journal.probes, self._shown()
        steps = sorted(map(int, record["distributions"]))
        columns = [("q_large", self.q_large[shown])] + [
            (f"step {step}", np.asarray(record["distributions"][str(step)])) for step in steps]
        rows, width = len(shown), len(columns) + 1
        figure = Figure((1.5 * width, 0.8 * rows + 2.2), dpi=80, layout="constrained")
        grid = figure.add_gridspec(rows + 3, width)
        for row, image in enumerate(self._images(shown)):
            axes = figure.add_subplot(grid[row, 0])
            axes.imshow(image.squeeze(), vmin=0, vmax=255, cmap="gray")
            axes.axis("off")
            order = np.sort(np.argsort(-self.q_large[shown[row]])[:CLASSES_SHOWN])
            for column, (title, distributions) in enumerate(columns, start=1):
                axes = figure.add_subplot(grid[row, column])
                heights = distributions[row][order]
                axes.bar(range(len(order)), heights, color=[
                    "C1" if h == heights.max() else "C0" for h in heights])
                axes.set(ylim=(0, 1), yticks=[])
                axes.set_xticks(range(len(order)), order if row == rows - 1 else [], fontsize=5)
                if row == 0:
                    axes.set_title(title, fontsize=8)
        halves = figure.add_subplot(grid[rows:, :width // 2]), figure.add_subplot(
            grid[rows:, width // 2:])
        marker = "." if len(record["steps"]) == 1 else None
        halves[0].plot(record["steps"], record["entropy"], marker=marker, label="the teacher's targets")
        halves[0].axhline(_entropy(self.q_large), color="gray", linestyle=":",
                          label="q_large: the stored ones of the large network")
        halves[0].set_title(f"mean entropy of {len(self._chosen)} probe images' classes [nats]", fontsize=8)
        halves[1].plot(record["steps"], record["changed"], marker=marker)
        halves[1].set_title("fraction whose likeliest class is not q_large's", fontsize=8)
        halves[1].set_ylim(0, max(0.05, 1.05 * max(record["changed"])))
        figure.legend(*halves[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                      fontsize=7, frameon=False)
        for axes in halves:
            axes.tick_params(labelsize=7)
            axes.set_xlabel("step", fontsize=7)
        png = io.BytesIO()
        FigureCanvasAgg(figure).print_png(png)
        return png.getvalue()

    def _images(self, shown):
        """The shown probes, uint8 [n, H, W, C]."""
        return as_images(self._dataset.unlabeled).pictures(self._chosen[shown])


def _entropy(distributions):
    """Mean entropy in nats of [N, K], a float."""
    safe = np.where(distributions > 0, distributions, 1.0)
    return float(-(distributions * np.log(safe)).sum(axis=1).mean())

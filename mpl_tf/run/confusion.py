"""Confusion matrices: which classes are taken for which, counted and drawn; no TensorFlow."""

import io

import numpy as np

from mpl_tf.common import pictures

MOST = 100          # classes up to which a picture has all of them
WORST = 40          # of more classes, how many it has
LETTERS = 18        # of a class's name
COUNTED = 2000      # classes up to which a run counts pairs: their matrix grows with the square


def counts(labels, predicted, classes):
    """int [K, K]: how many examples of the class of each row are taken for that of each column."""
    return np.bincount(labels * classes + predicted, minlength=classes ** 2).reshape(classes, classes)


def mistakes(labels, predicted, classes, most):
    """[(really, taken for, how many examples)], at most `most`, the commonest first; without the whole matrix."""
    wrong = labels != predicted
    pairs, numbers = np.unique(labels[wrong] * classes + predicted[wrong], return_counts=True)
    order = np.argsort(-numbers, kind="stable")[:most]
    return [(*divmod(int(pair), classes), int(number)) for pair, number in zip(pairs[order], numbers[order])]


def worst(matrix, most=WORST):
    """The positions, in order, of the `most` classes with which most mistakes have to do."""
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return np.sort(np.argsort(-mistakes, kind="stable")[:most])


def picture(matrix, class_names, title):
    """Draws a confusion matrix by class name, each row shaded by its shares. Returns a PNG's bytes.

    Args:
      matrix: as of `counts`. title: what it is of, in words.
    """
    import matplotlib
    with matplotlib.rc_context({"text.usetex": False, "text.parse_math": False}):   # a name may have $ and _
        return _drawn(matrix, class_names, title)


def _drawn(matrix, class_names, title):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    total = len(matrix)
    chosen = np.arange(total) if total <= MOST else worst(matrix)
    if total > MOST:
        title += f"; the {len(chosen)} of {total} classes with most mistakes"
    shares = matrix[np.ix_(chosen, chosen)] / np.maximum(matrix.sum(axis=1)[chosen], 1)[:, None]
    names = [pictures.shortened(class_names[k], lambda text: len(text) <= LETTERS) for k in chosen]
    size = max(4.5, 0.2 * len(chosen) + 2)
    figure = Figure((size + 0.8, size), dpi=90, layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(chosen)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(chosen)), names, fontsize=8)
    axes.set(xlabel="taken for", ylabel="really")
    axes.set_title(title, fontsize=9 + size // 4, wrap=True)
    if len(chosen) <= 25:
        for i, row in enumerate(chosen):
            for j, column in enumerate(chosen):
                if matrix[row, column]:
                    axes.text(j, i, int(matrix[row, column]), ha="center", va="center", fontsize=7,
                              color="white" if shares[i, j] > 0.55 else "black")
    figure.colorbar(shown, ax=axes, shrink=0.8).set_label("% of the class", fontsize=8)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()

"""The figure of a run's curves: all of it is seen, in plain words."""

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpl_tf.run import curves

EVALUATIONS = [{"step": step, "student_test_accuracy": 0.1 * step, "R": 1.0 / step, "teacher_odd_term_loss": 1.0,
                "student_test_balanced_accuracy": 0.5, "teacher_meta_loss": 2.0, "teacher_test_accuracy": 0.2}
               for step in (1, 2, 3)]


def test_curves_are_a_picture(tmp_path):
    curves.curves(tmp_path / "curves.png", EVALUATIONS)
    image = tf.io.decode_png(tf.io.read_file(str(tmp_path / "curves.png")))
    assert image.shape[0] == 500 and len(np.unique(image.numpy().reshape(-1, image.shape[-1]), axis=0)) > 10


def test_legends_say_what_is_drawn_and_hide_none_of_it():
    figure = Figure((10, 5), layout="constrained")
    for axes, draw in zip(figure.subplots(1, 2), (curves.draw_accuracies, curves.draw_losses)):
        draw(axes, EVALUATIONS)
        curves.legend_below(axes, 1)
    FigureCanvasAgg(figure).draw()
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert texts == [["student, test data", "teacher, test data"], [
        "R: the student's loss on labeled data after its update", "teacher, odd term"]]
    whole = figure.bbox
    for axes in figure.axes:
        legend, inner = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert legend.y1 < inner.y0 and not legend.overlaps(inner)
        assert legend.x0 >= 0 and legend.y0 >= 0 and legend.x1 <= whole.x1
    assert all(tick == int(tick) for axes in figure.axes for tick in axes.get_xticks())
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [10.0, 20.0, 30.0])


def test_several_runs_are_means_over_seeds_with_standard_errors(tmp_path):
    seeds = [[{"step": step, "student_test_accuracy": value, "student_labeled_accuracy": 1.0}
              for step, value in enumerate(values, start=1)] for values in ((0.2, 0.5), (0.4, 0.5, 0.9))]
    rows = {"_hidden": seeds, "$x^2$": [EVALUATIONS], "never evaluated": [[]]}
    figure = curves.figure_of_several(rows)
    FigureCanvasAgg(figure).draw()
    test, labeled = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "student, _hidden", "student, $x^2$", "teacher, $x^2$"]
    np.testing.assert_allclose(test.lines[0].get_xydata(), [[1, 30], [2, 50]])    # the steps of both
    [band] = test.collections[0].get_paths()
    at_first = band.vertices[band.vertices[:, 0] == 1][:, 1]
    np.testing.assert_allclose([at_first.min(), at_first.max()], [20, 40])   # 30 +- (14.14 / sqrt 2)
    assert len(labeled.lines) == 1
    with open(tmp_path / "curves.png", "wb") as file:
        curves.of_several(file, rows)
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_rows_are_told_apart_and_their_names_are_not_cut():
    names = [f"{'a long name' * 6}_rate_0.{number}_{'W' * 60}" for number in range(9)]
    figure = curves.figure_of_several({name: [EVALUATIONS] for name in names})
    FigureCanvasAgg(figure).draw()
    [legend], lines = figure.legends, figure.axes[0].lines
    assert len({text.get_text() for text in legend.get_texts()}) == len(lines) == 18
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == 18
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1
    assert all(box.y1 < axes.get_window_extent().y0 for axes in figure.axes)

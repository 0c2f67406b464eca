"""The page: whatever names hold, it is well-formed, complete in itself and small."""

import csv
import dataclasses
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpl_tf.report import comparing, contents, files, galleries, markup, page, pictures, sections, statistics
from mpl_tf.run import curves
from tests.report import made
from tests.runs import settings

VOID = {"img", "meta", "br", "hr"}


class Reader(html.parser.HTMLParser):
    """Checks that elements end in order, and gathers pictures, links and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.tags, self.texts = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on")], given
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_markup_escapes_everything_but_markup():
    made_ = markup.element("p", "a<b", markup.element("b", "&", title="\"x' onload=y"), None, [1, "é"])
    assert made_ == "<p>a&lt;b<b title=\"&quot;x&#x27; onload=y\">&amp;</b>1é</p>"
    assert markup.escaped("x\udcff\u202e\n") == "x\\udcff\\u202e\\n"
    assert isinstance(markup.escaped(markup.escaped("<")), markup.Markup) and markup.escaped(markup.escaped("<")) == "&lt;"


def test_flags_stay_on_one_line():
    assert markup.element("p", markup.with_flags("with --meta_weight=0, <or> -- not.")) == (
        '<p>with <span class="flag">--meta_weight=0</span>, &lt;or&gt; -- not.</p>')


def test_hostile_names_are_text():
    text = page.page(made.page_contents())
    read = Reader(text)
    text.encode("utf-8")
    assert "script" not in read.tags and all(link.startswith("data:") for link in read.links)
    assert not re.search(r"https?://|url\(", text.replace("data:", ""))
    said = "".join(read.texts)
    for name in ("<script>alert(1)</script>", "$5_to_$20", "../up", "bad\\udcff", "\\u202eevil", "&lt;", "Report of <b>run"):
        assert name in said, name
    assert "\u202e" not in text


def test_every_picture_has_a_size_and_they_are_few():
    read = Reader(page.page(made.page_contents()))
    assert all(int(image["width"]) > 0 and int(image["height"]) > 0 and image["alt"] for image in read.images)
    thumbnails = [image for image in read.images if int(image["width"]) <= pictures.THUMBNAIL]
    assert 30 < len(thumbnails) <= 60 and len(read.images) - len(thumbnails) == 4


def test_a_page_that_would_be_too_large_has_no_thumbnails(monkeypatch):
    whole = page.page(made.page_contents())
    assert len(whole) < len(whole.encode()) - 1         # bytes count, not letters
    monkeypatch.setattr(page, "MOST_BYTES", len(whole.encode()) - 1)
    text = page.page(made.page_contents())
    assert len(text.encode()) < page.MOST_BYTES
    read = Reader(text)
    assert not [image for image in read.images if int(image["width"]) <= pictures.THUMBNAIL]


def test_it_says_how_sure_an_accuracy_is():
    said = "".join(Reader(page.page(made.page_contents(np.arange(100) % 100 < 87, images=False))).texts)
    assert "87 of 100 test images right" in said and "95 % interval 79.0 to 92.2 %" in said
    assert "100 test images are few" in said
    many = "".join(Reader(page.page(made.page_contents(np.arange(5000) % 100 < 87, images=False))).texts)
    assert "4350 of 5000 test images right" in many and "are few" not in many
    assert "What to label next" not in many and "surest mistakes" not in many


def test_points_and_one_network_make_a_page_too():
    found = made.page_contents(names=["a", "b"], images=False)
    alone = dataclasses.replace(found, predicted=made.predictions(np.ones(9, bool), 2, teacher=False), results=made.results(
        diagnostics=[]), probabilities={"student": found.probabilities["student"][:9]})
    said = "".join(Reader(page.page(alone)).texts)
    assert "Teacher" not in said and "The meta signal" not in said and "was taken for another class" in said


def test_many_classes_are_listed():
    names = [f"class {k}" for k in range(120)]
    text = page.page(made.page_contents(np.arange(240) % 5 > 0, names=names, images=False))
    said = "".join(Reader(text).texts)
    assert "class 119" in said and "taken for →" not in said and len(text) < 1_000_000


def test_the_surest_mistakes_come_first():
    found = made.page_contents()
    wrong = contents.confident_mistakes(found, 5)
    assert not found.predicted.right("student")[wrong].any()
    sure = found.probabilities["student"][wrong].max(axis=1)
    rest = np.setdiff1d(np.flatnonzero(~found.predicted.right("student")), wrong)
    assert (np.diff(sure) <= 0).all() and found.probabilities["student"][rest].max() <= sure.min()
    differ = contents.disagreements(found, 100)
    assert set(differ) == set(np.flatnonzero(found.predicted.classes("student") != found.predicted.classes("teacher")))


def test_the_signal_is_shown_without_its_weight():
    """With a relative scale the weight is no factor of its length, and what is logged is of before it."""
    logged = [{"step": 5, "gradient_cosine": 0.5, "meta_gradient_norm_weights": 1.0,
               "objective_gradient_norm_weights": 4.0},
              {"step": 6, "meta_gradient_norm_weights": 1.0, "objective_gradient_norm_weights": 0.0}]
    for flags in ({"meta_weight": 30.0}, {"meta_weight": 0.5, "meta_scale": "relative"}):
        assert contents.signal({"flags": flags, "diagnostics": logged}) == {
            "cosine": [(5, 0.5)], "ratio": [(5, 0.25)]}
    assert contents.signal({"flags": {}}) == {}


def test_the_files_hold_the_same_figures(tmp_path):
    found = made.page_contents()
    assert files.write(str(tmp_path), found) == ["report.html", "report.csv", "label_next.csv"]
    with open(tmp_path / "report.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    [accuracy] = [row for row in rows if (row["network"], row["figure"]) == ("student", "test accuracy")]
    assert float(accuracy["value"]) == found.predicted.right("student").mean() and accuracy["count"] == "40"
    with open(tmp_path / "label_next.csv", encoding="utf-8-sig", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["class"] for row in listed] == [""] * 20 and listed[1]["file"] == "$5_to_$201.jpg"
    assert list(listed[0]) == list(galleries.HEADER)
    files.check(str(tmp_path), "--output_dir")          # its own files may be written again
    table = (tmp_path / "report.csv").read_text("utf-8-sig")
    (tmp_path / "report.csv").write_text(table.replace(",", ";"), "utf-8")      # as a spreadsheet has saved it
    files.check(str(tmp_path), "--output_dir")


def test_the_files_hold_what_mcnemar_counted():
    """Of ten images the run alone gets three right, the control alone one: p is 2 (1 + 4) / 2^4."""
    found = comparing.against([made.run([1, 1, 1, 1, 1, 1, 0, 0, 0, 0])],
                              [made.run([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], "control", meta_weight=0.0)])
    rows = {(role, figure): rest for role, figure, *rest in files.differences(found)}
    assert rows["student", "exact McNemar p against its control, seed 0"] == [0.625, None, None, 4]
    difference, *_, count = rows["student", "difference from its control, seed 0"]
    assert (round(difference, 9), count) == (0.2, 10)


@pytest.mark.parametrize("change, kept", [
    (lambda text: text.replace(".jpg,,", ".jpg,fox,", 1), True), (lambda text: text, False),
    (lambda text: text.replace(",", ";").replace(".jpg;;", ".jpg;fox;", 1), True),
    (lambda text: "PK\x03\x04", True), (lambda text: text.replace(".jpg,,", ".jpg, ,", 1), False)])
def test_classes_that_somebody_has_filled_in_stay(change, kept, tmp_path):
    found, path = made.page_contents(), tmp_path / "label_next.csv"
    files.write(str(tmp_path), found)
    new = path.read_text("utf-8-sig")
    path.write_text(change(new), "utf-8")
    for _ in range(2):      # one that nobody has touched is written again
        names = files.write(str(tmp_path), found)
        assert names[2:] == (["label_next_2.csv"] if kept else ["label_next.csv"])
    assert path.read_text("utf-8") == (change(new) if kept else "\ufeff" + new)
    assert (tmp_path / names[2]).read_text("utf-8-sig") == new
    assert len(list(tmp_path.glob("label_next*"))) == 1 + kept


def test_the_page_says_what_to_do_with_an_image_of_no_class():
    text = page.page(made.page_contents())
    assert "Leave the class of an image that is of none of them empty: it stays unlabeled." in text


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (96, 96, 3), (300, 40, 3), (1, 1, 1), (40, 40, 4)])
def test_thumbnails_are_pictures_of_any_shape(shape):
    url, width, height = pictures.thumbnail(np.full(shape, 7, np.uint8))
    import base64
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        assert image.size == (width, height) and max(image.size) <= pictures.THUMBNAIL


def test_no_figure_of_the_page_is_cut():
    """Neither words nor dots touch an edge, and legends lie below the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    bins = {"student": [statistics.Bin(0.9, 1.0, 50, 1.0, 1.0), statistics.Bin(0.4, 0.5, 50, 0.45, 0.0)]}
    evaluations = made.results()["evaluations"]
    signal = {"ratio": [(1, 0.1), (2, 0.2)], "cosine": [(1, 0.5), (2, -0.5)]}
    for draw in (pictures.draw_reliability(bins), pictures.draw_signal(signal),
                 pictures.draw_over_steps(curves.draw_accuracies, evaluations),
                 pictures.draw_over_steps(curves.draw_losses, evaluations)):
        figure = Figure((4.6, 3.4), dpi=150, layout="constrained")
        draw(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())[..., :3]
        assert all((edge == 255).all() for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]))
        for legend in figure.legends:
            assert all(not legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes)
    axes, dots = figure_of_dots(pictures.draw_reliability(bins))
    inner = axes.get_window_extent()
    for (x, y), radius in dots:
        assert inner.x0 < x - radius and x + radius < inner.x1 and inner.y0 < y - radius and y + radius < inner.y1


def figure_of_dots(draw):
    """(axes, [(centre, radius) of each dot, pixels]) of a figure of one scatter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure((4.6, 3.2), dpi=150, layout="constrained")
    draw(figure)
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    [dots] = axes.collections
    centres = axes.transData.transform(dots.get_offsets())
    return axes, list(zip(centres, np.sqrt(dots.get_sizes()) / 2 * 150 / 72))


def test_seeds_are_compared_within_what_accuracies_can_be():
    """Of two seeds that differ much Student's interval reaches below 0 %, which no accuracy does."""
    runs = [made.run(np.arange(40) < right, seed=seed) for seed, right in enumerate((4, 30))]
    controls = [made.run(np.arange(40) < right, "control", seed, meta_weight=0.0) for seed, right in enumerate((39, 20))]
    found = comparing.against(runs, controls)
    said = "".join(Reader(page.page(made.page_contents(images=False), found, runs, controls)).texts)
    assert "The comparison is over 2 seeds, all that follows it is of this one." in said
    # What is of both stands before what is of one, and the means before the single seeds.
    order = ["Did the meta gradient help?", "mean over seeds:", "student against its control, mean",
             "student against its control0", "How often it is right"]
    assert sorted(order, key=said.index) == order
    assert "42.5 %0.0 to 100.0 %2" in said and "student against its control, mean" in said


def test_a_mean_is_as_unsure_as_its_images_are_few():
    """Seeds that agree have no interval over seeds; Wilson's of 30 in 40 is 59.8 to 85.8 %."""
    runs = [made.run(np.arange(40) < 30, seed=seed) for seed in (0, 1)]
    said = "".join(Reader(str(markup.element("div", sections._means(runs, [])))).texts)
    assert "this flag file75.0 %59.8 to 85.8 %2" in said


def test_it_says_of_how_many_seeds_a_comparison_is():
    def said(seeds, others):
        runs = [made.run(np.arange(40) < 30, "photos_seed", seed) for seed in seeds]
        controls = [made.run(np.arange(40) < 20, "control_seed", seed, meta_weight=0.0) for seed in others]
        contents_ = dataclasses.replace(made.page_contents(images=False), config=runs[0].config)
        return "".join(Reader(page.page(contents_, comparing.against(runs, controls), runs, controls)).texts)

    one = said((0, 1), (1, 2))          # one pair
    assert one.startswith("\nReport of photos_seed0\n") and "over 2 seeds" not in one
    assert "The comparison is of seed 1 alone, all else is of this one." in one
    three = said((0, 1, 2), (0, 1))     # two pairs
    assert three.startswith("\nReport of photos, 2 seeds\n") and "The comparison is over 2 seeds, all" in three
    assert "The comparison is" not in said((0,), (7,))


def test_other_runs_have_a_row_each():
    runs = [made.run(np.arange(40) < 20, seed=seed) for seed in (0, 1)]
    others = [made.run(np.arange(40) < right, f"{name}_seed", seed, batch_size=size) for name, right, size in (
        ("X", 40, 8), ("Y", 0, 4)) for seed in (0, 1)]
    text = "".join(Reader(page.page(made.page_contents(images=False), comparing.against(runs, others), runs, others)).texts)
    assert re.search(r"X100\.0 %[\d.]+ to 100\.0 %2Y0\.0 %0\.0 to [\d.]+ %2", text) and "others" not in text
    assert "student against X, mean2 seeds-50.0" in text and "student against Y, mean2 seeds+50.0" in text


def test_short_names_stand_upright_and_long_ones_do_not():
    classes = [re.findall(r'<table class="(confusion[^"]*)"', page.page(made.page_contents(names=names, images=False)))
               for names in (["a", "b"], ["a", "long"], [f"class {k}" for k in range(20)])]
    assert classes == [["confusion"], ["confusion turned"], ["confusion many turned"]]


def test_points_are_not_called_images():
    found = made.page_contents(names=["a", "b"], images=False)
    points = dataclasses.replace(found, config=settings("/runs/moons", dataset="two_moons", labeled_examples=6))
    said = "".join(Reader(page.page(points)).texts)
    assert "30 of 40 test examples right" in said and "6 labeled examples" in said
    assert not re.search(r"\bimages?\b(?!-)", said)


def test_its_title_is_of_all_seeds():
    contents = made.page_contents(images=False)
    of_seed = dataclasses.replace(contents, config=settings("runs/all/photos_seed12", seed=12))
    assert [sections.title(of_seed, 1), sections.title(of_seed, 3)] == [
        "Report of photos_seed12", "Report of photos, 3 seeds"]
    assert sections.title(contents, 1) == "Report of <b>run"
    runs = [made.run(np.arange(40) < 30, seed=seed) for seed in (0, 1)]
    alone = page.page(of_seed, (), runs)        # nothing on it is over both seeds
    assert "Report of photos_seed12" in alone and "comparison is over" not in alone


def test_of_very_many_classes_the_worst_are_listed(monkeypatch):
    """Their whole matrix would take gigabytes of memory, and a row for each megabytes of the page."""
    count = sections.LISTED + 500
    right = np.arange(2 * count) % count >= 7       # the first seven classes are never right, the others always
    found = dataclasses.replace(
        made.page_contents(), class_names=[f"kind {k}" for k in range(count)],
        predicted=made.predictions(right, classes=count))
    monkeypatch.setattr("mpl_tf.run.confusion.counts", None)
    text = "".join(map(str, sections.classes(found)))
    assert f"The {sections.LISTED} of {count} classes of which" in text
    half = dataclasses.replace(found, predicted=dataclasses.replace(found.predicted, labels=found.predicted.labels % 4))
    assert f"The 4 of {count} classes that have test images; all are" in "".join(map(str, sections.classes(half)))
    assert text.index(">kind 6<") < text.index(">kind 7<") and f">kind {count - 1}<" not in text
    rows = list(files.figures(dataclasses.replace(found, probabilities={
        role: np.ones([2 * count, count]) / count for role in ("student", "teacher")})))
    assert len(rows) == 2 * (3 + count)

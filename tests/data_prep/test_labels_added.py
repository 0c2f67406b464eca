"""Labels files beside class folders: rows add to what the folders say, and never take its place."""

import os
import re

import pytest

from data_prep import image_folder
from mpl_tf import datasets
from mpl_tf.common import spreadsheet
from tests.data_prep.test_labels_csv import found, table
from tests.data_prep.test_programs import sidecar_of
from tests.data_prep.test_records_made import error_of, prepare
from tests.prep import contents, jpeg, put, saved, picture

CLASSES = ("cat", "deer")


@pytest.fixture
def photos(tmp_path):
    """Six images of each class in labeled/, ten in unlabeled/, at two depths."""
    for c, name in enumerate(CLASSES):
        for i in range(6):
            put(str(tmp_path / "photos" / "labeled" / name / f"{i}.jpg"), jpeg(10 * c + i))
    for i in range(10):
        put(str(tmp_path / "photos" / "unlabeled" / ("deep/" if i % 2 else "") / f"{i}.jpg"), jpeg(100 + i))
    return tmp_path / "photos"


def rows(*pairs):
    """Cells of rows like ("3", "cat"), of images of unlabeled/."""
    return [(f"unlabeled/{'deep/' if int(i) % 2 else ''}{i}.jpg", *rest) for i, *rest in pairs]


def made(photos, out, *tables, flags=(), code=0):
    files = []
    for number, text in enumerate(tables):
        files.append(photos.parent / f"{number} $x;*[1].csv")
        files[-1].write_text(text)
    assert prepare(photos, out, *(f"--labels_csv={file}" for file in files), *flags, module=image_folder) == code
    return out


def test_the_folders_labels_and_their_test_images_stay(photos, tmp_path, capsys):
    alone = found(made(photos, tmp_path / "alone"))
    capsys.readouterr()
    text = table([*rows(("0", "cat", "0.4"), ("1", "deer", "0.5"), ("2", " ", "0.6"), ("3", "", "0.7")),
                  ("labeled/cat/1.jpg", "cat", "1"), ("labeled/cat/2.jpg", "", "1")], "file,class,probability")
    out = made(photos, tmp_path / "out", text)
    said = capsys.readouterr().out
    assert "12 images are labeled by their folders, 2 by " in said and "1 row repeats in" in said
    assert "2 images have no class in " in said and "taken as unlabeled" not in said
    parts = found(out)
    assert parts["test"] == alone["test"] and len(parts["test"]) == 2
    assert parts["train"] == {**alone["train"], "unlabeled/0.jpg": "cat", "unlabeled/deep/1.jpg": "deer"}
    assert set(parts["unlabeled"]) == set(alone["unlabeled"]) - {"unlabeled/0.jpg", "unlabeled/deep/1.jpg"}
    assert sidecar_of(out)["class_names"] == list(CLASSES)
    assert "labels files name are not drawn" in sidecar_of(out)["test"]
    loaded = datasets.load("image_folder", data_dir=str(out), image_size=8)
    assert len(loaded.labeled.labels) == 12 and len(loaded.unlabeled) == 20 and len(loaded.test.labels) == 2


def test_one_row_of_a_class_with_many_images_is_enough(photos, tmp_path):
    parts = found(made(photos, tmp_path / "out", table(rows(("4", "deer")))))
    assert sorted({**parts["train"], **parts["test"]}.values()) == ["cat"] * 6 + ["deer"] * 7


@pytest.mark.parametrize("swapped", [False, True])
def test_a_second_table_loses_nothing_of_the_first(swapped, photos, tmp_path):
    """What the first left empty the second may fill in; the order of the tables does not matter."""
    alone = found(made(photos, tmp_path / "alone"))
    first, second = (table(rows(*pairs)) for pairs in (
        [("0", "cat"), ("1", "")], [("1", "deer"), ("2", "cat"), ("0", "cat")]))
    out = made(photos, tmp_path / "out", *((second, first) if swapped else (first, second)))
    parts = found(out)
    assert parts["test"] == alone["test"]
    assert parts["train"] == {**alone["train"], "unlabeled/0.jpg": "cat", "unlabeled/deep/1.jpg": "deer",
                              "unlabeled/2.jpg": "cat"}


def test_an_own_test_folder_stays_and_rows_may_add_to_it(photos, tmp_path, capsys):
    for c, name in enumerate(CLASSES):
        put(str(photos / "test" / name / "t.jpg"), jpeg(200 + c))
    text = table([*rows(("0", "cat", ""), ("1", "deer", "test"), ("2", "fox", "")),
                  ("test/cat/t.jpg", "cat", "test")], "file,class,split")
    out = made(photos, tmp_path / "out", text)
    parts = found(out)
    assert parts["test"] == {"test/cat/t.jpg": "cat", "test/deer/t.jpg": "deer", "unlabeled/deep/1.jpg": "deer"}
    assert len(parts["train"]) == 14 and parts["train"]["unlabeled/2.jpg"] == "fox"
    said = capsys.readouterr().out
    assert "14 images are labeled by their folders, 3 by" in said
    assert "the class 'fox' has no folder in labeled/, and 1 image to train on by" in said


def test_a_new_class_gets_test_images_and_a_test_row_joins_those_that_are_drawn(photos, tmp_path):
    alone = found(made(photos, tmp_path / "alone"))
    text = table(rows(("0", "ox", ""), ("1", "ox", ""), ("2", "ox", ""), ("3", "cat", "test")),
                 "file,class,split")
    parts = found(made(photos, tmp_path / "out", text))
    others = {name: label for name, label in parts["test"].items() if label != "ox"}
    assert others == {**alone["test"], "unlabeled/deep/3.jpg": "cat"} and len(parts["test"]) == 4
    assert sorted(parts["train"].values()) == ["cat"] * 5 + ["deer"] * 5 + ["ox"] * 2


def test_a_copy_of_a_test_image_is_not_trained_on(photos, tmp_path):
    alone = found(made(photos, tmp_path / "alone"))
    name = next(name for name, label in alone["test"].items() if label == "cat")
    put(str(photos / "unlabeled" / "0.jpg"), (photos / name).read_bytes())
    parts = found(made(photos, tmp_path / "out", table(rows(("0", "cat"), ("2", "cat")))))
    assert parts["test"] == {**alone["test"], "unlabeled/0.jpg": "cat"}
    assert parts["train"] == {**alone["train"], "unlabeled/2.jpg": "cat"}


def test_a_folder_of_one_class_and_rows_of_another(photos, tmp_path, capsys):
    (photos / "labeled" / "deer").rename(tmp_path / "away")
    assert prepare(photos, tmp_path / "out", module=image_folder) == 2
    assert "has 1 folder with a class: expected at least 2" in error_of(capsys)
    out = made(photos, tmp_path / "out", table(rows(("0", "ape"), ("2", "ape"), ("4", "ape"))))
    assert sidecar_of(out)["class_names"] == ["ape", "cat"]
    assert sidecar_of(out)["splits"]["train"]["class_histogram"] == [2, 5]


@pytest.mark.parametrize("texts, words", [
    ([table([("labeled/cat/0.jpg", "deer")])],
     r"csv, line 2: 'labeled/cat/0.jpg' lies in a folder of the class 'cat', and the row says 'deer'"),
    ([table([("labeled/cat/0.jpg", "cat", "test")], "file,class,split")], "the row says test: remove the line"),
    ([table([("labeled/cat/0.jpg", "", "unlabeled")], "file,class,split")], "and the row says unlabeled"),
    ([table([("test/cat/t.jpg", "cat")])], "'test/cat/t.jpg' is a test image by its folder: remove the line"),
    ([table([("test/cat/t.jpg", "deer", "test")], "file,class,split")], "of the class 'cat', and the row says"),
    ([table([("loose.jpg", "cat")])], "'loose.jpg' lies in none of labeled/, unlabeled/ and test/: move it"),
    ([table(rows(("0", "cat"))), table(rows(("2", "cat"), ("0", "deer")))],
     r"0 .*csv, line 2 and .*1 .*csv, line 3 do not agree about 'unlabeled/0.jpg', which is 'cat' in train there "
     "and is 'deer' in train here"),
    ([table(rows(("0", "cat"), ("0", "cat")))], "line 2 and line 3 both name 'unlabeled/0.jpg'"),
    ([table(rows(("0", "fox", "test")), "file,class,split")], "the class 'fox' has test images, .* and none to"),
    ([table(rows(("77", "cat")))], "'unlabeled/deep/77.jpg' is not in .*photos")])
def test_rows_that_contradict_are_refused_in_one_line(texts, words, photos, tmp_path, capsys):
    put(str(photos / "loose.jpg"), jpeg(300))
    put(str(photos / "test" / "cat" / "t.jpg"), jpeg(301))
    made(photos, tmp_path / "out", *texts, code=2)
    error = error_of(capsys)
    assert re.search(words, error), error
    assert not (tmp_path / "out").exists()


def test_a_single_row_of_a_mistyped_class_is_asked_about(photos, tmp_path, capsys):
    made(photos, tmp_path / "out", table(rows(("0", "deer*"))), code=2)
    assert "line 2: the class 'deer*' has no folder in labeled/, and this image alone; is 'deer' meant?" in (
        error_of(capsys))
    made(photos, tmp_path / "out", table(rows(("0", "newt"))), code=2)
    assert "the class 'newt' has 1 image: expected at least 2" in error_of(capsys)


def test_images_of_a_test_folder_are_not_taken_as_unlabeled_in_silence(photos, tmp_path, capsys):
    """Without folders in labeled/ the table says everything, also what is a test image."""
    (photos / "labeled").rename(photos / "some")
    put(str(photos / "test" / "cat" / "t.jpg"), jpeg(301))
    pairs = [(f"some/{name}/{i}.jpg", name, "") for name in CLASSES for i in range(3)]
    made(photos, tmp_path / "out", table(pairs, "file,class,split"), code=2)
    assert "1 image of " in (error := error_of(capsys)) and "such as test/cat/t.jpg, would become unlabeled" in error
    out = made(photos, tmp_path / "out", table([*pairs, ("test/cat/t.jpg", "cat", "test")], "file,class,split"))
    assert found(out)["test"] == {"test/cat/t.jpg": "cat"}


def test_overwriting_without_the_table_is_told(photos, tmp_path, capsys):
    out = made(photos, tmp_path / "out", table(rows(("0", "cat"), ("2", "deer"))))
    with_table = contents(out)
    capsys.readouterr()
    assert prepare(photos, out, "--overwrite", module=image_folder) == 0
    said = capsys.readouterr().out
    assert "had 12 examples of train, now 10; what is replaced was made by: python -m data_prep.image_folder" in said
    assert "labels_csv" in said
    made(photos, out, table(rows(("0", "cat"), ("2", "deer"))), flags=["--overwrite"])
    assert "now" not in capsys.readouterr().out.partition("labeled by")[2].partition("\n")[0]
    assert contents(out) == with_table


def test_a_class_folder_whose_accents_are_written_otherwise(photos, tmp_path):
    import unicodedata
    composed, other = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    (photos / "labeled" / "deer").rename(photos / "labeled" / other)
    put(str(photos / "unlabeled" / "0.png"), saved(picture(1), "PNG"))
    out = made(photos, tmp_path / "out", table([("unlabeled/0.png", composed)]))
    assert sidecar_of(out)["class_names"] == [other, "cat"]
    assert found(out)["train"]["unlabeled/0.png"] == other


def test_a_class_as_our_own_tables_write_it_is_that_class(photos, tmp_path):
    """label_next.csv and predict --csv put a ' before what a spreadsheet would run."""
    os.rename(photos / "labeled" / "cat", photos / "labeled" / "-cat [1]")
    written = spreadsheet.cell("-cat [1]")
    assert written == "'-cat [1]"
    out = made(photos, tmp_path / "out", table(rows(("0", written)), "file,class"))
    assert sidecar_of(out)["class_names"] == ["-cat [1]", "deer"]
    assert found(out)["train"]["unlabeled/0.jpg"] == "-cat [1]"

"""Images in one folder, and a labels file as people and labeling tools write it."""

import os
import re
import unicodedata

import pytest

from data_prep import image_folder, labels_csv
from mpl_tf import datasets
from tests.data_prep.test_programs import images_of, sidecar_of
from tests.data_prep.test_records_made import error_of, prepare
from tests.prep import contents, jpeg, put

NAMES = [f"{i}.jpg" for i in range(12)]
LABELED = [(name, ("cat", "dog")[i % 2]) for i, name in enumerate(NAMES[:8])]


@pytest.fixture
def photos(tmp_path):
    for i, name in enumerate(NAMES):
        put(str(tmp_path / "photos" / name), jpeg(i))
    return tmp_path / "photos"


def table(rows, header="file,class", separator=",", end="\n"):
    return end.join([header, *(separator.join(row) for row in rows), ""])


def made(photos, text, out, *flags, encoding="utf-8", code=0):
    file = photos.parent / "labels.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    assert prepare(photos, out, f"--labels_csv={file}", *flags, module=image_folder) == code
    return out


def found(out):
    return {split: {name: record.text for name, record in images_of(out, split).items()}
            for split in sidecar_of(out)["splits"]}


def test_it_takes_the_place_of_class_folders(photos, tmp_path, capsys):
    """The same bytes as by folders, but for the files' names; what has no class is unlabeled."""
    out = made(photos, table([*LABELED, ("8.jpg", ""), ("9.jpg", "")]), tmp_path / "out")
    said = capsys.readouterr().out
    assert "2 images of" in said and "such as 10.jpg: taken as unlabeled" in said
    parts = found(out)
    assert {**parts["train"], **parts["test"]} == dict(LABELED)
    assert sorted(parts["test"].values()) == ["cat", "dog"] and len(parts["train"]) == 6
    assert sorted(parts["unlabeled"]) == sorted(NAMES[8:])
    records = images_of(out, "train")
    assert all(record.encoded == jpeg(int(name[0])) for name, record in records.items())
    assert sidecar_of(out)["class_names"] == ["cat", "dog"]
    loaded = datasets.load("image_folder", data_dir=str(out), image_size=8)
    assert len(loaded.labeled.labels) == 6 and len(loaded.unlabeled) == 10 and len(loaded.test.labels) == 2


@pytest.mark.parametrize("text", [
    table([(label, name) for name, label in LABELED], "Label;Image", ";", "\r\n"),
    "\ufeff" + table(LABELED, "File Name\tClass_Name", "\t"),
    "sep=;\r\n" + table([(*row, "x") for row in LABELED], "filename;category;annotator", ";", "\r\n"),
    table([(f"./{name}", f" {label} ") for name, label in LABELED]).replace("\n", "\n\n"),
    table([(f'"{name}"', f'"{label}"') for name, label in LABELED], '"path","choice"'),
    table([("1", f".\\{name}", label) for name, label in LABELED], "id,image,label")])
def test_headers_separators_and_line_ends_as_tools_write_them(text, photos, tmp_path):
    parts = found(made(photos, text, tmp_path / "out"))
    assert {**parts["train"], **parts["test"]} == dict(LABELED)


def test_splits_and_folders_below(photos, tmp_path, capsys):
    put(str(photos / "more" / "13.jpg"), jpeg(13))
    rows = [*((name, label, "") for name, label in LABELED[:4]), ("4.jpg", "cat", "Test"),
            ("5.jpg", "dog", "train"), ("more/13.jpg", "dog", "test"), ("6.jpg", "cat", "unlabelled"),
            (str(photos / "7.jpg"), "", "unlabeled")]
    out = made(photos, table(rows, "file,class,split"), tmp_path / "out")
    assert "1 image has a class and the split unlabeled, such as 6.jpg" in capsys.readouterr().out
    parts = found(out)
    assert parts["train"] == dict([*LABELED[:4], LABELED[5]])
    assert parts["test"] == {"4.jpg": "cat", "more/13.jpg": "dog"}
    assert {"6.jpg", "7.jpg", "8.jpg"} < set(parts["unlabeled"])
    assert "calls test" in sidecar_of(out)["test"]


def test_names_with_commas_accents_and_alike_classes(photos, tmp_path, capsys):
    composed, other = (unicodedata.normalize(form, "Käfer, klein.jpg") for form in ("NFC", "NFD"))
    os.rename(photos / "0.jpg", photos / other)
    rows = [(f'"{composed}"', "cat"), *LABELED[1:], ("8.jpg", "Cat"), ("9.jpg", "Cat")]
    out = made(photos, table(rows), tmp_path / "out")
    assert "classes 'Cat' and 'cat', whose names differ only in case" in capsys.readouterr().out
    parts = found(out)
    assert {**parts["train"], **parts["test"]}[other] == "cat"
    assert sidecar_of(out)["class_names"] == ["Cat", "cat", "dog"]


@pytest.mark.parametrize("text, words", [
    (table([*LABELED, ("20.jpg", "cat"), ("x", "cat")]),
     "labels.csv, line 10: '20.jpg' is not in .*photos: correct the name.*and 1 more such lines"),
    (table([*LABELED, ("8.JPG", "cat")]), "'8.JPG' is not in .*; is '8.jpg' meant"),
    (table([*LABELED, ("8", "cat")]), "'8' is not in .*; is '8.jpg' meant"),
    (table([*LABELED, ("0.jpg", "cat")]), "line 2 and line 10 both name '0.jpg'"),
    (table([*LABELED, ("../photos/../x.jpg", "cat")]), "leads out of .*photos: expected a path relative"),
    (table([*LABELED, ("/etc/passwd", "cat")]), "'/etc/passwd' leads out"),
    (table([*LABELED, ("", "cat")]), "line 10: the file's name is empty"),
    (table([*LABELED, ("notes.txt", "cat")]), "'notes.txt' is no image by its name"),
    (table([*LABELED, (".8.jpg", "cat")]), "'.8.jpg' is hidden"),
    (table([*LABELED, ("8.jpg", "fox")]), "the class 'fox' has 1 image: expected at least 2"),
    (table(LABELED[:8:2]), "labeled images of 1 class, 'cat': expected at least 2"),
    (table([(name, "") for name in NAMES]), "labeled images of 0 classes: expected"),
    (table(LABELED, "file,kind"), "begins with the columns 'file', 'kind': expected a header"),
    (table(LABELED)[len("file,class\n"):], "begins with the columns '0.jpg', 'cat': expected a header"),
    (table(LABELED, "file,class,path"), "columns 'file' and 'path', and either could be the file"),
    (table([("0.jpg", "cat", "val")], "file,class,split"), "line 2: the split is 'val', expected train, test"),
    (table([("0.jpg", "", "test")], "file,class,split"), "line 2: the split is 'test' and the class is empty"),
    (table([*((*row, "") for row in LABELED), ("8.jpg", "Dogs", "test")], "file,class,split"),
     "line 10: the class 'Dogs' has test images, .*; is 'dog' meant"),
    (table([*LABELED, ("8.jpg", "cat", "dog")]), "line 10 has 3 columns, the header 2: put"),
    (table([*((label, name, "train") for name, label in LABELED), ("dog;8.jpg", "test")], "class,file,split"),
     "labels.csv, line 10 has 2 columns, the header 3: put ',' between all columns"),
    (table([*LABELED, ('"8.jpg', "cat")]), "labels.csv, line 10 is no CSV"),
    ("", "is empty, expected a CSV file"), ("\n\n", "begins with the columns nothing"),
    (b"PK\x03\x04" + bytes(100), "is a zip archive, expected a CSV file"),
    (table([("8.jpg", "Käfer")]).encode("latin-1"), "is no UTF-8 .byte 19, in line 2.: save it as CSV, UTF-8"),
    (table(LABELED).encode("utf-16"), "is UTF-16: save it")])
def test_bad_files_get_one_line_and_nothing_is_written(text, words, photos, tmp_path, capsys):
    put(str(photos / "notes.txt"), "x")
    put(str(photos / ".8.jpg"), jpeg(0))
    before = contents(photos)
    made(photos, text, tmp_path / "out", code=2)
    error = error_of(capsys)
    assert re.search(words, error), error
    assert not (tmp_path / "out").exists() and contents(photos) == before


def test_a_missing_file_is_refused(photos, tmp_path, capsys):
    assert prepare(photos, tmp_path / "out", f"--labels_csv={tmp_path / 'none.csv'}", module=image_folder) == 2
    assert "none.csv cannot be read (No such file or directory): expected a CSV file" in error_of(capsys)


def test_equal_images_of_two_classes_and_a_file_within_the_folder(photos, tmp_path, capsys):
    put(str(photos / "8.jpg"), jpeg(0))
    made(photos, table([*LABELED, ("8.jpg", "dog")]), tmp_path / "out", code=2)
    assert "are the same image, byte for byte" in error_of(capsys)
    put(str(photos / "labels.csv"), table(LABELED))
    assert labels_csv.read([str(photos / "labels.csv")], str(photos)).left_out.others == []

"""The file of what is searched: what it may say, and what is refused by its line."""

import pytest

from mpl_tf.config import FIELDS, flag_files
from mpl_tf.tune import space

TEXT = "# words\n[supervised]\nstudent_learning_rate\t 0.01 to 1, log\r\nbatch_size  8 or 16\n" \
       "[teacher]\nmeta_weight 1 to 4\n--meta_gradient nested_tape or jvp\nschedule cosine or constant\n"


def test_ranges_and_choices_have_the_flags_types():
    found = space.parse(TEXT)
    rate, batch = found["supervised"]
    assert rate == space.Searched("student_learning_rate", 0.01, 1.0, True)
    assert batch == space.Searched("batch_size", choices=(8, 16))
    assert [str(each) for each in found["teacher"]] == [
        "1.0 to 4.0", "nested_tape or jvp", "cosine or constant"]
    assert [type(value) for value in rate.ends + batch.ends] == [float, float, int, int]
    assert rate.holds(1.0) and not rate.holds(1.5) and batch.holds(8) and not batch.holds(12)


def test_the_default_file_has_table_3s_flags():
    found = space.read(space.DEFAULT)
    assert {stage: [each.name for each in of_stage] for stage, of_stage in found.items()} == {
        "supervised": ["student_learning_rate", "student_weight_decay", "student_dropout",
                       "label_smoothing"],
        "teacher": ["teacher_learning_rate", "teacher_weight_decay", "teacher_dropout", "uda_weight",
                    "uda_temperature", "meta_weight"]}
    table_3 = {"student_learning_rate": (0.3, 0.15, 0.8), "teacher_learning_rate": (0.125, 0.05, 0.5),
               "student_dropout": (0.35, 0.45, 0.1), "teacher_dropout": (0.5, 0.65, 0.1),
               "uda_weight": (1.0, 2.5, 16.0), "uda_temperature": (0.8, 1.25, 0.75),
               "student_weight_decay": (0.0005, 0.0002), "label_smoothing": (0.0, 0.1)}
    for each in found["supervised"] + found["teacher"]:
        assert all(map(each.holds, table_3.get(each.name, ()))), each


@pytest.mark.parametrize("lines, named", [
    ("meta_weight 1 to 2", "line 1: 'meta_weight 1 to 2' stands before"),
    ("[student]", "line 1: '[student]': expected each of [supervised], [teacher] once"),
    ("[teacher]\n[teacher]", "line 2: '[teacher]': expected each"),
    ("[teacher]\n\nmeta_wieght 1 to 2", "line 3: unknown flag 'meta_wieght': did you mean --meta_weight?"),
    ("[teacher]\nmeta_weight 2 to 1", "meta_weight from 2.0 to 1.0: expected first the smaller"),
    ("[teacher]\nmeta_weight 0 to 1, log", "which is above 0 for log"),
    ("[teacher]\nmeta_weight nan to 1", "--meta_weight=nan: expected a number"),
    ("[teacher]\nmeta_weight -1 to 1", "--meta_weight=-1.0: expected a number, at least 0"),
    ("[teacher]\nmeta_weight", "'meta_weight': expected meta_weight and its range"),
    ("[teacher]\nmeta_weight 1", "expected meta_weight and its range"),
    ("[teacher]\nmeta_weight 1 or 1.0", "two or more values"),
    ("[teacher]\nbatch_size 1.5 to 3", "--batch_size=1.5: expected a whole number"),
    ("[teacher]\nmeta_gradient tape or jvp", "--meta_gradient=tape: expected one of nested_tape, jvp"),
    ("[teacher]\nmeta_weight 1 to 2\nmeta_weight 1 to 3", "meta_weight twice in [teacher]"),
    ("[teacher]\nseed 1 to 3", "seed is not to be searched"),
    ("[teacher]\nwarmup_steps 1 to 3", "warmup_steps is not to be searched"),
])
def test_a_wrong_line_is_refused_by_its_number(lines, named):
    with pytest.raises(ValueError) as error:
        space.parse(lines, "my.search")
    assert str(error.value).startswith("--search=my.search, line ") and named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff", b"#" * (flag_files.MOST_BYTES + 1), None])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "a.search"
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a file such as paper.search"):
        space.read(str(path))


def test_what_is_fixed_are_flags():
    assert space.FIXED <= set(FIELDS)

"""Flags in errors of a step, called as the program calls them."""

import pytest

from mpl_tf.common import renamed


@pytest.mark.parametrize("with_value, told", [
    (True, "--against=a/b is no run; correct --against or --model_dirs"),
    (False, "a/b is no run; correct --against or --model_dirs")])
def test_a_flag_is_called_by_its_other_name(with_value, told):
    with pytest.raises(ValueError) as raised, renamed.flag("--model_dir", "--against", with_value):
        raise ValueError("--model_dir=a/b is no run; correct --model_dir or --model_dirs")
    assert str(raised.value) == told


def test_an_error_that_does_not_name_it_is_the_same_object():
    error = ValueError("--seed=x: expected a number")
    with pytest.raises(ValueError) as raised, renamed.flag("--model_dir", "--output_dir"):
        raise error
    assert raised.value is error
    with pytest.raises(KeyError), renamed.flag("--model_dir", "--output_dir"):
        raise KeyError("--model_dir")


def test_a_name_is_text_to_what_replaces_it():
    with pytest.raises(ValueError) as raised, renamed.flag("--a.b", r"--c\\1"):
        raise ValueError("--a.b and --axb")
    assert str(raised.value) == r"--c\\1 and --axb"

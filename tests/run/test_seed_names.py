"""Names of runs' folders tell the row and the seed, whatever a flag file is called."""

import pytest

from mpl_tf.run import seed_names


@pytest.mark.parametrize("row", ["digits", "a_seed3", "_seed", "odd\nname [1] é", "x_seed"])
@pytest.mark.parametrize("seed", [0, 7, 10, 123456789])
def test_a_name_tells_its_row_and_seed(row, seed):
    assert seed_names.split(seed_names.join(row, seed)) == (row, seed)


@pytest.mark.parametrize("name", ["", "digits", "digits_seed", "_seed3", "digits_seed03", "digits_seed-1",
                                  "digits_seed²", "digits_seed٣", "digits_seed3 ", "digits_seed3\n", "digits_Seed3"])
def test_other_names_tell_none(name):
    assert seed_names.split(name) is None

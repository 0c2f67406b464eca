"""The benchmark of memory prints a row each method; figures are not asserted."""

import pytest

from mpl_tf import benchmark, memory_benchmark


@pytest.mark.slow
def test_every_method_has_a_row(capsys):
    chosen = benchmark.arguments(["--what=memory", "--network=small_conv", "--image_size=8",
                                  "--batch_size=4", "--rounds=1"])
    rows = memory_benchmark.measure_memory(chosen)
    assert [row["step"] for row in rows] == [
        "noisy_student", "reduced_mpl", "reduced_mpl_jvp", "mpl", "mpl_jvp"]
    student = rows[0]["weights"]
    assert rows[1]["weights"] - student == 10 * 128 + 3 * 128 * 128 + 4 * 128 + 128 * 10 + 10
    assert rows[3]["weights"] == 2 * student
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_the_network_follows_what_is_measured():
    networks = [benchmark.arguments([f"--what={what}"]).network for what in ("memory", "step")]
    assert networks == ["efficientnet-b0", "wrn-28-2"]

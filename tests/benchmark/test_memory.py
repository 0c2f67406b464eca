"""The benchmark of memory prints a row each method; figures are not asserted."""

import os
import subprocess
import sys

import pytest

from mpl_tf.benchmark import __main__ as command, memory, step
from tests.conftest import ROOT


TINY = ["--what=memory", "--network=small_conv", "--image_size=8", "--batch_size=4", "--rounds=1"]


@pytest.mark.slow
def test_every_row_is_measured_in_a_process_of_its_own(capfd, monkeypatch):
    monkeypatch.setattr(memory, "ROWS", ("supervised", "reduced_mpl_jvp", "mpl_jvp_slices"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    rows = memory.measure_memory(command.parse(TINY))
    assert [row["step"] for row in rows] == list(memory.ROWS)
    student = rows[0]["weights"]
    assert rows[1]["weights"] - student == 10 * 128 + 3 * 128 * 128 + 4 * 128 + 128 * 10 + 10
    assert rows[2]["weights"] == 2 * student
    assert rows[2]["slots_mib"] == pytest.approx(2 * rows[0]["slots_mib"], rel=0.01)
    assert len(capfd.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize("row", memory.ROWS)
def test_each_row_has_the_model_of_its_name(row):
    model = memory.model_of(row, command.parse(TINY + ["--objective=uda"]))
    assert (getattr(model, "meta_gradient", None) == "jvp") == ("jvp" in row)
    assert getattr(model, "microbatch_size", None) == (1 if row.endswith("slices") else None)
    full = row.startswith("mpl")
    assert (type(model.objective).__name__ == "UDA") == full and (len(model.networks) == 2) == ("mpl" in row)


@pytest.mark.parametrize("flag, words", [("--row=none", "expected one of supervised, noisy_student"),
                                         ("--microbatch_size=3", "expected a divisor of --batch_size=4")])
def test_what_does_not_fit(flag, words, capsys):
    with pytest.raises(SystemExit):
        command.parse(TINY + [flag])
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("peak", [step.peak_memory, step._peak_resident])
def test_the_peak_is_that_of_what_is_held_at_once(peak):
    """Eight arrays of 16 MiB, in a process of its own: what is pooled stays resident."""
    program = (
        "import mpl_tf, tensorflow as tf\n"
        "from mpl_tf.benchmark import step\n"
        "x = tf.ones([2048, 2048])\n"
        "def call():\n"
        "    held = [x * i for i in range(8)]\n"
        f"print(step.{peak.__name__}(call))\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True,
                          text=True, check=True)
    if done.stdout.strip() == "None":
        pytest.skip("this system tells no peak")
    assert 120 < float(done.stdout) < 300

"""The benchmark of memory prints a row each method; figures are not asserted."""

import os
import subprocess
import sys

import pytest

from mpl_tf.benchmark import __main__ as command, memory, step
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_method_has_a_row(capsys):
    chosen = command.parse(["--what=memory", "--network=small_conv", "--image_size=8",
                                "--batch_size=4", "--rounds=1"])
    rows = memory.measure_memory(chosen)
    assert [row["step"] for row in rows] == [
        "noisy_student", "reduced_mpl", "reduced_mpl_jvp", "mpl", "mpl_jvp"]
    student = rows[0]["weights"]
    assert rows[1]["weights"] - student == 10 * 128 + 3 * 128 * 128 + 4 * 128 + 128 * 10 + 10
    assert rows[3]["weights"] == 2 * student
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_the_network_follows_what_is_measured():
    networks = [command.parse([f"--what={what}"]).network for what in ("memory", "step")]
    assert networks == ["efficientnet-b0", "wrn-28-2"]


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

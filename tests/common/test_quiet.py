"""What a library says while it is imported: its noise is dropped, and an error never is."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

from mpl_tf.common import command, quiet
from tests.conftest import ROOT

NOISE = [   # as TensorFlow 2.21 and, on GPUs, 2.17 write it
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795595993.686568   20263 cudart_stub.cc:31] Could not find cuda drivers",
    "W0000 00:00:1795595993.686568    1247 computation_placer.cc:177] placer already registered",
    "E0000 00:00:1795595993.686568    1247 cuda_dnn.cc:8310] Unable to register cuDNN factory: one",
]
KEPT = [
    "E0000 00:00:1795595993.686568    1247 cuda.cc:51] failed call to cuInit: no device",
    "F0000 00:00:1795595993.686568    1247 cpu_guard.cc:1] compiled to use AVX instructions",
    "ImportError: libcudart.so.12: \xff cannot open shared object file",
    "WARNING: this is ours", "I am a line", "",
]
WRITE = f"import os; os.write(2, {chr(10).join(NOISE + KEPT + ['']).encode('latin1')!r})"
WANTED = "\n".join(KEPT + [""]).encode("latin1")


def test_an_import_is_heard_without_its_noise(tmp_path, monkeypatch, capfdbinary):
    (tmp_path / "noisy_library.py").write_text(WRITE)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", before[:])
    quiet.while_importing("noisy_library")
    quiet.while_importing("noisy_library")
    assert len(sys.meta_path) == len(before) + 1
    importlib.import_module("noisy_library")
    assert capfdbinary.readouterr().err == WANTED
    exec(WRITE)     # the file descriptor is as it was
    assert capfdbinary.readouterr().err.startswith(NOISE[0].encode())
    quiet.while_importing("os")         # it is there: nothing is to be filtered
    assert len(sys.meta_path) == len(before) + 1


def test_the_last_words_of_an_import_that_aborts_are_heard(tmp_path):
    (tmp_path / "noisy_library.py").write_text(f"{WRITE}; os.abort()")
    done = subprocess.run(
        [sys.executable, "-c", "from mpl_tf.common import quiet\n"
         "quiet.while_importing('noisy_library')\nimport noisy_library"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True)
    assert done.returncode == -signal.SIGABRT and done.stderr == WANTED


def test_without_a_filter_everything_is_heard(monkeypatch, capfd):
    monkeypatch.setenv("PATH", "")
    with quiet.filtered():
        os.write(2, (NOISE[0] + "\n").encode())
    assert capfd.readouterr().err == NOISE[0] + "\n"


@pytest.mark.parametrize("level, filtered", [(None, True), ("3", True), ("0", False)])
def test_programs_filter_unless_the_user_asks_for_more(monkeypatch, level, filtered):
    asked = []
    monkeypatch.setattr(quiet, "while_importing", asked.append)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level or "")
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert command.run(lambda _: 0, []) == 0
    assert asked == ["tensorflow"] * filtered
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "3")

"""Fixtures shared by the tests. Two logical CPU devices exist in every test process."""

import gc
import math
import os
import pathlib
import signal
from unittest import mock

# Of this process and those that tests start, whose words are compared with what ours say.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import mpl_tf  # noqa: E402,F401  (refuses a Keras that it does not work with)
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402
from mpl_tf.common import bar  # noqa: E402
from mpl_tf.run import progress  # noqa: E402
from tensorflow.python.framework.config import disable_op_determinism  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Tests that run in a shell's background ignore Ctrl-C, and so would the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)


# Searching the modules and the graphs of earlier tests for garbage took a twelfth of the time.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

# Begun first, so that no worker has them left when the other is done.
LONGEST = ("test_meta_scale", "test_computing", "test_mpl", "test_training", "test_meta_gradient",
           "test_of_run", "test_study", "test_refusals", "test_export", "test_processes")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST
               else len(LONGEST))


@pytest.fixture(scope="session")
def shared_data():
    """Folder with real data (CIFAR-10's python files and more), or the test is skipped."""
    folder = pathlib.Path(os.environ.get("MPL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MPL_TEST_DATA to a folder that has it")
    return folder


@pytest.fixture
def said(caplog):
    """A function that returns what the project has logged since the last call, and no other library's lines.

    Those depend on the tests that came before: TensorFlow, for example, counts a process's tracings.
    """
    caplog.set_level("WARNING", "mpl_tf")

    def lines():
        found = [record.getMessage() for record in caplog.records if record.name == "mpl_tf"]
        caplog.clear()
        return found
    return lines


@pytest.fixture(autouse=True)
def _no_lines_of_a_slow_machine(monkeypatch):
    """Progress writes a line to stderr every ten seconds, and tests compare what else is written there."""
    monkeypatch.setattr(bar, "LINE_SECONDS", math.inf)
    monkeypatch.setattr(progress, "LINE_SECONDS", math.inf)


@pytest.fixture(autouse=True)
def _clean_keras():
    yield
    # Keras 3 searches for garbage here, half a second of each of two thousand tests.
    with mock.patch("gc.collect"):
        tf.keras.backend.clear_session()
    tf.keras.mixed_precision.set_global_policy("float32")
    tf.keras.backend.set_floatx("float32")
    disable_op_determinism()    # a command that was tested here asked for it; others set no seed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """Logs of tests with odd names hold bytes that are no UTF-8, which xdist cannot send."""
    report = (yield).get_result()
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode())
                       for title, text in report.sections]

"""Small runs for the tests of training: flags, folders and what is in them."""

import os
import subprocess
import sys
import time

import tensorflow as tf

from mpl_tf import config
from mpl_tf.run import checkpoints, run_folder
from tests.conftest import ROOT

TINY = dict(
    dataset="digits", method="mpl", objective="supervised", student_network="mlp-16",
    student_dropout=0.2, teacher_dropout=0.2, batch_size=16, unlabeled_batch_size=16,
    student_learning_rate=0.05, teacher_learning_rate=0.05, schedule="constant", train_steps=6,
    eval_steps=3, checkpoint_steps=2, summary_steps=100, plots=False)


def settings(folder, **changes):
    """The Config of a run of seconds in `folder`."""
    return config.of(**{**TINY, "model_dir": str(folder), **changes})


def state(folder):
    """{name: array} of all that the last checkpoint in a run's folder holds, but for times."""
    path = checkpoints.latest(os.path.join(folder, run_folder.CHECKPOINTS))
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith(("journal", "_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"))}


def assert_same_state(left, right):
    """Bit for bit: weights, averages, slots and steps of two runs' last checkpoints."""
    left, right = state(left), state(right)
    assert set(left) == set(right) and len(left) > 8
    for name, value in left.items():
        assert value.tobytes() == right[name].tobytes(), name


def wait_for(condition, seconds=240):
    """Waits until condition() is true, on a machine as slow as it may be."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def command(module, **flags):
    """The command line of an entry point."""
    return [sys.executable, "-m", f"mpl_tf.{module}",
            *(f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
              for name, value in flags.items())]


def start(module, **flags):
    """Starts a command as users do, from the repository's root; stdout and stderr in one pipe."""
    return subprocess.Popen(command(module, **flags), cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)

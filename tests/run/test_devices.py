"""mpl_tf.strategy: names, errors, and who gets which slice."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from mpl_tf.run import devices
from tests import tiny
from tests.conftest import ROOT



def slices(num_replicas, replica_offset, local_replicas):
    """Element e holds (step, replica) as the data pipeline orders them, replicas of this worker."""
    return tf.data.Dataset.range(100).map(
        lambda e: tf.stack([e // local_replicas, replica_offset + e % local_replicas]))


def test_default_is_one_device():
    strategy = devices.get_strategy("default")
    assert strategy is tf.distribute.get_strategy()
    assert devices.describe(strategy) == "1 replica on CPU (2 logical CPU devices)"
    dataset = devices.distribute(strategy, slices)
    assert isinstance(dataset, tf.data.Dataset)
    assert [list(x) for x in dataset.take(3).as_numpy_iterator()] == [[0, 0], [1, 0], [2, 0]]


def test_mirrored_uses_all_logical_devices_and_replica_r_gets_slice_r():
    strategy = devices.get_strategy("mirrored")
    assert devices.get_strategy("mirrored") is strategy      # two in a process would collide
    assert devices.describe(strategy) == "2 replicas on CPU (2 logical CPU devices)"
    iterator = iter(devices.distribute(strategy, slices))

    @tf.function
    def step(iterator):
        def replica(values):
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.stack([values[0], values[1], tf.cast(number, tf.int64)])
        return strategy.run(replica, args=(next(iterator),))

    for number in range(4):
        results = strategy.experimental_local_results(step(iterator))
        assert [list(r.numpy()) for r in results] == [[number, 0, 0], [number, 1, 1]]


def test_fit_on_a_distributed_dataset():
    strategy = devices.get_strategy("mirrored")

    def make_dataset(num_replicas, replica_offset, local_replicas):
        dataset = slices(num_replicas, replica_offset, local_replicas)
        return dataset.map(lambda e: (tf.fill([2, 1], tf.cast(e[1], tf.float32)), tf.zeros([2, 1])))

    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(
            1, use_bias=False, kernel_initializer="ones")])
        model.compile("sgd", loss="mse")
    history = model.fit(devices.distribute(strategy, make_dataset), steps_per_epoch=1, verbose=0)
    assert history.history["loss"] == [0.5]      # inputs 0 on replica 0, 1 on replica 1


@pytest.mark.parametrize("pipelines,replicas,shares", [
    (1, 1, [(0, 1)]), (1, 2, [(0, 2)]), (2, 2, [(0, 1), (1, 1)]),
    (4, 32, [(0, 8), (8, 8), (16, 8), (24, 8)])])
def test_shares_cover_all_replicas_once(pipelines, replicas, shares):
    found = [devices.replica_share(pipelines, number, replicas) for number in range(pipelines)]
    assert found == shares
    covered = [offset + r for offset, local in found for r in range(local)]
    assert covered == list(range(replicas))


def test_unequal_shares_are_refused():
    with pytest.raises(ValueError, match="3 replicas on 2 workers"):
        devices.replica_share(2, 0, 3)


@pytest.mark.parametrize("text,message", [
    (None, "needs the environment variable TF_CONFIG"),
    ("", "needs the environment variable TF_CONFIG"),
    ("{", "malformed .JSONDecodeError"),
    ("[]", "malformed .TypeError"),
    ('{"cluster": {"worker": ["a:1"]}}', "malformed .KeyError: 'task'"),
    ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "is not a list"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
     "malformed .KeyError: 'chief'"),
    ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
     "malformed .TypeError: 'a' is no host:port"),
    ('{"cluster": {"worker": ["a:1", "a:99999"]}, "task": {"type": "worker", "index": 0}}',
     "'a:99999' is no host:port with a port from 1 to 65535"),
    ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
     "a:1 is the address of two workers; give each its own"),
    ('{"cluster": {"worker": ["a..b:1"]}, "task": {"type": "worker", "index": 0}}', "malformed .Unicode"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
     "task index 1, but the cluster names 1 "),
])
def test_tf_config_that_cannot_be_used(monkeypatch, text, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message) as error:
        devices.get_strategy("multi_worker")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments,message", [
    (("parameter_server",), "available are default, mirrored, multi_worker, tpu"),
    (("mirrored", "my-tpu"), "use strategy 'tpu'"),
    (("tpu", "local"), "which has no TPUStrategy: install the extra mpl_tf.legacy" if tiny.KERAS_3
     else "no TPU found as tpu='local'"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        devices.get_strategy(*arguments)
    assert "\n" not in str(error.value)


WORKER = """
import os, signal, time
import mpl_tf, tensorflow as tf
from mpl_tf.run import devices
strategy = devices.get_strategy("multi_worker")
calls = []
def make_dataset(num_replicas, replica_offset, local_replicas):
    calls.append((num_replicas, replica_offset, local_replicas))
    return tf.data.Dataset.range(10).map(lambda e: 10 * replica_offset + e)
values = next(iter(devices.distribute(strategy, make_dataset)))
total = strategy.reduce("sum", strategy.run(lambda v: tf.identity(v), args=(values,)), axis=None)
print("RESULT", calls[0], int(total), devices.describe(strategy), flush=True)
os.kill(os.getpid(), signal.SIGTERM)    # TensorFlow's handler would swallow it
time.sleep(60)
"""


def run_workers(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config),
                       "CUDA_VISIBLE_DEVICES": "-1"}
        processes.append(subprocess.Popen(
            [sys.executable, "-c", WORKER], env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE))
    outputs = [process.communicate(timeout=240) for process in processes]
    lines = []
    for process, (out, err) in zip(processes, outputs):
        assert process.returncode == -signal.SIGTERM, err
        lines.append([line for line in out.splitlines() if line.startswith("RESULT")][0])
    return lines


@pytest.mark.slow
def test_one_worker_by_tf_config():
    assert run_workers(1) == ["RESULT (1, 0, 1) 0 1 replica on CPU (1 worker, CPU)"]


@pytest.mark.slow
def test_two_workers_get_slices_of_their_own():
    assert run_workers(2) == ["RESULT (2, 0, 1) 10 2 replicas on CPU (2 workers, CPU)",
                              "RESULT (2, 1, 1) 10 2 replicas on CPU (2 workers, CPU)"]

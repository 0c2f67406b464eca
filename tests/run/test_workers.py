"""Several machines: they wait for each other, stop together, and tell of a lost one in a line."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import command, storage
from mpl_tf.run import devices, run_folder, training, workers
from tests.conftest import ROOT
from tests.runs import command as command_of, settings, state, wait_for


def addresses(count):
    """Addresses of this machine that are free."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    found = tuple(f"localhost:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return found


@pytest.fixture
def told(capsys):
    """A function that returns all that was written to stderr so far."""
    parts = []

    def so_far():
        parts.append(capsys.readouterr().err)
        return "".join(parts)
    return so_far


def test_workers_are_numbered_as_tensorflow_does():
    jobs = {"worker": ["b:1", "c:2"], "chief": ["a:0"], "ps": ["p:1"]}
    made = lambda kind, index: workers.cluster_of(json.dumps(
        {"cluster": jobs, "task": {"type": kind, "index": index}}))
    assert made("worker", 1) == workers.Cluster(("a:0", "b:1", "c:2"), 2)
    assert made("chief", 0).own == 0 and made("chief", 0).others == [1, 2]
    assert made("worker", 0).name(2) == "worker 2 of 3 at c:2"
    assert made("ps", 0) == workers.Cluster(("p:1",), 0)


def test_all_go_on_when_the_last_has_come(told):
    places = addresses(3)
    ended = [threading.Event() for _ in places]

    def run(own):
        workers.wait(workers.Cluster(places, own), pause=0.02)
        ended[own].set()

    threads = [threading.Thread(target=run, args=(own,), daemon=True) for own in range(3)]
    for thread in threads[:2]:
        thread.start()
    waiting = f"waiting for worker 2 of 3 at {places[2]} ("
    wait_for(lambda: told().count(waiting) == 2)
    assert not any(event.is_set() for event in ended)
    threads[2].start()
    wait_for(lambda: all(event.is_set() for event in ended))
    assert told().count("all 3 workers are there") == 2 and told().count(waiting) == 2
    for place in places:        # TensorFlow's server is to have them now
        socket.create_server(("", int(place.rpartition(":")[2]))).close()


def test_one_worker_waits_for_nobody(told):
    workers.wait(workers.Cluster(("nowhere:1",), 0))
    assert told() == ""


def test_a_server_that_says_nothing_has_met_all(monkeypatch, told):
    """TensorFlow's, of a worker that is connecting already."""
    own, other = addresses(2)
    monkeypatch.setattr(workers._Greeter, "until_all_know", lambda *_: None)
    with socket.create_server(("localhost", int(other.rpartition(":")[2]))):
        workers.wait(workers.Cluster((own, other), 0))
    assert told() == ""


def answering(text, place):
    """A server at `place` that answers `text` to whoever connects, until it is closed."""
    server = socket.create_server(("localhost", int(place.rpartition(":")[2])))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                with server.accept()[0] as connection:
                    connection.sendall(text)
                    connection.recv(100)
    threading.Thread(target=serve, daemon=True).start()
    return server


def test_tensorflows_server_has_met_all(monkeypatch, capsys):
    own, other = addresses(2)
    monkeypatch.setattr(workers._Greeter, "until_all_know", lambda *_: None)
    served = tf.distribute.Server({"worker": [other]}, job_name="worker", task_index=0)
    workers.wait(workers.Cluster((own, other), 0))
    assert not capsys.readouterr().err and served.target.endswith(other.rpartition(":")[2])


@pytest.mark.parametrize("text, said", [
    (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-Ope"), (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 40"),
    (b"\x1b[31m\n", r"\x1b[31m\n")])
def test_something_else_at_an_address_is_named(text, said, monkeypatch, told):
    """It is no worker: TensorFlow would wait for it without a word."""
    own, other = addresses(2)
    monkeypatch.setattr(workers._Greeter, "until_all_know", lambda *_: None)
    server = answering(text, other)
    thread = threading.Thread(target=workers.wait, args=(workers.Cluster((own, other), 0), 0.02),
                              daemon=True)
    thread.start()
    wait_for(lambda: told().endswith("\n"))
    assert thread.is_alive()
    assert told() == (
        f"waiting for worker 1 of 2 at {other} (something else answers there: {said}); workers are "
        "numbered from 0, and Ctrl-C ends the waiting\n")
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    with answering(b"\0\0\x18\4\0\0\0\0\0", other):       # now a worker's server of HTTP/2 is there
        wait_for(lambda: not thread.is_alive())


def test_two_names_of_one_address_are_refused():
    [own] = addresses(1)
    with pytest.raises(ValueError, match="worker 0 of 2 at .* has been asked by itself: expected"):
        workers.wait(workers.Cluster((own, own.replace("localhost", "127.0.0.1")), 0))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_workers_meet_by_ipv6(monkeypatch):
    ports = [place.rpartition(":")[2] for place in addresses(2)]
    monkeypatch.setattr(workers._Greeter, "until_all_know", lambda *_: None)
    places = tuple(f"[::1]:{port}" for port in ports)
    met = []

    def run(own):
        workers.wait(workers.Cluster(places, own), 0.02)
        met.append(own)         # not where it raised

    for own in range(2):
        threading.Thread(target=run, args=(own,), daemon=True).start()
    wait_for(lambda: len(met) == 2)
    assert sorted(met) == [0, 1]


@pytest.mark.parametrize("number, error", [
    (signal.SIGTERM, command.Stopped), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_waiting(number, error, capsys, monkeypatch):
    before, say = signal.getsignal(signal.SIGTERM), workers._say

    def say_and_get_the_signal(text):       # no earlier: this process would end
        say(text)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(workers, "_say", say_and_get_the_signal)
    cluster = workers.Cluster(addresses(2), 0)
    with pytest.raises(error) as caught:
        workers.wait(cluster)
    assert getattr(caught.value, "number", signal.SIGINT) == number
    assert f"waiting for worker 1 of 2 at {cluster.addresses[1]} (" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_address_in_use_is_one_line():
    with socket.create_server(("", 0)) as used:
        cluster = workers.Cluster((f"localhost:{used.getsockname()[1]}", *addresses(1)), 0)
        with pytest.raises(ValueError, match="worker 0 of 2 at .* cannot listen at its port .*in use"):
            workers.wait(cluster)


def several(places, gathered=None):
    """An Agreement as of several workers, which is told what it gathers."""
    made = workers.Agreement(tf.distribute.get_strategy())
    assert not made.several and made.gather(5) == [5]
    made.several, made.cluster = True, workers.Cluster(places, 0)
    made.gather = lambda number: gathered(number)
    return made


@pytest.mark.parametrize("error", [
    tf.errors.UnavailableError(None, None, "Socket\nclosed"),
    tf.errors.InternalError(None, None, "Collective ops is aborted by: task 1")])
def test_a_lost_worker_is_one_line(error, capsys):
    places = addresses(3)

    def run(_):
        with several(places).losses_in_one_line(lambda: "the checkpoint c/ckpt-4 stays"):
            raise error
    with socket.create_server(("localhost", int(places[2].rpartition(":")[2]))):
        assert command.run(run, []) == 1
    assert capsys.readouterr().err == (
        f"error: worker 1 of 3 at {places[1]} has ended or cannot be reached: training stopped, the "
        "checkpoint c/ckpt-4 stays; start all workers again\n")


def test_an_error_of_its_own_is_no_loss():
    with pytest.raises(tf.errors.InvalidArgumentError):
        with several(addresses(2)).losses_in_one_line(lambda: ""):
            raise tf.errors.InvalidArgumentError(None, None, "shapes")
    with pytest.raises(tf.errors.UnavailableError):
        with workers.Agreement(tf.distribute.get_strategy()).losses_in_one_line(lambda: ""):
            raise tf.errors.UnavailableError(None, None, "a TPU's")


def test_workers_that_see_different_checkpoints_are_refused():
    several(("a:1", "b:1"), lambda number: [number, 4]).check_start(4)
    with pytest.raises(ValueError, match="worker 0 after step 0, worker 1 after step 4.*share"):
        several(("a:1", "b:1"), lambda number: [number, 4]).check_start(0)


def test_a_worker_of_a_finished_run_waits_for_nobody(tmp_path, monkeypatch, capsys):
    config = settings(tmp_path, strategy="multi_worker")
    places = addresses(2)
    monkeypatch.setenv("TF_CONFIG", json.dumps({
        "cluster": {"worker": places}, "task": {"type": "worker", "index": 1}}))
    results = {"train_steps": 6, "student_test_accuracy": 0.5, "student_labeled_accuracy": 0.5,
               "teacher_test_accuracy": None, "median_last_evaluations": 0.5,
               "flags": {"median_evaluations": 1},
               "evaluations": []}
    storage.write_json(tmp_path / run_folder.RESULTS, results)
    monkeypatch.setattr(devices, "get_strategy", None)
    assert training.run(config) == results
    assert "is finished, 6 steps" in capsys.readouterr().out


def test_another_workers_signal_stops_and_saves_at_its_step(tmp_path, monkeypatch):
    asked = iter([0, 0, 0, signal.SIGTERM])     # at the start, then after each step
    monkeypatch.setattr(workers.Agreement, "check_start", lambda self, step: next(asked))
    monkeypatch.setattr(workers.Agreement, "gather", lambda self, number: [number, next(asked, 0)])
    with pytest.raises(command.Stopped, match="stopped after step 3 of 6 and saved") as caught:
        training.run(settings(tmp_path, method="baseline", checkpoint_steps=100))
    assert caught.value.number == signal.SIGTERM
    assert "ckpt-3.index" in os.listdir(tmp_path / "checkpoints")


def start(places, folder, steps=60, **flags):
    """Starts `train` on two workers; returns their processes."""
    return [subprocess.Popen(
        command_of("train", **{**dict(
            dataset="digits", strategy="multi_worker", student_network="small_conv",
            teacher_network="small_conv", batch_size=8, unlabeled_batch_size=8, plots=False,
            model_dir=folder, train_steps=steps, eval_steps=10 ** 6, checkpoint_steps=5), **flags}),
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "-1",
             "TF_CONFIG": json.dumps({"cluster": {"worker": places},
                                      "task": {"type": "worker", "index": own}})})
        for own in range(2)]


def until(folder, step):
    """Waits until a checkpoint of `step` or later is there; its step."""
    def last():
        names = os.listdir(folder / "checkpoints") if (folder / "checkpoints").is_dir() else []
        return max((int(name[5:-6]) for name in names if re.fullmatch(r"ckpt-\d+\.index", name)), default=0)

    wait_for(lambda: last() >= step)
    return last()


@pytest.mark.slow
def test_two_workers_stop_together_miss_a_lost_one_and_finish(tmp_path):
    places, folder = addresses(2), tmp_path / "run[1]"
    pair = start(places, folder)
    until(folder, 5)
    pair[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [143, 143], outputs
    steps = {re.search(r"stopped after step (\d+) of", output).group(1) for output in outputs}
    assert len(steps) == 1 and until(folder, 5) == int(*steps)

    pair = start(places, folder)
    until(folder, int(*steps) + 5)
    pair[1].kill()
    output = pair[0].communicate(timeout=120)[0]
    pair[1].communicate()
    assert pair[0].returncode == 1 and "Traceback" not in output
    assert re.search(r"error: worker 1 of 2 at \S+ has ended or cannot be reached: training stopped, "
                     r"the checkpoint \S+/ckpt-\d+ stays; start all workers again\n$", output)
    assert f"steps      {int(*steps)} to" in output

    pair = start(places, folder)
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert "results.json" in os.listdir(folder)
    assert all(name.startswith(("ckpt-", "checkpoint")) for name in os.listdir(folder / "checkpoints"))
    done = subprocess.run(command_of("evaluate", model_dir=folder), cwd=ROOT, text=True,
                          capture_output=True)
    assert "the same as results.json's" in done.stdout, done.stderr


@pytest.mark.slow
def test_two_processes_train_as_one_device_also_after_both_were_killed(tmp_path):
    """Networks without batch norm and dropout, whose numbers are each replica's own."""
    flags = dict(student_network="mlp-16", teacher_network="mlp-16", student_dropout=0.0,
                 teacher_dropout=0.0, report=False)
    training.run(settings(tmp_path / "one", **flags, objective="uda", batch_size=8,
                          unlabeled_batch_size=8, train_steps=60, eval_steps=10 ** 6, checkpoint_steps=5,
                          student_learning_rate=0.1, teacher_learning_rate=0.1))
    flags.update(method="mpl", objective="uda", student_learning_rate=0.1, teacher_learning_rate=0.1,
                 schedule="constant")
    places, folder = addresses(2), tmp_path / "two"
    pair = start(places, folder, **flags)
    until(folder, 10)
    for process in pair:
        process.kill()
        process.communicate()
    pair = start(places, folder, **flags)
    outputs = [process.communicate(timeout=240)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert re.search(r"steps      \d+ to", outputs[0])
    one, two = state(tmp_path / "one"), state(folder)
    assert set(one) == set(two) and len(one) > 8
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-6, err_msg=name)

"""Several machines that train together: they wait for each other, agree, and miss who is gone.

While TensorFlow connects to the other machines it answers no signal, and never gives up. So they
first meet here, in Python: each listens at its own address until all have seen all.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time

import numpy as np
import tensorflow as tf

from mpl_tf.common import command

AGAIN = 60.0        # seconds until the same worker is named again
JOINING = 600       # seconds that TensorFlow has to connect, once all have met
_SOME, _ALL = b"mpl_tf some", b"mpl_tf all"     # what a worker says: whether it has seen all
_SETTINGS = b"\4"   # the type of the frame with which a server of HTTP/2, as TensorFlow's, begins
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
         tf.errors.DeadlineExceededError)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
      addresses: "host:port" of each, in TensorFlow's order: a chief is the first.
      own: the number of this process's.
    """
    addresses: tuple
    own: int

    @property
    def others(self):
        """The numbers of the other workers."""
        return [number for number in range(len(self.addresses)) if number != self.own]

    def name(self, number):
        """A worker in words. Workers are numbered from 0, as in TF_CONFIG."""
        return f"worker {number} of {len(self.addresses)} at {self.addresses[number]}"


def cluster_of(text):
    """The Cluster that TF_CONFIG's value, which devices.check_tf_config has passed, describes."""
    config = json.loads(text)
    task, jobs = config["task"], config["cluster"]
    if task["type"] not in ("chief", "worker"):
        return Cluster((jobs[task["type"]][int(task["index"])],), 0)
    chiefs, rest = jobs.get("chief", []), jobs.get("worker", [])
    return Cluster((*chiefs, *rest), int(task["index"]) + len(chiefs) * (task["type"] == "worker"))


def wait(cluster, pause=0.3):
    """Waits until all workers are there, and says on stderr for whom.

    Args:
      pause: seconds between two rounds of looking.

    Raises:
      ValueError: in one line, if this worker's own address is in use, or is another's too.
      command.Stopped: if SIGTERM ended the waiting; Ctrl-C raises KeyboardInterrupt as ever.
    """
    if not cluster.others:
        return
    told, met, seen = {}, set(), set()
    with _Greeter(cluster) as greeter, _stopped_by_sigterm(cluster), \
            concurrent.futures.ThreadPoolExecutor(min(len(cluster.others), 32)) as threads:
        while met != set(cluster.others):
            ask = [number for number in cluster.others if number not in met]
            answers = dict(zip(ask, threads.map(
                lambda number: _ask(cluster.addresses[number], cluster.own), ask)))
            if cluster.own in greeter.heard:
                raise ValueError(f"{cluster.name(cluster.own)} has been asked by itself: expected an "
                                 "address of its own for every worker; correct TF_CONFIG")
            seen = met | {number for number, (answer, _) in answers.items() if answer is not None}
            # TensorFlow's server answers something else: it is connecting already, and has met all.
            met |= {number for number in seen & set(ask) if answers[number][0] != _SOME}
            greeter.answer = _ALL if len(seen) == len(cluster.others) else _SOME
            for number in sorted(set(ask) - seen):
                if time.monotonic() >= told.get(number, 0.0):
                    told[number] = time.monotonic() + AGAIN
                    _say(f"waiting for {cluster.name(number)} ({answers[number][1]}); workers are "
                         "numbered from 0, and Ctrl-C ends the waiting")
            if met != set(cluster.others):
                time.sleep(pause)
        greeter.until_all_know(5.0)
    if told:
        _say(f"all {len(cluster.addresses)} workers are there")


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _place(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _ask(address, own):
    """(what the worker at `address` says, b"" for nothing, None if none is there; why none is)."""
    try:
        with socket.create_connection(_place(address), timeout=2.0) as connection:
            try:
                connection.sendall(b"%d\n" % own)
                answer = connection.recv(len(_SOME))
            except OSError:     # TensorFlow's server may be there, and say nothing
                return b"", ""
    except OSError as error:
        return None, error.strerror or str(error)
    if answer and answer.strip() not in (_SOME, _ALL) and answer[3:4] != _SETTINGS:
        return None, f"something else answers there: {ascii(answer)[2:-1]}"
    return answer, ""


def _listener(port):
    """A socket that listens at `port` of every address of this machine, of IPv6 too if it has any."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise       # else IPv6 is switched off
    return socket.create_server(("", port))


class _Greeter:
    """Answers at this worker's address, in a thread, while it waits.

    Attributes:
      answer: what it says.
      heard: the numbers of the workers that have asked.
    """

    def __init__(self, cluster):
        self.answer, self.heard, self._cluster = _SOME, set(), cluster
        self._know, self._ended = set(), threading.Event()

    def __enter__(self):
        address = self._cluster.addresses[self._cluster.own]
        try:
            self._socket = _listener(_place(address)[1])
        except OSError as error:
            raise ValueError(
                f"{self._cluster.name(self._cluster.own)}, which is this one, cannot listen at its "
                f"port ({error.strerror or error}): end what uses it, or give every worker another "
                "port in TF_CONFIG") from error
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def until_all_know(self, seconds):
        """Waits until every other worker has heard that this one has seen all; not for ever."""
        end = time.monotonic() + seconds
        while not set(self._cluster.others) <= self._know and time.monotonic() < end:
            time.sleep(0.05)

    def _serve(self):
        while not self._ended.is_set():
            with contextlib.suppress(OSError, ValueError):      # a timeout; a stranger
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(1.0)
                    number, answer = int(connection.recv(20)), self.answer
                    self.heard.add(number)
                    connection.sendall(answer.ljust(len(_SOME)))
                    connection.recv(1)      # the other closes first, and keeps no port of ours busy
                    if answer == _ALL:
                        self._know.add(number)


@contextlib.contextmanager
def _handled(number, handler):
    """Context manager: a signal's handler, where Python lets this thread set one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _stopped_by_sigterm(cluster):
    def stop(number, _):
        raise command.Stopped("stopped while it waited for the other workers: the same command on "
                              "every worker continues", number)
    return _handled(signal.SIGTERM, stop)


@contextlib.contextmanager
def joining(cluster):
    """Context manager in which TensorFlow connects the workers, which cannot be interrupted.

    Ctrl-C therefore ends the process at once, and the process ends by itself after JOINING seconds,
    as a worker that has gone away since would be waited for for ever. TensorFlow leaves a handler of
    its own that swallows SIGTERM; what was there before comes back.
    """
    with contextlib.ExitStack() as stack:
        if cluster.others:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            faulthandler.dump_traceback_later(JOINING, exit=True, file=nowhere)
            stack.callback(faulthandler.cancel_dump_traceback_later)
            stack.enter_context(_handled(signal.SIGINT, signal.SIG_DFL))
        stack.enter_context(_handled(signal.SIGTERM, signal.SIG_DFL))
        if cluster.others:      # TensorFlow holds Python's lock meanwhile: no thread could look after it
            _say(f"all workers have answered; TensorFlow connects them. If one was none of this run, that "
                 f"ends in {JOINING} s; until then Ctrl-C ends it, SIGTERM does not")
        yield


class Agreement:
    """What the workers of a strategy tell each other; with one worker it costs nothing.

    All of them have to call each method, in the same order.
    """

    def __init__(self, strategy):
        self.several, self._share = False, None
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            self.cluster = cluster_of(os.environ["TF_CONFIG"])
            self.several = resolver is not None and len(self.cluster.addresses) > 1
        if self.several:
            local = strategy.num_replicas_in_sync // len(self.cluster.addresses)

            @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
            def share(table):
                total = strategy.reduce(tf.distribute.ReduceOp.SUM,
                                        strategy.run(tf.identity, args=(table,)), axis=None)
                return total / local
            self._share = share

    def gather(self, number):
        """The `number`, an int from 0 to 2 ** 40, of every worker, in their order."""
        if not self.several:
            return [number]
        table = np.zeros([len(self.cluster.addresses), 2], np.float32)     # exact below 2 ** 24
        table[self.cluster.own] = number >> 20, number & (1 << 20) - 1
        return [(int(high) << 20) + int(low) for high, low in self._share(table).numpy()]

    def check_start(self, step):
        """Raises ValueError, in one line, unless all workers begin at the same step."""
        steps = self.gather(step)
        if len(set(steps)) > 1:
            shown = ", ".join(f"worker {number} after step {begin}"
                              for number, begin in enumerate(steps))
            raise ValueError(f"the workers have different checkpoints ({shown}): expected one "
                             "--model_dir that all of them share; mount it on every machine")

    @contextlib.contextmanager
    def losses_in_one_line(self, left):
        """Context manager: an error that comes of a lost worker is one line.

        Args:
          left: a function that says in words which checkpoint stays.

        Raises:
          ConnectionError: instead of TensorFlow's error.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if not self.several or not _is_loss(error):
                raise
            gone = [self.cluster.name(number) for number in self.cluster.others
                    if _ask(self.cluster.addresses[number], self.cluster.own)[0] is None]
            who = " and ".join(gone) or "another worker"
            raise ConnectionError(f"{who} has ended or cannot be reached: training stopped, "
                                  f"{left()}; start all workers again") from error


def _is_loss(error):
    return isinstance(error, _LOST) or "Collective ops is aborted" in str(error)

"""Devices: makes a tf.distribute strategy of its name, and deals a batch out to replicas."""

from __future__ import annotations

import functools
import json
import os
import re
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.config.methods import STRATEGIES
from mpl_tf.run import workers

if TYPE_CHECKING:
    from mpl_tf.config import Config

NAMES = STRATEGIES


def get_strategy(name: str, tpu: str = "") -> tf.distribute.Strategy:
    """Makes the tf.distribute.Strategy that is called `name`.

    Args:
      name: one of
        "default": one device, which is the first GPU if there is one.
        "mirrored": all GPUs of this machine, or all logical CPU devices if it has no GPU.
        "multi_worker": the machines that the environment variable TF_CONFIG names. Call this
          function before any other TensorFlow operation. It waits for the others, and says so.
        "tpu": a TPU.
      tpu: the name or grpc address of the TPU, or "local" on a TPU VM; "" takes it from the
        environment.

    Raises:
      ValueError: in one line, for an unknown name, a missing or malformed TF_CONFIG, or no TPU.
    """
    if name not in NAMES:
        raise ValueError(f"unknown strategy {name!r}: available are {', '.join(NAMES)}")
    if tpu and name != "tpu":
        raise ValueError(f"tpu={tpu!r} is given, but the strategy is {name!r}: use strategy 'tpu'")
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return _mirrored(tuple(device.name for device in tf.config.list_logical_devices(kind)))
    if name == "multi_worker":
        check_tf_config(os.environ.get("TF_CONFIG"))
        return _multi_worker(os.environ["TF_CONFIG"])
    if name == "tpu":
        return _tpu_strategy(tpu)
    return tf.distribute.get_strategy()


@functools.lru_cache(maxsize=None)
def _mirrored(devices):
    # There is one strategy a process. Every new one numbers its collectives from the same start, and
    # two that have tensors of different shapes under one number would wait for each other, or abort.
    return tf.distribute.MirroredStrategy(devices)


@functools.lru_cache(maxsize=None)
def _multi_worker(text):
    cluster = workers.cluster_of(text)
    workers.wait(cluster)
    with workers.joining(cluster):
        return tf.distribute.MultiWorkerMirroredStrategy()


def check_tf_config(text: Optional[str]) -> None:
    """Raises ValueError, in one line, unless `text`, TF_CONFIG's value, describes this worker."""
    example = ('{"cluster": {"worker": ["host1:port", "host2:port"]}, '
               '"task": {"type": "worker", "index": 0}}')
    if not text:
        raise ValueError(
            f"multi_worker needs the environment variable TF_CONFIG, such as {example}")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        addresses, index = cluster[task["type"]], int(task["index"])
        if not isinstance(addresses, list):
            raise TypeError(f"cluster's {task['type']!r} is not a list")
        every = [str(each) for job in cluster.values() for each in job]
        for address in every:
            host, _, port = address.rpartition(":")
            if not re.fullmatch(".+:[0-9]{1,5}", address) or not 1 <= int(port) <= 65535:
                raise TypeError(f"{address!r} is no host:port with a port from 1 to 65535")
            host.encode("idna")
        if len(set(every)) < len(every):
            twice = max(every, key=every.count)
            raise TypeError(f"{twice} is the address of two workers; give each its own")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG={text!r} is malformed ({type(error).__name__}: {error}): "
                         f"expected JSON such as {example}") from error
    if not 0 <= index < len(addresses):
        raise ValueError(f"TF_CONFIG has task index {index}, but the cluster names "
                         f"{len(addresses)} of type {task['type']!r}: indices count from 0")


def _tpu_strategy(tpu):
    if keras_seam.IS_KERAS_3:
        raise ValueError("--strategy=tpu with Keras 3, which has no TPUStrategy: install the extra "
                         "mpl_tf[legacy] and set TF_USE_LEGACY_KERAS=1, or use Python 3.11 and older, "
                         "whose TensorFlow has Keras 2")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # the resolver raises whatever its cloud client does
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"no TPU found as tpu={tpu!r} ({type(error).__name__}: {reason}): give "
                         "its name or address, 'local' on a TPU VM, or another strategy") from error


def describe(strategy: tf.distribute.Strategy) -> str:
    """Describes a strategy in one line, such as "2 replicas on CPU (2 logical CPU devices)"."""
    replicas = strategy.num_replicas_in_sync
    kind = next(kind for kind in ("TPU", "GPU", "CPU") if tf.config.list_logical_devices(kind))
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        workers = strategy.cluster_resolver.cluster_spec().num_tasks("worker")
        place = f"{workers} worker{'s' * (workers != 1)}, {kind}"
    else:
        devices = len(tf.config.list_logical_devices(kind))
        place = f"{devices} logical {kind} device{'s' * (devices != 1)}"
    return f"{replicas} replica{'s' * (replicas != 1)} on {kind} ({place})"


def replica_share(num_input_pipelines: int, input_pipeline_id: int,
                  num_replicas: int) -> Tuple[int, int]:
    """Which replicas the input pipeline of one worker feeds.

    Replicas are numbered from 0 to num_replicas - 1 in the order of the workers, which all have
    equally many.

    Returns:
      (replica_offset, local_replicas): the worker has the replicas replica_offset, ...,
      replica_offset + local_replicas - 1.

    Raises:
      ValueError: in one line, if workers cannot have equally many replicas.
    """
    if num_replicas % num_input_pipelines:
        raise ValueError(f"{num_replicas} replicas on {num_input_pipelines} workers: every worker "
                         "has to have equally many")
    local_replicas = num_replicas // num_input_pipelines
    return input_pipeline_id * local_replicas, local_replicas


def distribute(strategy: tf.distribute.Strategy,
               make_dataset: Callable[[int, int, int], tf.data.Dataset]) -> Any:
    """Makes the dataset of `strategy`, for `model.fit` or `strategy.run`.

    Args:
      make_dataset: a function (num_replicas, replica_offset, local_replicas) -> tf.data.Dataset of
        per-replica batches, which is called once on each worker. Element e of the dataset is the
        batch of step e // local_replicas for replica replica_offset + e % local_replicas.

    Returns:
      What strategy.distribute_datasets_from_function returns; on one device the plain dataset.
    """
    def of_worker(context):
        replica_offset, local_replicas = replica_share(
            context.num_input_pipelines, context.input_pipeline_id, context.num_replicas_in_sync)
        return make_dataset(context.num_replicas_in_sync, replica_offset, local_replicas)

    return strategy.distribute_datasets_from_function(of_worker)


def make_deterministic(seed: int) -> None:
    """Makes runs of this process repeat bit for bit on the same machine.

    Call it before anything is built. On a CPU runs repeat anyway, and the call costs nothing. On a
    GPU some operations would otherwise add numbers in any order. TensorFlow then asks for a seed,
    which nothing in this package draws from.
    """
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(seed)


def is_chief(config: Config) -> bool:
    """Whether this process writes to model_dir: any process but workers after the first."""
    if config.strategy != "multi_worker":
        return True
    try:
        tf_config = json.loads(os.environ["TF_CONFIG"])
        chief = "chief" if "chief" in tf_config["cluster"] else "worker"
        task = tf_config["task"]
        return task["type"] == chief and int(task["index"]) == 0
    except (KeyError, TypeError, ValueError):
        return True     # get_strategy says what is wrong with it

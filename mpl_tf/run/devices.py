"""Devices: a tf.distribute strategy from its name, and each replica's share of the batch."""

from __future__ import annotations

import functools
import json
import os
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

import tensorflow as tf

if TYPE_CHECKING:
    from mpl_tf.config import Config

NAMES = ("default", "mirrored", "multi_worker", "tpu")


def get_strategy(name: str, tpu: str = "") -> tf.distribute.Strategy:
    """The tf.distribute.Strategy called `name`.

    Args:
      name: "default": one device, the first GPU if there is one. "mirrored": all GPUs of this
        machine, or all logical CPU devices where it has none. "multi_worker": the machines that
        the environment variable TF_CONFIG names; call this before any other TensorFlow operation.
        "tpu": a TPU.
      tpu: name or grpc address of the TPU, "local" on a TPU VM; "" takes it from the environment.

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
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy(tpu)
    return tf.distribute.get_strategy()


@functools.lru_cache(maxsize=None)
def _mirrored(devices):
    # One for the process: every new one numbers its collectives from the same start, and two with
    # tensors of other shapes under the same numbers would wait for each other, or abort.
    return tf.distribute.MirroredStrategy(devices)


def check_tf_config(text: Optional[str]) -> None:
    """Raises ValueError in one line unless `text`, TF_CONFIG's value, describes this worker."""
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
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG={text!r} is malformed ({type(error).__name__}: {error}): "
                         f"expected JSON such as {example}") from error
    if not 0 <= index < len(addresses):
        raise ValueError(f"TF_CONFIG has task index {index}, but the cluster names "
                         f"{len(addresses)} of type {task['type']!r}: indices count from 0")


def _tpu_strategy(tpu):
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
    """One line for a log, such as "2 replicas on CPU (2 logical CPU devices)"."""
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
    """Which replicas one input pipeline (one worker) feeds: (replica_offset, local_replicas).

    Replicas are numbered through all workers in their order, equally many on each: the worker's
    are replica_offset, ..., replica_offset + local_replicas - 1 of num_replicas.

    Raises:
      ValueError: in one line, where workers do not have equally many replicas.
    """
    if num_replicas % num_input_pipelines:
        raise ValueError(f"{num_replicas} replicas on {num_input_pipelines} workers: every worker "
                         "has to have equally many")
    local_replicas = num_replicas // num_input_pipelines
    return input_pipeline_id * local_replicas, local_replicas


def distribute(strategy: tf.distribute.Strategy,
               make_dataset: Callable[[int, int, int], tf.data.Dataset]) -> Any:
    """The dataset of `strategy`, for `model.fit` or `strategy.run`.

    Args:
      make_dataset: (num_replicas, replica_offset, local_replicas) -> tf.data.Dataset of
        per-replica batches. Element e is the batch of step e // local_replicas for replica
        replica_offset + e % local_replicas; it is called once on each worker.

    Returns:
      What strategy.distribute_datasets_from_function does; the plain dataset on one device.
    """
    def of_worker(context):
        replica_offset, local_replicas = replica_share(
            context.num_input_pipelines, context.input_pipeline_id, context.num_replicas_in_sync)
        return make_dataset(context.num_replicas_in_sync, replica_offset, local_replicas)

    return strategy.distribute_datasets_from_function(of_worker)


def make_deterministic(seed: int) -> None:
    """A run of this process repeats bit for bit on its machine; call it before anything is built.

    On a CPU it does so anyway and this costs nothing; on a GPU some operations would add in any
    order. TensorFlow asks for a seed then, from which nothing here draws.
    """
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(seed)


def is_chief(config: Config) -> bool:
    """Whether this process writes to model_dir; all do but workers other than the first."""
    if config.strategy != "multi_worker":
        return True
    try:
        tf_config = json.loads(os.environ["TF_CONFIG"])
        chief = "chief" if "chief" in tf_config["cluster"] else "worker"
        task = tf_config["task"]
        return task["type"] == chief and int(task["index"]) == 0
    except (KeyError, TypeError, ValueError):
        return True     # get_strategy says what is wrong with it

"""Runs a network over shards, as fast as its forward passes are; see shards/reading.py."""

from __future__ import annotations

import concurrent.futures
import time

import numpy as np

from mpl_tf.common.bar import Bar
from mpl_tf.common.cores import cores
from mpl_tf.datasets import prediction_files as predictions
from mpl_tf.shards import crops, reading
from mpl_tf.shards.reading import ahead

AHEAD = 3               # batches read ahead
BARE_SECONDS = 1.0      # how long forward passes alone are timed


def digits():
    """The digits' training images, uint8 [1297, 8, 8, 1]; "train_00042" is number 42."""
    from mpl_tf import datasets
    return datasets.load("digits").unlabeled


def predict_all(folder, tasks, plan, network, batch_size=256, skip_corrupt=False):
    """Predicts and writes the files of all `tasks`, and prints how fast.

    Returns:
      (images per second, that as a fraction of the rate of forward passes alone).
    """
    bare = [forward_rate(network, batch_size)]
    count, began, skipped = 0, time.perf_counter(), 0
    with Bar(len(tasks), " files", "predicting") as bar:
        for task, shard in predict_shards(tasks, plan, network, batch_size, skip_corrupt):
            predictions.write_shard(predictions.shard_path(folder, task.name), shard)
            count += len(shard.key)
            skipped += len(shard.skipped)
            bar.update(1)
    rate = count / (time.perf_counter() - began)
    bare.append(forward_rate(network, batch_size))
    fraction = rate / (sum(bare) / 2)
    print(f"{count} images, {rate:.0f} images/s: {fraction:.2f} of the bare forward pass's "
          f"{sum(bare) / 2:.0f} images/s", flush=True)
    if skipped:
        print(f"{skipped} images could not be read and were skipped", flush=True)
    return rate, fraction


def forward_rate(network, batch_size):
    """Images per second of forward passes alone, on one batch in memory."""
    images = np.random.default_rng(0).integers(
        0, 256, [batch_size, *network.shape]).astype(np.uint8)
    network(images).numpy()     # traces, and allocates
    began, passes = time.perf_counter(), 0
    while not passes or time.perf_counter() - began < BARE_SECONDS:
        network(images).numpy()
        passes += 1
    return passes * batch_size / (time.perf_counter() - began)


def predict_shards(tasks, plan, network, batch_size=256, skip_corrupt=False):
    """Yields (Task, prediction_files.Shard) for each task, reading ahead of the network.

    Args:
      tasks: list of Task. plan: the contents of predictions.json.
      network: a serving.Served, or any function of uint8 [B, H, W, C] whose result NumPy converts
        to float32 [B, K].
      batch_size: images of a forward pass; the last batch of a shard may be smaller.
      skip_corrupt: leaves out records that cannot be used.

    Raises:
      CorruptRecord: a record cannot be used, and skip_corrupt is off.
      ValueError: the network returned what is no distribution.
    """
    batches = ahead(_batches(tasks, plan["view"], batch_size, skip_corrupt), AHEAD)
    begun, parts = None, []     # a pass is begun before the one before it is waited for
    for batch in batches:
        probs = (network(np.stack(batch.items)) if batch.items
                 else np.zeros([0, plan["num_classes"]]))
        if begun:
            yield from _taken(*begun, parts, plan)
        begun = batch, probs
    if begun:
        yield from _taken(*begun, parts, plan)


def _taken(batch, probs, parts, plan):
    """Adds a batch to `parts`; yields (Task, Shard) made of them at the end of a shard."""
    probs = np.asarray(probs, np.float32)
    predictions.check(f"{batch.task.path or batch.task.name}, from record "
                      f"{batch.first}", probs)
    top = probs.argmax(axis=1)
    others = probs.copy()
    others[np.arange(len(top)), top] = 0
    parts.append((np.array(batch.keys, "S") if batch.keys else np.zeros(0, "S1"),
                  np.array(batch.numbers, np.int32), probs.astype(np.float16),
                  top.astype(np.int32), others.sum(axis=1), np.array(batch.skipped, np.int32)))
    if batch.last:
        columns = [np.concatenate(column) for column in zip(*parts)]
        parts.clear()
        yield batch.task, predictions.Shard(
            *columns, model=plan["model"], bytes=plan["shards"][batch.task.name])


def _batches(tasks, view, batch_size, skip_corrupt):
    """Yields the reading.Batches of all tasks in order; their items are images."""
    for task in tasks:
        if task.path is None:
            images = digits()
            with concurrent.futures.ThreadPoolExecutor(cores()) as threads:
                yield from reading.of_one(
                    task, len(images), lambda i: (b"train_%05d" % i, images[i], None), threads,
                    batch_size, skip_corrupt)
        else:
            yield from reading.batches(
                [task], lambda record: crops.evaluation_crop(record.encoded, **view), batch_size,
                skip_corrupt)

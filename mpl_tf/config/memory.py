"""What cannot fit in this machine's memory, told before anything is read; without TensorFlow.

All estimates are too low rather than too high, so that nothing is refused that could run.
"""

import glob
import math
import sys

from mpl_tf import networks
from mpl_tf.common import room

FLOAT = 4       # bytes


def shortages(c):
    """Yields a line for each network or batch of the Config c that this machine cannot hold."""
    memory = room.memory()
    if memory is None or c.strategy in ("multi_worker", "tpu"):     # others hold their parts
        return
    classes, shape = len(c.source.class_names) or 2, _shape(c)
    roles = [("student", shape, c.needs_unlabeled and c.method != "baseline"),
             *[("teacher", (classes,) if c.needs_probs else shape, True)] * c.has_teacher]
    for role, inputs, unlabeled in roles:
        name = getattr(c, f"{role}_network")
        found = networks.counts(name, classes, inputs)
        if found is None:
            continue
        need = 2 * FLOAT * found.weights        # with their gradients
        if need > memory:
            yield (f"--{role}_network={name} has {found.weights:,} weights, which with their "
                   f"gradients take {_gigabytes(need)}, and this machine has {_gigabytes(memory)} of "
                   "memory: use a smaller network")
        size = 2 if c.precision == "mixed_bfloat16" else FLOAT
        flag = "unlabeled_batch_size" if unlabeled and c.flags.unlabeled_batch_size else "batch_size"
        batch = c.unlabeled_batch_size if unlabeled else c.batch_size
        sliced = c.has_teacher and c.microbatch_size
        if sliced:
            flag, batch = "microbatch_size", c.microbatch_size
        kept = found.activations * size * batch
        if kept > memory and not accelerated():
            yield (f"--{flag}={batch} examples in {name} keep {_gigabytes(kept)} for the gradient, "
                   f"and this machine has {_gigabytes(memory)} of memory: use a smaller "
                   + ("one" if sliced else "batch" + " or --meta_gradient=jvp and a --microbatch_size"
                      * c.has_teacher))
    for flag in ("batch_size", *["unlabeled_batch_size"] * c.needs_unlabeled):
        need = FLOAT * math.prod(shape) * getattr(c, flag)
        if need > memory:
            yield (f"--{flag}={getattr(c, flag)} examples of shape {list(shape)} take "
                   f"{_gigabytes(need)}, and this machine has {_gigabytes(memory)} of memory: use a "
                   "smaller batch or smaller images")


def accelerated():
    """Whether networks may run in another memory than the machine's own."""
    return sys.platform == "darwin" or any(map(glob.glob, (
        "/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/dxg")))


def _shape(c):
    if c.source.points:
        return (c.feature_components or 1,)
    size = c.image_size or c.source.image_size or 8     # where the files tell, no less than that
    return (size, size, 3 if c.source.photographs else 1)


def _gigabytes(size):
    return f"{size / 1e9:,.1f} GB"

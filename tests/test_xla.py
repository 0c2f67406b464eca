"""The whole step of flags/cifar10.cfg as a TPU would take it: compiled by XLA, every shape static."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config as config_module, experiment
from tests import tiny
from tests.conftest import ROOT

SHAPE = (32, 32, 3)


def whole_step(way):
    """The compiled model of cifar10.cfg, and a batch of 2 + 2 of its images."""
    config = config_module.parse(["train", f"--flagfile={ROOT / 'flags' / 'cifar10.cfg'}",
                                  f"--meta_gradient={way}"])
    data = type("Data", (), {"unlabeled": np.zeros((1, *SHAPE), np.uint8), "num_classes": 10})
    batch = tiny.batches(1, labeled=2, unlabeled=2, shape=SHAPE)[0]
    return experiment.build_model(config, data), tf.nest.map_structure(tf.constant, batch)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["nested_tape", "jvp"])
def test_wrn_28_2_compiles_with_static_shapes(way):
    model, batch = whole_step(way)
    compiled = tf.function(model.train_step, jit_compile=True)
    graph = compiled.get_concrete_function(batch).graph
    graphs = [graph, *(function.graph for function in graph._functions.values())]
    # What a batch norm keeps for its own gradient (outputs from the third on) is the device's.
    unknown = [tensor.name for one in graphs for operation in one.get_operations()
               for tensor in operation.outputs[:3 if "BatchNorm" in operation.type else None]
               if tensor.dtype not in (tf.resource, tf.variant)
               and not tensor.shape.is_fully_defined()]
    assert not unknown, unknown[:10]
    logs = compiled(batch)
    assert logs["meta_gradient_norm"] > 0 and np.isfinite(logs["R"])
    assert int(model.student_optimizer.iterations) == 1

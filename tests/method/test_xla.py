"""The whole step of flags/cifar10.cfg as a TPU would take it: compiled by XLA, every shape static."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config as config_module, datasets
from mpl_tf.run import wiring
from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("way", ["nested_tape", "jvp"])
def test_the_pipeline_is_static_and_the_whole_step_compiles(way):
    """XLA takes minutes of a CPU to compile it."""
    config = config_module.parse([
        f"--flagfile={ROOT / 'flags' / 'cifar10.cfg'}", f"--meta_gradient={way}",
        "--batch_size=2", "--unlabeled_batch_size=2"])
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, [20, 32, 32, 3]).astype(np.uint8)
    split = datasets.Split(images, np.arange(20, dtype=np.int64) % 10)
    dataset = datasets.Dataset("cifar10", 10, tuple("0123456789"), split, images, split, flip=True)
    model = wiring.build_model(config, dataset)
    batches = wiring.train_batches(config, dataset, tf.distribute.get_strategy())
    assert all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(batches.element_spec))
    logs = tf.function(model.train_step, jit_compile=True)(next(batches))   # refuses other shapes
    assert logs["meta_gradient_norm"] > 0 and np.isfinite(logs["R"])
    assert int(model.student_optimizer.iterations) == 1

"""The networks and the data of a run that has saved a checkpoint."""

from __future__ import annotations

import os
from typing import Any

from mpl_tf.run import checkpoints, devices, restoring, run_folder, wiring


def restored(config: Any) -> tuple[int, Any, dict[str, Any]]:
    """Loads the data of a Config's run, and its networks with the weights of its last checkpoint.

    Returns:
      (the checkpoint's step, datasets.Dataset, {role: network} of those that take images).

    Raises:
      ValueError, FileNotFoundError: in one line, for a missing checkpoint or missing data.
    """
    devices.make_deterministic(config.seed)
    folder = os.path.join(config.model_dir, run_folder.CHECKPOINTS)
    path = checkpoints.latest(folder)
    if path is None:
        raise ValueError(f"--model_dir={config.model_dir} has no checkpoint yet: train it first")
    restoring.check_keras(path)
    dataset = wiring.load_dataset(config, stored=False)
    # All weights are in the checkpoint, so no others are loaded.
    networks = wiring.build_networks(config.replace(student_weights="", teacher_weights=""), dataset)
    if config.needs_probs:      # the teacher takes no images
        networks.pop("teacher", None)
    return checkpoints.restore_networks(folder, networks, averaged=config.ema_decay > 0), dataset, networks

"""A training run: wiring, loop, folder, checkpoints, evaluation, export, TensorBoard."""

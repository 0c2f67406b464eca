"""What a training step, and what its input costs, as ratios taken in one run."""

"""Measures what a training step and its input cost, as ratios within one run."""

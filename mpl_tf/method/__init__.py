"""The paper: Meta Pseudo Labels and its baselines as Keras models, and their mathematics."""

"""Tunes settings on held-out labels, as in Appendix C.1: `python -m mpl_tf.tune`. It needs Optuna."""

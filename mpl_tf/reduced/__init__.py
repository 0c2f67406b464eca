"""Section 4.2: the chain from a large network to ReducedMPL."""

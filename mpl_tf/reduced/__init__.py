"""Section 4.2: the stages that lead from a large trained network to ReducedMPL's student."""

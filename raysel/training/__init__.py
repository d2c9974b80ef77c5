"""How layers move: the loop, the optimizer, the probe, the trace, the checkpoint."""

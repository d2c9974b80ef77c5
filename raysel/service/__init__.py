"""A sweep on a cluster: handed over, watched, foreseen, and what stands in its way."""

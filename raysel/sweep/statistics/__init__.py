"""The statistics of the verdict: numbers in, numbers out; numpy and scipy alone."""

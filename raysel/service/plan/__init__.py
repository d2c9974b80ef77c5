"""`raysel plan`: estimate a sweep before it runs.

`workload` counts trials, epochs and steps; `pruning_simulation` estimates the pruner's savings;
`memory` runs one step without data; `timing` measures a few real ones; `estimate` combines them.
"""

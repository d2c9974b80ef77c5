"""`raysel plan`: what a sweep will take, before it is spent.

`amount` counts trials, epochs and steps; `pruned` says what the pruner is expected to save;
`memory` runs one step without data; `timing` measures a few real ones; `estimate` puts it together.
"""

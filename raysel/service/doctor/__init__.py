"""`raysel doctor`: find problems before a sweep fails.

`collect` has `raysel.engine.node_probe` run on the machines that are asked; `*_checks` and
`cluster_file` are pure functions from collected facts to findings; `examine` puts them together.
"""

"""`raysel doctor`: what is wrong before it fails.

`probe` gathers facts on a machine and goes there alone (`cluster` and `ssh` carry it); `checks`
are pure functions from facts to findings; `here`, `nodes` and `hosts` ask and judge.
"""

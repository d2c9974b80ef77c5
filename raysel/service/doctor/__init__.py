"""`raysel doctor`: find problems before a sweep fails.

`probe` collects facts on a machine and is sent there alone (by `cluster` and `ssh`); `checks`
are pure functions from facts to findings; `here`, `node_facts` and `hosts` collect facts
and call the checks.
"""

"""Remote clusters: estimate, submit, watch, stop and fetch a sweep, and find
problems.
"""

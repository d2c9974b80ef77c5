"""The record of a sweep, and its way into MLflow.

`record` is the truth: events, committed before anything else learns of them. `state` folds
them into what is known of each trial. `writer`, a process of its own, carries them into
MLflow; `process` starts and ends it without importing MLflow.
"""

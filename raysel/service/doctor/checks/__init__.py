"""Checks: pure functions from collected facts to findings."""

"""Names by which folders and tables call the parts of a data set."""

from __future__ import annotations

from raysel.tasks.splits import Pool

POOL_OF_FOLDER: dict[str, Pool] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""Folders that are parts and not classes, in lower case."""

__all__ = ["POOL_OF_FOLDER", "Pool"]

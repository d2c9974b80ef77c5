"""What holds for all tests: their folders lie in memory where there is room for them.

A record is written with fsync, as it must be; a disk makes the tests wait for each.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from browser_kit import browser

__all__ = ["browser", "pytest_configure"]

IN_MEMORY, ROOM = Path("/dev/shm"), 4 << 30


def pytest_configure() -> None:
    """Before the first `tmp_path`; the workers of pytest-xdist inherit it."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))

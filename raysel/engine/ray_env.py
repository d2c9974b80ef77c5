"""The environment variables that Ray reads when it is imported, set by the import of this module.

Every module that imports Ray for a sweep imports this one first: ruff keeps it on top (a section
of its own in pyproject.toml), and a test holds it. Without them a local Ray listens on all
addresses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

_ALWAYS = {
    # Trials log to the record, not to Ray; Tune's own handling of Ctrl-C and its buffering of
    # results would come between.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints a banner even when silent
    # A task that fails while the sweep stops is asked for by nobody: Ray would print its traceback
    # beside the one line that says why the sweep stopped.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
_UNLESS_SET = {
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's state is never restored
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 would put trials behind the writer
}
BINDING = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0 it makes a cluster of one node, which may listen on loopback only."""

AUTH_MODE = "RAY_AUTH_MODE"


TOO_LATE = "ray" in sys.modules and os.environ.get(BINDING) != "0"
"""Whether somebody imported Ray before, so that a local one would listen on all addresses."""


def prepare(environment: MutableMapping[str, str], imported: bool) -> None:
    """Set what Ray is to find when it is imported.

    Args:
        imported: it is there already, as in every worker: only Tune's variables are read later.
    """
    if not environment.get("RAY_ADDRESS") and not imported:
        environment[BINDING] = "0"
        # on a machine that others use too, loopback is not enough; from 2.60 Ray would do it itself
        environment.setdefault(AUTH_MODE, "token")
    environment.update(_ALWAYS)
    for name, value in _UNLESS_SET.items():
        environment.setdefault(name, value)


prepare(os.environ, "ray" in sys.modules)

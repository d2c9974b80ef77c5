"""The request to stop a sweep, which is shown to the user once."""

from __future__ import annotations

from raysel.engine.trial_source import StopRequest
from raysel.sweep.progress_reporter import ProgressReporter


class Stopper:
    """Asks the sweep to stop, and says so once.

    Args:
        request: of a cell, which its suite's stops too.

    Attributes:
        request: what the engine looks at.
    """

    def __init__(self, reporter: ProgressReporter, request: StopRequest | None = None) -> None:
        self.request, self._reporter = request or StopRequest(), reporter

    def ask(self, cause: str) -> None:
        """The sweep is to end in order."""
        if not self.request.asked:
            self.ask_again(cause)

    def ask_again(self, cause: str) -> None:
        """The same; asked for the second time, it ends at once."""
        again = self.request.asked
        self.request.ask(cause)
        if not again:
            self._reporter.stopping(self.request.cause)

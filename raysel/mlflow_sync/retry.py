"""State of an outage of MLflow: when to retry, and what to report to the user."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from raysel.mlflow_sync.error_messages import Reason
from raysel.mlflow_sync.process import StatusMessage

LONGEST_PAUSE_SECONDS = 30.0

_FIRST_PAUSE_SECONDS = 1.0
_TRIES_BEFORE_WORDS = 2  # a single lost connection is not reported

_log = logging.getLogger(__name__)


class RetryState:
    """State of one outage.

    Args:
        say: sends a status message to the driver.
        back: first words of the message at the end of the outage.
    """

    def __init__(self, say: Callable[[StatusMessage], None], back: str) -> None:
        self._say, self._back = say, back
        self._since: float | None = None
        self._recovered_at: float | None = None
        self._due = self._pause = 0.0
        self._tries = self._sent_before = 0
        self._reported = self._reported_lasting = False

    @property
    def on(self) -> bool:
        """Whether the last try failed."""
        return self._since is not None and self._recovered_at is None

    @property
    def due(self) -> bool:
        """Whether it is time for a try."""
        return time.monotonic() >= self._due

    @property
    def pause(self) -> float:
        """Seconds from a try that failed to the next; 0 where none failed."""
        return self._pause if self.on else 0.0

    @property
    def seconds(self) -> float:
        """How long it lasts; 0 where the last try did not fail."""
        return time.monotonic() - self._since if self.on and self._since is not None else 0.0

    def try_now(self) -> None:
        """Retry at once, without the rest of the pause."""
        self._due = 0.0

    def record_failure(self, reason: Reason, error: BaseException, sent: int) -> None:
        """A try failed.

        Args:
            reason: why.
            error: what was raised, for the log.
            sent: how many events MLflow has taken until now.
        """
        if self._since is None:
            self._since, self._sent_before = time.monotonic(), sent
            _log.warning("mlflow does not take it: %s", reason.words, exc_info=error)
        self._recovered_at = None
        self._tries += 1
        self._pause = min(max(_FIRST_PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
        self._due = time.monotonic() + self._pause
        self._say(StatusMessage(True, reason.lasting, self._words(reason)))

    def _words(self, reason: Reason) -> str | None:
        new = not self._reported or (reason.lasting and not self._reported_lasting)
        if not new or (not reason.lasting and self._tries < _TRIES_BEFORE_WORDS):
            return None
        self._reported, self._reported_lasting = True, reason.lasting
        return reason.words

    def record_success(self) -> None:
        """A try succeeded."""
        if self.on:
            self._recovered_at = time.monotonic()
            self._pause, self._tries = 0.0, 0
            self._say(StatusMessage(False))

    def is_drained(self, sent: int) -> None:
        """Everything is sent: report the end of an outage, once."""
        if self._since is None or self._recovered_at is None:
            return
        records = sent - self._sent_before
        words = f"{self._back} after {lasted(self._recovered_at - self._since)}"
        words += f"; {records} record{'s' * (records != 1)} sent" if records else ""
        _log.warning("mlflow %s", words)
        if self._reported:
            self._say(StatusMessage(False, text=words))
        self._since = self._recovered_at = None
        self._reported = self._reported_lasting = False


def lasted(seconds: float) -> str:
    """`43 s`, `12 min`, `2 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

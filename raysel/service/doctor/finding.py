"""Result of a check: a line, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


GENERATE = "ray get-auth-token --generate, then chmod 600 ~/.ray/auth_token"
"""The remedy for a token that is missing."""


@dataclass(frozen=True)
class Finding:
    """One line of `raysel doctor`.

    Attributes:
        about: what was checked, in a word: `ssh`, `token`, `storage`.
        words: what was found, without a full stop.
        remedy: one thing to do about it; empty where all is well.
    """

    level: Level
    about: str
    words: str
    remedy: str = ""

    def line(self) -> str:
        """As it is printed."""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.level:8} {self.about}: {self.words}{remedy}"


def ok(about: str, words: str) -> Finding:
    """All is well."""
    return Finding("ok", about, words)


def warning(about: str, words: str, remedy: str) -> Finding:
    """A sweep would run, but not as it should."""
    return Finding("warning", about, words, remedy)


def error(about: str, words: str, remedy: str) -> Finding:
    """A sweep would fail, or would be open to strangers."""
    return Finding("error", about, words, remedy)


def any_error(findings: Iterable[Finding]) -> bool:
    """Whether something is so wrong that a sweep should not be started."""
    return any(finding.level == "error" for finding in findings)


def capital(words: str) -> str:
    """Words as a sentence begins."""
    return words[:1].upper() + words[1:]

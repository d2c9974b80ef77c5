"""The manifest says which submission a sweep is."""

import pytest

from raysel.sweep import manifest as module
from raysel.sweep.manifest import SENT_AS, manifest


def test_only_a_jobs_sweep_says_how_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "git_sha", lambda: None)
    monkeypatch.delenv(SENT_AS, raising=False)
    assert "sent_as" not in manifest()
    monkeypatch.setenv(SENT_AS, "digits-1a")
    assert manifest()["sent_as"] == "digits-1a"

"""A real browser for the tests that look at a page; without one they skip, and say so."""

import shutil

import pytest

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(_BROWSER is None, reason="no Chromium on this machine"),
]
"""A module's marks: `pytestmark = IN_A_BROWSER`."""


@pytest.fixture(scope="module")
def browser():
    """Playwright's, over the machine's own Chromium."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        yield play.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox"])

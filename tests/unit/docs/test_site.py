"""The built documentation: without a warning, and with a page or a row for all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import raysel
from raysel.search.json_schema import sweep_schema
from raysel.strategies import registered

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / ".mkdocs" / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--config-file", str(CONFIG), "--site-dir", str(folder)],
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    yield folder


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text("utf-8"))


def test_every_strategy_has_a_page_with_its_parameters(site):
    for name, strategy in registered().items():
        page = text_of(site / "reference" / "strategies" / f"{name}.html")
        assert "The method" in page and "A trace" in page, f".mkdocs/traces.py {name}"
        for parameter in strategy.parameters:
            assert parameter.name in page, (name, parameter.name)


def test_every_key_of_a_sweep_file_is_in_the_reference(site):
    page = text_of(site / "reference" / "sweep-file.html")
    schema = sweep_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    assert len(keys) > 80
    assert [key for key in sorted(keys) if not re.search(rf"\b{re.escape(key)}\b", page)] == []


def test_decisions_in_a_strategy_s_text_are_links(site):
    page = (site / "reference" / "strategies" / "surprise.html").read_text("utf-8")
    assert re.search(r'href="../../algorithms.html#d21-[\w-]+">D21</a>', page)


def test_nothing_is_fetched_from_the_network(site):
    fetched = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//', re.I)
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [page.name for page in pages if fetched.search(page.read_text("utf-8"))] == []


def test_every_public_name_is_described(site):
    page = (site / "api.html").read_text("utf-8")
    described = set(re.findall(r'id="raysel\.[\w.]*?(\w+)" class="doc doc-heading"', page))
    assert set(raysel.__all__) - described == {"Spec"}  # the sweep file's own page

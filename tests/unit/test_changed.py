"""`make check` runs the tests of what changed, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.changed import ALWAYS, concerned


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of two folders."""
    for path, text in {
        "unit/search/test_space.py": "from raysel.search.space import Space",
        "unit/search/test_space_wide.py": "",
        "unit/search/test_study.py": "from raysel.search import samplers, space",
        "unit/search/test_pruners.py": "from raysel.search.spaces import other",
        "unit/search/conftest.py": "",
        "unit/sweep/test_gc.py": "from raysel.search.space import Space\nimport view_kit",
        "unit/docs/test_site.py": "",
        **{str(path.relative_to("tests")): "" for path in ALWAYS},
    }.items():
        file = tmp_path / "tests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("raysel/search/space.py", {"space", "space_wide", "study"}),
        ("raysel/search/__init__.py", set()),
        ("tests/unit/search/test_study.py", {"study"}),
        ("tests/unit/search/test_deleted.py", set()),
        ("tests/unit/search/conftest.py", {"space", "space_wide", "study", "pruners"}),
        ("tests/unit/kits/view_kit.py", {"gc"}),
        ("docs/start.md", {"site"}),
        ("pyproject.toml", set()),
    ],
)
def test_the_tests_of_a_changed_file_are_those_of_its_name_or_that_import_it(root, changed, tests):
    found = concerned([changed], root)
    assert set(ALWAYS) <= set(found)
    assert {path.stem for path in set(found) - set(ALWAYS)} == {f"test_{name}" for name in tests}

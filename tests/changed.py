"""Names the unit tests of what changed, for `make check`.

Changed is what differs from where this branch left `origin/main` (without one, from the last
commit), and what git does not know yet. For a file of `raysel/<folder>/` these are the tests of
`tests/unit/<folder>/` that are called after it or import it; for a kit or a conftest, the tests
beside it that use it; for a changed test, that test. Two short tests of the whole source (its
words, its imports) always run.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNIT = Path("tests/unit")
ALWAYS = (UNIT / "test_imports_one_way.py", UNIT / "test_vocabulary.py")
DOCS = ("docs/", ".mkdocs/", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")


def git(*arguments: str) -> list[str]:
    """The lines that git prints; none where it fails."""
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed_files() -> list[str]:
    """Paths from the root."""
    base = [*git("merge-base", "HEAD", "origin/main"), "HEAD"][0]
    new = git("ls-files", "--others", "--exclude-standard")
    return [*git("diff", "--name-only", base), *new]


def tests_of(path: str, root: Path = ROOT) -> Iterator[Path]:
    """The unit tests that a changed file concerns, as paths from the root."""
    file = Path(path)
    if file.is_relative_to(UNIT) and file.name.startswith("test_"):
        yield file
    elif file.is_relative_to(UNIT):  # a kit, an oracle, a conftest
        beside = UNIT if "kits" in file.parts else file.parent
        whole = file.name == "conftest.py"
        for test in tests_below(beside, root):
            if whole or re.search(rf"\b{file.stem}\b", (root / test).read_text("utf-8")):
                yield test
    elif file.parts[0] == "raysel" and len(file.parts) > 2:
        module = re.escape(".".join(file.with_suffix("").parts))
        package, _, name = module.rpartition(r"\.")
        imported = re.compile(rf"\b{module}\b|from {package} import [^\n]*\b{name}\b")
        for test in tests_below(UNIT / file.parts[1], root):
            named = test.stem.startswith(f"test_{file.stem}")
            if named or imported.search((root / test).read_text("utf-8")):
                yield test
    elif path == "raysel/__init__.py":
        yield UNIT / "test_public_api.py"
    elif path.startswith(DOCS):
        yield from tests_below(UNIT / "docs", root)


def tests_below(folder: Path, root: Path) -> list[Path]:
    return [path.relative_to(root) for path in sorted((root / folder).rglob("test_*.py"))]


def concerned(paths: Iterable[str], root: Path = ROOT) -> list[Path]:
    """Every test of the changed files once; those that were deleted are left out."""
    found = {*ALWAYS, *(test for path in paths for test in tests_of(path, root))}
    return sorted(test for test in found if (root / test).is_file())


if __name__ == "__main__":
    print(*concerned(changed_files()))

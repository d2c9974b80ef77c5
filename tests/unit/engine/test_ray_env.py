"""Whatever imports Ray for a sweep has set first what Ray reads at its import."""

from __future__ import annotations

from raysel.engine.ray_env import AUTH_MODE, BINDING, prepare

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import raysel

ROOT = Path(raysel.__file__).parent
FIRST = "raysel.engine.ray_env"
CLIENTS = ("service/jobs.py", "service/doctor/", "engine/node_probe.py")
"""They speak to a cluster that is there, and start none."""

SCRIPTS = ("__main__.py", "env.py")
"""Python and Alembic run them; nobody imports them."""

_LOOK = f"""
import importlib, json, os, sys
from pathlib import Path

root = Path(sys.argv[1])
seen = None


class Look:
    def find_spec(self, name, path=None, target=None):
        global seen
        if name != "ray":
            return
        frame = sys._getframe()
        while frame is not None and not frame.f_code.co_filename.startswith(str(root)):
            frame = frame.f_back
        importer = frame and str(Path(frame.f_code.co_filename).relative_to(root))
        seen = importer, os.environ.get({BINDING!r}), os.environ.get({AUTH_MODE!r})
        raise ImportError("Ray is not imported here")


sys.meta_path.insert(0, Look())
for path in sorted(path for path in root.rglob("*.py") if path.name not in {SCRIPTS!r}):
    parts = path.relative_to(root.parent).with_suffix("").parts
    module = ".".join(parts).removesuffix(".__init__")
    seen = None
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    if sys.modules.pop({FIRST!r}, None):
        del sys.modules["raysel.engine"].ray_env
    try:
        importlib.import_module(module)
    except ImportError as error:
        if seen is None:
            seen = "raises", type(error).__name__, str(error)
    print(json.dumps([module, seen]))
"""
"""Imports each of raysel's modules up to its first import of Ray, and prints which file that was in
and what the environment was. Ray itself is never imported: what needs it stays out of
sys.modules, so that the next module begins anew."""


def _sources() -> list[Path]:
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(CLIENTS)
    ]


@cache
def _imported(path: Path) -> list[str]:
    """The modules that a file imports, wherever, in the order of its lines."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, node.module or "")]
    return [name for _, name in sorted(found) if name != "__future__"]


def _is_ray(name: str) -> bool:
    return name.partition(".")[0] == "ray"


def _importers() -> list[str]:
    named = [path for path in _sources() if re.search(r"\bray\b", path.read_text("utf-8"))]
    paths = [path for path in named if any(map(_is_ray, _imported(path)))]
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_file_that_imports_ray_sets_its_variables_first() -> None:
    assert len(_importers()) >= 4
    for name in _importers():
        assert _imported(ROOT / name)[0] == FIRST, name


def _first_imports_of_ray() -> dict[str, list[str | None] | None]:
    """For each module the file that imports Ray first, and the two variables by then."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(ROOT)], capture_output=True, text=True, check=True
    )
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.slow
def test_no_module_imports_ray_before_its_variables_are_set() -> None:
    found = _first_imports_of_ray()
    assert len(found) == len([path for path in ROOT.rglob("*.py") if path.name not in SCRIPTS])
    first = {module: reported for module, reported in found.items() if reported}
    assert {f"raysel.{name[:-3].replace('/', '.')}" for name in _importers()} <= {*first}
    wrong = {
        module: reported
        for module, reported in first.items()
        if reported[1:] != ["0", "token"] and not str(reported[0]).startswith(CLIENTS)
    }
    assert wrong == {}


def test_a_user_s_own_value_does_not_open_a_local_ray() -> None:
    environment = {BINDING: "1", AUTH_MODE: "disabled"}
    prepare(environment, imported=False)
    assert (environment[BINDING], environment[AUTH_MODE]) == ("0", "disabled")


def test_a_cluster_that_is_joined_is_left_as_it_is() -> None:
    environment = {"RAY_ADDRESS": "10.0.0.1:6379"}
    prepare(environment, imported=False)
    assert not {BINDING, AUTH_MODE} & environment.keys()


def test_a_worker_is_left_as_it_is() -> None:
    environment: dict[str, str] = {}
    prepare(environment, imported=True)
    assert not {BINDING, AUTH_MODE} & environment.keys()

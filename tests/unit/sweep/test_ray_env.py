"""Whatever imports Ray for a sweep has set first what Ray reads at its import."""

from __future__ import annotations

from raysel.sweep.ray_env import AUTH_MODE, BINDING, prepare

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import raysel

ROOT = Path(raysel.__file__).parent
FIRST = "raysel.sweep.ray_env"
CLIENTS = ("service/jobs.py", "service/doctor/")
"""They speak to a cluster that is there, and start none."""

_LOOK = f"""
import importlib, os, sys

class Look:
    seen = None
    def find_spec(self, name, path=None, target=None):
        if name == "ray" and Look.seen is None:
            Look.seen = os.environ.get({BINDING!r}), os.environ.get({AUTH_MODE!r})

sys.meta_path.insert(0, Look())
importlib.import_module(sys.argv[1])
print(Look.seen)
"""


def _sources() -> list[Path]:
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(CLIENTS)
    ]


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
    paths = [path for path in _sources() if any(map(_is_ray, _imported(path)))]
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_file_that_imports_ray_sets_its_variables_first() -> None:
    assert len(_importers()) >= 7
    for name in _importers():
        assert _imported(ROOT / name)[0] == FIRST, name


@pytest.mark.slow
@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_ray_before_its_variables_are_set(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, module.removesuffix(".__init__")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.splitlines()[-1] in ("None", "('0', 'token')")


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

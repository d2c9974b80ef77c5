"""Imports go one way: a file imports from its own floor or from a lower one, never in a circle,
and the heavy libraries stay where they belong.

Read from the source with `ast`: imports inside functions and under TYPE_CHECKING count too,
for they are knowledge as well. The checker itself is tested on made-up trees.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import raysel

ROOT = Path(raysel.__file__).parent
PACKAGE = "raysel"

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "common"}),
    frozenset({"spec"}),
    frozenset({"tasks", "models", "record"}),
    frozenset({"strategies", "mlflow_sync"}),
    frozenset({"training", "search"}),
    frozenset({"engine"}),
    frozenset({"sweep"}),
    frozenset({"report", "export"}),
    frozenset({"service"}),
    frozenset({"cli", "__main__"}),
)
"""From the ground up: the folders directly below `raysel/`."""

ALLOWED = {
    "ray": {"engine", "service"},
    "mlflow": {"mlflow_sync", "export"},
    "optuna": {"search", "sweep"},
}
"""Who may import what."""

NOT_AT_START = frozenset(
    [
        "torch",
        "torchvision",
        "timm",
        "ray",
        "mlflow",
        "optuna",
        "pydantic",
        "sklearn",
        "scipy",
        "numpy",
        "pyarrow",
        "sqlalchemy",
        "psutil",
        "matplotlib",
    ]
)
"""What `raysel --help` must not wait for."""


@dataclass(frozen=True)
class Import:
    """`import module`, or `from module import name`; `at_start`: importing the file runs it."""

    module: str
    name: str
    line: int
    at_start: bool

    def target(self, sources: dict[str, Source]) -> str:
        """The file that is meant: `from raysel.models import layers` may name one itself."""
        inner = f"{self.module}.{self.name}"
        return inner if inner in sources else self.module


@dataclass(frozen=True)
class Source:
    """One file: its dotted name, its part (the name directly below the package), imports."""

    name: str
    is_package: bool
    imports: tuple[Import, ...]

    @property
    def part(self) -> str:
        return self.name.split(".")[1] if "." in self.name else "__init__"

    @property
    def floor(self) -> int | None:
        return next((i for i, parts in enumerate(FLOORS) if self.part in parts), None)


def read(root: Path) -> dict[str, Source]:
    """Every file of a package by its dotted name."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        imports = tuple(_imports(ast.parse(path.read_text("utf-8")), name, is_package, True))
        sources[name] = Source(name, is_package, imports)
    return sources


def _imports(node: ast.AST, name: str, is_package: bool, at_start: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, "", node.lineno, at_start) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            package = name.split(".") if is_package else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *filter(None, [module])])
        yield from (Import(module, alias.name, node.lineno, at_start) for alias in node.names)
    inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child, starts in _children(node, at_start and not inner):
        yield from _imports(child, name, is_package, starts)


def _children(node: ast.AST, at_start: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes below, and whether importing the file runs them: not under TYPE_CHECKING."""
    typing_only: list[ast.stmt] = []
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        typing_only = node.body
    for child in ast.iter_child_nodes(node):
        yield child, at_start and child not in typing_only


def edges(sources: dict[str, Source], source: Source) -> dict[str, int]:
    """The files of the package that one file imports, with the line."""
    found: dict[str, int] = {}
    for item in source.imports:
        if source.name == PACKAGE and not item.at_start:
            continue  # the Python API's names, each imported when it is used
        target = item.target(sources)
        if target in sources and target != source.name:
            found.setdefault(target, item.line)
    return found


def uphill(sources: dict[str, Source]) -> list[str]:
    """Imports from a higher floor, and files that stand on none."""
    wrong = []
    for source in sources.values():
        if source.floor is None:
            wrong.append(f"{source.name}: {source.part} stands on no floor; put it into FLOORS")
            continue
        for target, line in edges(sources, source).items():
            floor = sources[target].floor
            if floor is not None and floor > source.floor:
                wrong.append(f"{source.name}:{line} imports {target}, {floor - source.floor} up")
    return wrong


def circles(sources: dict[str, Source]) -> list[str]:
    """One circle of imports, or none."""
    graph = {name: set(edges(sources, source)) for name, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def misplaced(sources: dict[str, Source]) -> list[str]:
    """Ray, MLflow and Optuna where they do not belong."""
    return [
        f"{source.name}:{item.line} imports {item.module}"
        for source in sources.values()
        for item in source.imports
        if source.part not in ALLOWED.get(item.module.split(".")[0], {source.part})
    ]


def heavy_at_start(sources: dict[str, Source], start: str) -> list[str]:
    """Heavy libraries that importing `start` loads, itself or by what it imports."""
    heavy, seen, todo = [], set(), [start]
    while todo:
        name = todo.pop()
        if name in seen or name not in sources:
            continue
        seen.add(name)
        todo.append(name.rpartition(".")[0])  # importing a.b runs a's __init__ as well
        for item in sources[name].imports:
            if item.at_start:
                todo.append(item.target(sources))
                if item.module.split(".")[0] in NOT_AT_START:
                    heavy.append(f"{name}:{item.line} imports {item.module}")
    return heavy


# --- raysel -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return read(ROOT)


def test_a_file_imports_from_its_own_floor_or_a_lower_one(sources):
    assert uphill(sources) == []


def test_there_are_no_circles(sources):
    assert circles(sources) == []


def test_ray_mlflow_and_optuna_stay_where_they_belong(sources):
    assert misplaced(sources) == []


def test_the_command_line_starts_without_anything_heavy(sources):
    assert "raysel.cli.main" in sources
    assert heavy_at_start(sources, "raysel.cli.main") == []


def test_the_package_itself_imports_nothing_of_its_own(sources):
    found = {item.module for item in sources[PACKAGE].imports if item.at_start}
    assert found == {"__future__", "importlib", "typing"}


# --- the checker sees what it should --------------------------------------------------------


def tree(tmp_path: Path, **files: str) -> dict[str, Source]:
    """A package of files given as `folder__file="source"`."""
    for name, text in {"__init__": "", **files}.items():
        dotted = name if name == "__init__" else name.replace("__", "/", 1)
        path = tmp_path / f"{dotted}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "import raysel.engine.tune",
        "from raysel.engine.tune import run",
        "from raysel.engine import tune",
        "from ..engine import tune",
        "from ..engine.tune import run",
        "def later():\n    from raysel.engine.tune import run",
        "if TYPE_CHECKING:\n    import raysel.engine.tune",
        "try:\n    import raysel.engine.tune\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_that_runs_uphill_is_seen(tmp_path, statement):
    sources = tree(tmp_path, models__build=statement, engine__tune="")
    (message,) = uphill(sources)
    assert message.startswith("raysel.models.build:")
    assert "imports raysel.engine.tune, 3 up" in message


@pytest.mark.parametrize(("text", "wrong"), [("{}", True), ("if TYPE_CHECKING:\n    {}", False)])
def test_the_package_may_name_what_it_imports_later(tmp_path, text, wrong):
    text = text.format("from raysel.engine.tune import run")
    sources = tree(tmp_path, __init__=text, engine__tune="import raysel")
    assert bool(uphill(sources)) == bool(circles(sources)) == wrong


def test_an_import_downhill_or_beside_is_allowed(tmp_path):
    text = "import raysel.models.layers\nfrom raysel.tasks import data\nimport raysel.common.errors"
    sources = tree(
        tmp_path, models__build=text, models__layers="", tasks__data="", common__errors=""
    )
    assert uphill(sources) == circles(sources) == []


def test_a_file_on_no_floor_is_seen(tmp_path):
    assert "helpers stands on no floor" in uphill(tree(tmp_path, helpers=""))[0]


def test_a_circle_of_three_on_one_floor_is_seen(tmp_path):
    sources = tree(
        tmp_path,
        tasks__a="from raysel.models import b",
        models__b="from raysel.tasks.c import x",
        tasks__c="def f():\n    import raysel.tasks.a",
    )
    assert uphill(sources) == []
    (circle,) = circles(sources)
    assert set(circle.split(" -> ")) == {"raysel.tasks.a", "raysel.models.b", "raysel.tasks.c"}


@pytest.mark.parametrize(
    ("place", "statement", "wrong"),
    [
        ("training__loop", "import ray", True),
        ("training__loop", "def f():\n    from ray import tune", True),
        ("training__loop", "import ray.tune", True),
        ("training__loop", "import raysel.common.errors", False),
        ("engine__tune", "from ray import tune", False),
        ("sweep__session", "from ray import tune", True),
        ("service__jobs", "import ray.job_submission", False),
        ("engine__tune", "import mlflow", True),
        ("cli__main", "def f():\n    import mlflow", True),
        ("service__jobs", "import optuna", True),
        ("search__samplers", "from optuna.samplers import TPESampler", False),
        ("mlflow_sync__worker", "from mlflow.tracking import MlflowClient", False),
        ("export__best_model", "import mlflow", False),
    ],
)
def test_a_library_in_the_wrong_place_is_seen(tmp_path, place, statement, wrong):
    assert bool(misplaced(tree(tmp_path, **{place: statement}, common__errors=""))) == wrong


@pytest.mark.parametrize(
    ("cli", "heavy"),
    [
        ("import torch", True),
        ("from torch import nn", True),
        ("import raysel.models.layers", True),  # by way of it
        ("import raysel.tasks.shifts", True),  # by way of the folder's own __init__
        ("class A:\n    import ray", True),
        ("def f():\n    import torch", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", False),
        ("import raysel.common.errors", False),
    ],
)
def test_a_slow_start_is_seen(tmp_path, cli, heavy):
    sources = tree(
        tmp_path,
        cli__main=cli,
        common__errors="",
        models____init__="",
        models__layers="import timm",
        tasks____init__="import sklearn",
        tasks__shifts="",
    )
    assert bool(heavy_at_start(sources, "raysel.cli.main")) == heavy

"""Pages that follow from the code: the sweep file's keys, the commands, the strategies.

A hook of MkDocs (`make docs`). What is written here is read from the JSON Schema of sweep files,
the command line and the registry, so it cannot differ from them; only the traces of
docs/pictures/traces are drawn beforehand (traces.py).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from raysel.cli.main import app
from raysel.search.json_schema import sweep_schema
from raysel.search.listings import ParameterRow, needs_in_words, strategy_card
from raysel.strategies import Strategy, registered

ROOT = Path(__file__).parents[1]
TRACES = Path("pictures/traces")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    strategies = registered()
    pages = {
        "reference/sweep-file.md": sweep_file_page(sweep_schema()),
        "reference/commands.md": commands_page(),
        "reference/strategies/index.md": strategies_page(strategies),
    }
    for name, strategy in strategies.items():
        pages[f"reference/strategies/{name}.md"] = strategy_page(strategy)
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


# --- Markdown --------------------------------------------------------------------------------


def cell(text: str) -> str:
    """Text as a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the cells are Markdown."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- the sweep file --------------------------------------------------------------------------

SECTIONS = {
    "TaskSpec": "task",
    "FolderData": "task.data: a folder",
    "TableData": "task.data: a table",
    "FileData": "task.data: a file of pictures",
    "FunctionData": "task.data: a function",
    "HubData": "task.data: a data set of the hub",
    "TfdsData": "task.data: a data set of TFDS",
    "ColouredDigits": "task.data: digits with a cue",
    "ShiftSpec": "task.shift",
    "SplitSpec": "task.split",
    "ModelSpec": "model",
    "ModelChoice": "model.name: several models",
    "PackageWeights": "model.weights: a package",
    "TrainingSpec": "training",
    "PullSpec": "training.pull",
    "AfterSpec": "strategies.NAME.after",
    "AdapterSpec": "model.adapter",
    "TrainingOverride": "strategies.NAME.training",
    "SourceSpec": "source",
    "SearchSpec": "search",
    "PrunerSpec": "pruner",
    "ObjectiveSpec": "objective",
    "ConfirmSpec": "confirm",
    "ResourcesSpec": "resources",
    "BudgetSpec": "budget",
    "TraceSpec": "trace",
    "TrackingSpec": "tracking",
    "VerdictSpec": "verdict",
    "BestBy": "confirm.configurations: the best for each value",
    "CodeFile": "A file of one's own",
    "FloatRange": "A range of real numbers",
    "IntRange": "A range of whole numbers",
    "Choice": "A choice",
}
"""The titles of the schema's parts, in the order of a sweep file."""

SEARCHED = {"FloatRange": "{float: …}", "IntRange": "{int: …}", "Choice": "{categorical: …}"}
"""What may be searched, as the file has it."""

INTRODUCTION = """\
# The sweep file

One YAML file is one sweep. Only `name`, `task`, `model` and `strategies` must be given; every
other key has the default that stands here. `raysel init sweep.yaml` writes a commented file,
`raysel validate sweep.yaml` checks one, and `raysel schema > raysel.schema.json` prints the JSON
Schema from which this page is made, for editors that complete and check YAML with it.

A value that may be searched is a constant or a distribution: `{float: [1e-4, 1e-1], log: true}`,
`{int: [low, high], step: 2}`, `{categorical: [a, b]}`; for a strategy's own parameters also the
word `search`, which stands for the range that the strategy declares. An entry below `strategies`
is named like its strategy, or says it: `last_two: {strategy: suffix, layers: 2}`; `model` is the
one of several models that it is tried with. With `axes` a file is several sweeps, see
[Several sweeps in one file](../suites.md). Any value can be replaced on the command line:
`raysel run sweep.yaml --set training.epochs=5`. The file is YAML 1.2: `1:30`, `off` and `1_000` are
words, and `010` is ten.
"""


def sweep_file_page(schema: dict[str, Any]) -> str:
    """Every key of the grammar, part by part."""
    parts = schema["$defs"]
    missing = set(parts) ^ set(SECTIONS)
    if missing:
        raise ValueError(f"SECTIONS and the schema differ in: {', '.join(sorted(missing))}")
    text = [INTRODUCTION, "## The whole file", keys_table(schema)]
    for name, title in SECTIONS.items():
        text += [f"## {title}", parts[name].get("description", ""), keys_table(parts[name])]
    return "\n\n".join(text)


def keys_table(part: dict[str, Any]) -> str:
    """The keys of one part."""
    required = part.get("required", ())
    rows = [
        (f"`{key}`", words(value), "must be given" if key in required else default(value), about)
        for key, value in part["properties"].items()
        for about in [cell(value.get("description", ""))]
    ]
    return table(("key", "values", "default", "what it says"), rows)


def default(value: dict[str, Any]) -> str:
    """A key's default, as YAML has it; empty where it is a part of its own or none."""
    given = value.get("default")
    if given is None or given in ({}, [], ""):
        return ""
    if isinstance(given, dict):
        kept = {key: item for key, item in given.items() if item not in (None, False)}
        return "below" if "$ref" in value else f"`{json.dumps(kept)}`"
    return f"`{json.dumps(given)}`" if not isinstance(given, str) else f"`{given}`"


def words(value: dict[str, Any]) -> str:
    """What a key takes: words and numbers as they are written, parts as links."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return SEARCHED_LINKS.get(name) or f"[{SECTIONS[name]}](#{anchor(SECTIONS[name])})"
    if "enum" in value or "const" in value:
        return ", ".join(f"`{item}`" for item in value.get("enum", [value.get("const")]))
    for several in ("oneOf", "anyOf"):
        if several in value:
            found = [words(item) for item in value[several] if item.get("type") != "null"]
            return ", ".join(dict.fromkeys(found))
    return TYPES[str(value.get("type"))](value)


def anchor(title: str) -> str:
    """The id that MkDocs gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return "-".join(kept.split())


SEARCHED_LINKS = {name: f"[`{text}`](#{anchor(SECTIONS[name])})" for name, text in SEARCHED.items()}


def number(value: dict[str, Any]) -> str:
    """`whole number > 0`, `number 0 to 1`."""
    kind = "whole number" if value["type"] == "integer" else "number"
    limits = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"))
    shown = [
        f"{sign} {value[key]:g}"
        for key, sign in (*limits, ("maximum", "≤"))
        if key in value and abs(value[key]) < 2**31 - 1
    ]
    return f"{kind} {', '.join(shown)}".strip()


def several(value: dict[str, Any]) -> str:
    """A list: `list of text`."""
    items = value.get("items") or {"anyOf": value.get("prefixItems", [{"type": "string"}])}
    return f"list of {words(items)}"


TYPES: dict[str, Callable[[dict[str, Any]], str]] = {
    "string": lambda _: "text",
    "boolean": lambda _: "`true`, `false`",
    "integer": number,
    "number": number,
    "array": several,
    "object": lambda _: "keys below",
}


# --- the commands ----------------------------------------------------------------------------


def commands_page() -> str:
    """The help of every command."""
    group = typer.main.get_command(app)
    text = [
        "# Commands",
        "What `raysel COMMAND --help` prints. Exit codes: 0; 1 where something failed; 2 for bad"
        " input, before anything is computed; 130 after Ctrl-C.",
    ]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        with typer.Context(command, info_name=f"raysel {name}", terminal_width=88) as context:
            text += [f"## {name}", f"```text\n{command.get_help(context).strip()}\n```"]
    return "\n\n".join(text)


# --- the strategies --------------------------------------------------------------------------

FULL_STEP = "a full step"
"""Forward, and backward through all layers."""


def strategies_page(strategies: dict[str, type[Strategy]]) -> str:
    """The table of strategies."""
    rows = [
        (
            f"[`{name}`]({name}.md)",
            cell(strategy.summary),
            needs_in_words(strategy),
            cell(cost_of_a_step(strategy)),
        )
        for name, strategy in strategies.items()
    ]
    return "\n\n".join(
        [
            "# Strategies",
            "A strategy answers one question: at this step, with what weight w ≥ 0 does each layer"
            " move? The optimizer uses the learning rate lr · w; a layer with w = 0 stays"
            " as it is, bit for bit. A strategy may stand several times in a sweep, under names of"
            " your own: [arms](../../compare.md#arms). `raysel strategies NAME` prints one, and"
            " `search_spaces/strategies.yaml` runs them all.",
            table(("strategy", "what moves", "needs", "a step costs"), rows),
            "`search.sampler: cross_validation` is the surgical papers' cross-validation: a search"
            " (one trial a layer on the same splits), not a strategy. `search.sampler: greedy` is"
            " SubTuning's, which grows a [set of layers](../../compare.md#which-layers-together)."
            " Every strategy of a sweep"
            " trains with the same batch-norm mode (`training.batch_norm`) unless the file says"
            " `published`. What the papers leave open is decided in"
            " [Algorithms](../../algorithms.md).",
        ]
    )


def cost_of_a_step(strategy: type[Strategy]) -> str:
    """What one step costs: what the strategy says, or an ordinary step."""
    during = strategy.cost.during
    if during == "nothing":
        return FULL_STEP
    return f"{FULL_STEP} and {during}" if during.startswith("about") else during


def strategy_page(strategy: type[Strategy]) -> str:
    """One strategy: what it does, its equation, its parameters, its cost, a trace."""
    card = strategy_card(strategy.name)
    module = inspect.getmodule(strategy)
    text = [
        f"# {card.name}",
        f"{card.summary[0].upper()}{card.summary[1:]}.",
        f"**Paper**: {card.paper}. **Needs**: {card.needs}.",
        "## The method",
        linked(inspect.cleandoc(strategy.__doc__ or "")),
        f"From the documentation of `{strategy.__module__}`, the family's file:",
        linked(inspect.cleandoc((module and module.__doc__) or "")),
        "## Parameters",
        *parameters(card.parameters),
        "## Cost",
        table(
            ("when", "what"),
            [
                ("before training", cell(card.cost["before"])),
                ("a step", cell(cost_of_a_step(strategy))),
                ("memory beside the model and the optimizer", cell(card.cost["memory"])),
            ],
        ),
        "## How the paper trains",
        *published(card.published, card.batch_norm),
        *(["## What differs", linked(card.differs)] if card.differs else []),
        *trace(strategy.name),
    ]
    return "\n\n".join(text)


def linked(text: str) -> str:
    """A docstring whose decisions (D9) are links to their sections; code stays as it is."""
    page = (ROOT / "docs" / "algorithms.md").read_text("utf-8")
    titles = {title.split(":")[0]: title for title in re.findall(r"^### (D.+)$", page, re.M)}

    def link(found: re.Match[str]) -> str:
        title = titles.get(found[0])
        return f"[{found[0]}](../../algorithms.md#{anchor(title)})" if title else found[0]

    lines = (
        line if line.startswith("    ") else re.sub(r"\bD\d+\b", link, line)
        for line in text.splitlines()
    )
    return "\n".join(lines).replace("docs/algorithms.md", "[Algorithms](../../algorithms.md)")


def parameters(rows: tuple[ParameterRow, ...]) -> Iterator[str]:
    """The table of a strategy's parameters."""
    if not rows:
        yield "None."
        return
    yield table(
        ("parameter", "kind", "default", "accepted", "`search` stands for", "what it says"),
        [
            (
                f"`{row.name}`",
                row.type,
                cell(row.default),
                cell(row.range),
                cell(row.search),
                cell(row.help),
            )
            for row in rows
        ],
    )


def published(settings: dict[str, Any], batch_norm: str) -> Iterator[str]:
    """The training settings of the paper."""
    said = ", ".join(f"`{key}: {value}`" for key, value in settings.items())
    yield f"Tried first in a sweep, and taken whole by `training: published`: {said or 'nothing'}."
    yield f"Its own batch-norm mode, under `training.batch_norm: published`: `{batch_norm}`."


def trace(name: str) -> Iterator[str]:
    """The drawn trace, where there is one."""
    if (ROOT / "docs" / TRACES / f"{name}.png").exists():
        yield "## A trace"
        yield (
            "Which layer moved at which step of the first trial that"
            " `search_spaces/strategies.yaml` gives it: noisy digits, resnet10t, 6 epochs."
        )
        yield f"![layer by epoch, {name}](../../{TRACES}/{name}.png)"

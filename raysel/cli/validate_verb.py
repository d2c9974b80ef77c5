"""The verb that checks a sweep file: validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysel.cli import suite_verbs
from raysel.cli.arguments import (
    AsJson,
    ManyCells,
    Overrides,
    SweepFile,
    checked_opened,
    located,
    prior_notes,
)
from raysel.common.errors import BAD_INPUT, Problem, UserError
from raysel.common.output import print_json, print_table, say, say_error

if TYPE_CHECKING:
    from raysel.search.summary import Summary
    from raysel.spec.sweep import Spec
    from raysel.tasks.data_summary import DataSummary
    from raysel.tasks.opened_task import OpenedTask


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(validate)


def validate(
    file: SweepFile,
    set_: Overrides = None,
    without_data: Annotated[
        bool,
        typer.Option(
            "--without-data", help="Missing data and weights are warnings, with exit code 0."
        ),
    ] = False,
    yes: ManyCells = False,
    as_json: AsJson = False,
) -> int:
    """Check a sweep file, and print its data, model and search space; of a suite its cells.
    Nothing is computed."""
    if suite_verbs.is_suite(file, set_ or ()):
        return suite_verbs.validate(file, set_ or (), yes, without_data, as_json)
    try:
        spec, task = checked_opened(file, set_ or (), counted=without_data)
        data = _data(spec, task)
        with located(file, set_ or ()):
            earlier = prior_notes(spec, task)
    except UserError as error:
        if as_json:
            print_json({"valid": False, "problems": [asdict(p) for p in error.problems]})
        raise
    from raysel.search import validate as validation  # noqa: PLC0415
    from raysel.search.summary import summary  # noqa: PLC0415
    from raysel.sweep import absences  # noqa: PLC0415

    absent, warnings = absences.absences(spec, task), absences.resource_warnings(spec)
    valid = not absent or without_data
    found = summary(spec, task)
    notes = [*validation.notes(spec, task), *earlier]
    if as_json:
        out: dict[str, Any] = {"valid": valid, "problems": [] if valid else _as_json(absent)}
        warned = {"warnings": _as_json([*warnings, *(absent if valid else ())])}
        print_json(out | asdict(found) | {"data": data and asdict(data), "notes": notes} | warned)
        return 0 if valid else BAD_INPUT
    _print(found, data, notes)
    for problem in [*warnings, *(absent if valid else ())]:
        say_error(f"warning  {problem}")
    for problem in () if valid else absent:
        say_error(f"error  {problem} ({absences.WITHOUT_DATA}: a warning, and exit code 0)")
    return 0 if valid else BAD_INPUT


def _data(spec: Spec, task: OpenedTask) -> DataSummary | None:
    """Summary of the data, as the first model takes them; None if they are not there."""
    from raysel.models.known_models import facts_of  # noqa: PLC0415
    from raysel.search.validate import reads_source  # noqa: PLC0415

    return task.summary(facts_of(spec.model.names[0]).input, reads_source(spec))


def _as_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in problems]


def _print(found: Summary, data: DataSummary | None, notes: Sequence[str]) -> None:
    if data is not None:
        say(*data.text(), "")
    _print_summary(found)
    for note in notes:
        say(f"note   {note}")


def _print_summary(found: Summary) -> None:
    from raysel.spec.arms import SINGLE  # noqa: PLC0415

    say(f"{found.model}: {len(found.layers)} layers, {found.parameters:,} parameters")
    layers = [(name, f"{size:,}") for name, size in found.layers.items()]
    print_table(("layer", "parameters"), layers, numbers=(1,))
    say("")
    rows = [(name, words or SINGLE) for name, words in found.strategies.items()]
    print_table(("strategy", "searched"), rows)
    say("")
    points = "unlimited" if found.size is None else f"{found.size:,}"
    say(f"{points} configurations · {found.trials} trials · {found.sampler}")

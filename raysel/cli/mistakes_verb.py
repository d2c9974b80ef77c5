"""The verb that names pictures which are taken for another class: mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli.arguments import AsJson, Storage, SweepName
from raysel.common.errors import nearest, user_error
from raysel.common.output import print_csv, print_json, print_table, say, say_error

if TYPE_CHECKING:
    from raysel.report.mistakes import Mistakes, WrongPicture

_LISTS = ("worst", "only_ours", "only_theirs", "everywhere")


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(mistakes)


def mistakes(
    sweep: SweepName,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Of this strategy, not of the winner.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Pictures of each list.")] = 20,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: every picture.")] = False,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> None:
    """Name the test pictures that the confirmed models take for another class: the worst ones,
    those that only one of two strategies gets right, and those that every run gets wrong."""
    if as_csv and as_json:
        raise user_error("--csv", "give it or --json, not both")
    from raysel.report.mistakes import mistakes as found_mistakes  # noqa: PLC0415
    from raysel.sweep.views import read_results  # noqa: PLC0415

    view, results = read_results(storage, sweep)
    known = [row.strategy for row in results.confirm]
    if strategy is not None and strategy not in known:
        hint = nearest(strategy, known) if known else "none was"
        raise user_error("--strategy", f'"{strategy}" was not confirmed; {hint}')
    found = found_mistakes(results, view.folder, view.spec, strategy)
    if as_json:
        return print_json(found.to_dict())
    _print_csv(found) if as_csv else _print_lists(found, most)
    note = say_error if as_csv else say
    if found.unnamed:
        note(f"note   pictures are called by their place: {found.unnamed}")
    for run in found.lost:
        note(f"note   the answers of {run} cannot be read or are another's; it is left out")
    return None


def _print_lists(found: Mistakes, most: int) -> None:
    from raysel.report.wrong_pictures import titled  # noqa: PLC0415

    wrong = f"{len(found.worst):,} of {found.examples:,} test pictures"
    say(f"{found.strategy}: {wrong} are wrong in some run")
    for title, rows in titled(found):
        say("", f"{title}: {len(rows):,}")
        if rows:
            _print_rows(rows[:most])
        if len(rows) > most:
            say(f"and {len(rows) - most:,} more: --most {len(rows)}, or --csv")


def _print_rows(rows: Sequence[WrongPicture]) -> None:
    cells = [
        (
            row.picture,
            row.given,
            row.taken,
            f"{row.wrong}/{row.runs}",
            "" if row.confidence is None else f"{row.confidence:.0%}",
        )
        for row in rows
    ]
    head = ("picture", "class", "taken for", "runs", "sure")
    print_table(head, cells, numbers=(3, 4), whole=(1, 2, 3, 4))


def _print_csv(found: Mistakes) -> None:
    head = ("list", "picture", "class", "taken for", "wrong", "runs", "confidence")
    print_csv(head)
    for name in _LISTS:
        for row in getattr(found, name):
            sure = "" if row.confidence is None else f"{row.confidence:.4f}"
            counts = (str(row.wrong), str(row.runs))
            print_csv((name, row.picture, row.given, row.taken, *counts, sure))

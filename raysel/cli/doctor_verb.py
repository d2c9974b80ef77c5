"""The verb that finds problems before a sweep fails: doctor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli.arguments import AsJson, Overrides, checked_but_storage, checked_for_there
from raysel.cli.cluster import Address
from raysel.common.errors import FAILED, user_error
from raysel.common.output import print_json, say

if TYPE_CHECKING:
    from raysel.service.doctor.finding import Finding


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(doctor)


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A sweep file, or a cluster file of ray up."),
    ] = None,
    address: Address = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Check this machine, a cluster, a sweep file or a cluster file for problems."""
    found = _found(file, address, set_ or ())
    from raysel.service.doctor.finding import any_error  # noqa: PLC0415

    if as_json:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        say(*(finding.line() for finding in found))
    return FAILED if any_error(found) else 0


def _found(file: Path | None, address: str | None, overrides: Sequence[str]) -> list[Finding]:
    from raysel.service.doctor import examine  # noqa: PLC0415

    config = None if file is None else examine.cluster_file(file)
    if config is not None:
        if address is not None or overrides:
            raise user_error(str(file), "is a cluster file: it goes without --address and --set")
        return examine.examine_file(config)
    check = checked_but_storage if address is None else checked_for_there
    spec = None if file is None else check(file, overrides)
    if address is not None:
        return examine.check_endpoint(address, spec)
    if os.environ.get("RAY_ADDRESS"):
        return examine.check_cluster(spec)
    return examine.check_local(spec)

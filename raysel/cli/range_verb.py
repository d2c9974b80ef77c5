"""The verb that looks for a learning rate to begin with: range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli.arguments import AsJson, Overrides, SweepFile, checked
from raysel.common.output import print_json, print_table, progress_stream, say

if TYPE_CHECKING:
    from raysel.spec.sweep import Spec
    from raysel.training.range_test import RangeTest


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("range")(range_)


def range_(
    file: SweepFile,
    set_: Overrides = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Of this arm alone; of all, if not given.")
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=20, max=10_000, help="Of each test, at most.")
    ] = 100,
    as_json: AsJson = False,
) -> int:
    """Test learning rates from 1e-6 to 1, for each arm in one short training: which one to try
    first. Without Ray."""
    spec = checked(file, set_ or ())
    from raysel.sweep.range_tests import in_the_file, range_tests  # noqa: PLC0415

    def notify(*lines: str) -> None:
        say(*lines, to=progress_stream(as_json))

    found = range_tests(spec, strategy, steps, notify, lambda data: notify(*data.text(), ""))
    lines = in_the_file(spec, found)
    if as_json:
        print_json({arm: _as_dict(test) | {"write": lines[arm]} for arm, test in found.items()})
        return 0
    rows = [
        (arm, _rate(test.suggested), _rate(test.lowest), str(len(test.rates)))
        for arm, test in found.items()
    ]
    say("")
    print_table(("arm", "suggested", "lowest loss at", "steps"), rows, numbers=(1, 2, 3))
    say("", "to try these first, write below strategies:", "")
    for arm, line in lines.items():
        if line is not None:
            say(f"  {arm}: {{{_with_model(spec, arm)}training: {{learning_rate: {line}}}}}")
    return 0


def _with_model(spec: Spec, arm: str) -> str:
    """What an arm of one of several models is in the file."""
    from raysel.search.arms import strategies_of, strategy_of  # noqa: PLC0415

    own = strategies_of(spec)[arm]
    if arm in spec.strategies or own.model is None:
        return ""
    return f"strategy: {strategy_of(arm, own)}, model: {own.model}, "


def _as_dict(test: RangeTest) -> dict[str, object]:
    own = {"suggested": test.suggested, "lowest": test.lowest}
    return own | {"rates": list(test.rates), "losses": list(test.losses)}


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.2g}"

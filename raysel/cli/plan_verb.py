"""The verb that estimates a sweep before it runs: plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli import suite_verbs
from raysel.cli.arguments import AsJson, ManyCells, Overrides, SweepFile, checked_opened, located
from raysel.common.output import print_json, print_table, say, say_error
from raysel.common.text import count_of

if TYPE_CHECKING:
    from raysel.service.plan.estimate import Plan, StrategyPlan
    from raysel.tasks.data_summary import DataSummary


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(plan)


def plan(
    file: SweepFile,
    set_: Overrides = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="Plan for this many GPUs.")
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price-per-gpu-hour", min=0, help="For the cost.")
    ] = None,
    images_per_second: Annotated[
        float | None,
        typer.Option(
            "--images-per-second",
            min=0.001,
            help="Training images a second of one trial: for the hours, where nothing is measured.",
        ),
    ] = None,
    yes: ManyCells = False,
    as_json: AsJson = False,
) -> None:
    """Estimate a sweep, or a suite of them: trials, time, memory, disk, cost. Runs a short
    calibration; without the data it counts what there is to do."""
    if suite_verbs.is_suite(file, set_ or ()):
        return suite_verbs.plan(file, set_ or (), yes, gpus, price, images_per_second, as_json)
    spec, task = checked_opened(file, set_ or ())
    if task.missing is not None:
        from raysel.cli.plan_words import print_counted  # noqa: PLC0415
        from raysel.service.plan.counted import counted  # noqa: PLC0415

        return print_counted(spec.name, {"": counted(spec, task)}, images_per_second, as_json)
    from raysel.service.plan.estimate_sweep import estimate_sweep  # noqa: PLC0415
    from raysel.spec import user_code  # noqa: PLC0415
    from raysel.sweep.plan_cache import write_plan  # noqa: PLC0415

    def opened(data: DataSummary) -> None:
        if not as_json:
            say(*data.text(), "")
            say_error("measuring a few steps of each strategy …")

    code = user_code.read(spec.listed_code, file.parent)
    with located(file, set_ or ()):
        found = estimate_sweep(spec, code, gpus, price, opened=opened)
    kept = found.as_json()
    write_plan(spec, kept)
    if as_json:
        return print_json(kept)
    return _print(found)


def _print(found: Plan) -> None:
    from raysel.report.words import hours, seconds, size  # noqa: PLC0415

    tests = f"{count_of(found.range_tests, 'range test')}, " if found.range_tests else ""
    bound = "at most " if found.is_bound else ""
    runs = f"{tests}{bound}{found.trials:.0f} trials, {found.runs} confirm runs"
    say(f"{found.name} · {runs} · {found.epochs:,.0f} epochs, {found.steps:,.0f} steps")
    if found.costs.kept < 1:
        say(f"the pruner is expected to save {1 - found.costs.kept:.0%} of the search's epochs")
    rows = [_row(plan) for plan in found.strategies]
    columns = ("strategy", "trials", "s an epoch", "parameters", "gradients", "optimizer", "peak")
    print_table(columns, rows, numbers=range(1, 7))
    for note in found.notes:
        say(f"note   {note}")
    for name, why in found.failures.items():
        say(f"note   {name} could not be measured: {why}")
    if found.duration is None:
        say(f"time   not estimated: {found.why or 'a strategy could not be measured'}")
    else:
        time = found.duration
        around = f"{seconds(time.low)} to {seconds(time.high)}"
        work = f"{hours(found.hours or 0)} {'GPU' if found.costs.gpus else 'CPU'} hours"
        say(
            f"time   {seconds(time.total)} ({around}), {found.costs.concurrent} trials at a time"
            f" on {found.device} · {work}"
        )
    if found.cost is not None:
        say(f"cost   {found.cost:,.2f} at {found.costs.price:g} a GPU hour")
    elif found.costs.price is not None and not found.costs.gpus:
        say("cost   none: a trial asks for no GPU")
    trial = "" if found.trial_bytes is None else f"largest trial {size(found.trial_bytes)} · "
    say(f"space  {trial}{size(found.disk.total)} of disk")


def _row(plan: StrategyPlan) -> list[str]:
    from raysel.report.words import size  # noqa: PLC0415

    memory, timing = plan.memory, plan.timing
    sizes = (
        ["–"] * 4
        if memory is None
        else [
            size(part)
            for part in (memory.parameters, memory.gradients, memory.optimizer, memory.peak)
        ]
    )
    epoch = "–" if timing is None else f"{timing.epoch:.2f}"
    return [plan.workload.strategy, f"{plan.workload.trials:.0f}", epoch, *sizes]

"""The verb that asks whether criteria know what each layer is worth: profile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from raysel.cli.arguments import AsJson, Overrides, SweepFile, checked
from raysel.common.output import print_json, print_table, progress_stream, say
from raysel.common.text import and_more, clock

if TYPE_CHECKING:
    from raysel.sweep.layer_profile import Profile


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(profile)


def profile(
    file: SweepFile,
    set_: Overrides = None,
    splits: Annotated[int, typer.Option("--splits", min=3, help="Of the data, for each run.")] = 3,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Runs at a time; as many as fit, if not given."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Measure what each layer is worth: tuned alone, and left out; beside what each criterion says
    before training. Without Ray; what was cut off goes on where it was."""
    spec = checked(file, set_ or ())
    from raysel.record.layout import write_whole  # noqa: PLC0415
    from raysel.report.drawing import draw_styled, save_png  # noqa: PLC0415
    from raysel.report.profile_figure import draw_profile, layer_table  # noqa: PLC0415
    from raysel.report.table import to_csv  # noqa: PLC0415
    from raysel.sweep.layer_profile import profile as measure  # noqa: PLC0415
    from raysel.sweep.layer_profile import to_dict  # noqa: PLC0415

    stream, last = progress_stream(as_json), [-1]

    def notify(*lines: str) -> None:
        say(*lines, to=stream)

    def progress(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth != last[0]:
            last[0] = tenth
            notify(f"runs     {done}/{total}")

    most = max((os.cpu_count() or 1) // spec.resources.cpus, 1)
    found, folder = measure(
        spec, splits, processes or most, notify, progress, lambda data: notify(*data.text(), "")
    )
    write_whole(folder / "profile.csv", to_csv(layer_table(found)))
    figure = draw_styled(draw_profile, found)
    assert figure is not None
    picture = save_png(figure, folder / "profile.png")
    if as_json:
        print_json(to_dict(found) | {"folder": str(folder)})
        return 0
    _print(found)
    say("", f"figure   {picture}", f"files    {folder}")
    return 0


def _print(found: Profile) -> None:
    from raysel.report.profile_figure import in_words, points, rank  # noqa: PLC0415

    base, full = found.errors[found.baseline], found.errors["full"]
    words = "only the head moves" if found.baseline == "head" else "nothing moves"
    rates = ", ".join(f"{rate:g}" for rate in found.rates)
    say(
        "",
        f"{found.model}: test error {base:.3f} where {words}, {full:.3f} where everything does;"
        f" {found.splits} splits, learning rates {rates} ({clock(found.seconds)})",
        "",
    )
    layers = [(n, points(found.gain[n]), points(found.cost[n])) for n in found.layers]
    print_table(("layer", "tuned alone, gain", "left out, cost"), layers, numbers=(1, 2))
    say("", "points of test error, with 95 % intervals over the splits")
    if found.at_edge:
        edge = f"chosen at an end of the learning rates: {and_more(found.at_edge)}"
        say(f"{edge}; a better one may lie beyond, widen training.learning_rate")
    say("", "rank correlations of the criteria over the layers:", "")
    rows = []
    for name, (gain, cost) in found.correlations.items():
        best = max(zip(found.criteria[name], found.layers, strict=True), key=lambda pair: pair[0])
        rows.append((in_words(name), best[1], rank(gain), rank(cost)))
    print_table(("criterion", "highest", "with the gain", "with the cost"), rows, numbers=(2, 3))

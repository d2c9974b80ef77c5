"""The verbs of one trial or one model: finetune, reproduce, export."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysel.cli.arguments import (
    AsJson,
    Overrides,
    Storage,
    SweepFile,
    SweepName,
    checked,
    path_option,
)
from raysel.common.errors import FAILED, user_error
from raysel.common.output import print_json, print_table, progress_stream, say, say_error

if TYPE_CHECKING:
    from raysel.export.export_verb import Exported
    from raysel.spec.sweep import Spec
    from raysel.sweep.finetune import FineTuned
    from raysel.sweep.views import SweepView


class ExportLayout(str, Enum):
    """What `raysel export` writes."""

    timm = "timm"
    onnx = "onnx"
    torchscript = "torchscript"


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(finetune)
    app.command()(reproduce)
    app.command()(export)


def finetune(
    file: SweepFile,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="One of the file's; its first, if not given.")
    ] = None,
    set_: Overrides = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="End after this many steps.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run one trial without Ray: a strategy as published, with the values of the file."""
    spec = checked(file, set_ or ())
    from raysel.sweep.finetune import finetune as run  # noqa: PLC0415

    def show(row: dict[str, Any], of: int) -> None:
        say(epoch_line(row, of), to=progress_stream(as_json))

    def notify(*lines: str) -> None:
        say(*lines, to=progress_stream(as_json))

    tuned = run(spec, strategy, steps, notify, show, lambda data: notify(*data.text(), ""))
    model = write_finetuned(tuned, spec)
    if as_json:
        out = {"config": tuned.config.model_dump(mode="json"), "epochs": tuned.rows}
        ending = {"failure": tuned.failure, "best_epoch": tuned.best_epoch}
        written = {"model": model and str(model), "model_epoch": tuned.model_epoch}
        data = {"data": tuned.task.summary and asdict(tuned.task.summary)}
        print_json(data | out | ending | {"folder": str(tuned.folder)} | written)
    else:
        _print_tuned(tuned, model)
    return FAILED if tuned.failure else 0


def epoch_line(row: dict[str, Any], of: int) -> str:
    """A line with the metrics of one epoch; `of` is the number of epochs."""
    words = f"{row['epoch']:>4}/{of}  train/loss {row['train/loss']:.3f}"
    scores = f"  val/loss {row['val/loss']:.3f}  val/error {row['val/error']:.3f}"
    return f"{words}{scores}  {row['cost/seconds']:.1f} s"


def write_finetuned(tuned: FineTuned, spec: Spec) -> Path | None:
    """Write the model as timm loads it; its folder, None where the trial failed."""
    from raysel.export.timm_layout import model_origin, write_model  # noqa: PLC0415

    if tuned.model is None:
        return None
    folder = tuned.folder / "model"
    where = model_origin(spec.name, "finetune", spec.model.adapter)
    write_model(tuned.model, tuned.model_name, tuned.task, where, folder)
    return folder


def _print_tuned(tuned: FineTuned, model: Path | None) -> None:
    from raysel.report.review import moved_in_rows, moved_in_words  # noqa: PLC0415

    if tuned.failure:
        say(f"failed   {tuned.failure}")
    best = next((row for row in tuned.rows if row["epoch"] == tuned.best_epoch), None)
    if best is not None:
        rows = moved_in_rows(tuned.rows, tuned.layers)
        say("")
        facts = [
            ("trial", tuned.label),
            ("best epoch", str(tuned.best_epoch)),
            ("val/error", f"{best['val/error']:.3f}"),
            ("val/loss", f"{best['val/loss']:.3f}"),
            ("layers moved", moved_in_words(rows, tuned.layers)),
        ]
        print_table(("", ""), facts)
        say("")
    say(f"files    {tuned.folder}")
    if model is not None:
        say(f"model    {model} (of epoch {tuned.model_epoch})")


def reproduce(
    sweep: SweepName,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="17, or confirm-full-s0.")],
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            min=0,
            help="Accept differences up to this; 0 except on CUDA without training.deterministic.",
        ),
    ] = None,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> int:
    """Run a trial again from its record, and compare it epoch by epoch."""
    from raysel.sweep import reproduce as again  # noqa: PLC0415
    from raysel.sweep.views import read_sweep  # noqa: PLC0415

    view = read_sweep(storage, sweep)
    state = view.trial(trial)

    def progress(line: str) -> None:
        say(line, to=progress_stream(as_json))

    differs = again.machine_differences(view, state)
    if not as_json:
        for name, (then, now) in differs.items():
            say(f"{name:9} {then} then, {now} now")
        say("machine   nothing differs" if not differs else "")
    found = again.reproduce(
        view,
        state,
        progress,
        lambda done, of: progress(f"{done:>4}/{of}  epochs run again"),
        tolerance,
    )
    if as_json:
        print_json(asdict(found) | {"words": str(found)})
    else:
        say(f"{state.id}  {found}")
    return 0 if found.succeeded else FAILED


def export(
    sweep: SweepName,
    to: Annotated[
        Path,
        path_option("--to", "DIR", "An empty folder."),
    ],
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="The best model of this strategy, not the winner's."),
    ] = None,
    layout: Annotated[
        ExportLayout,
        typer.Option("--format", help="timm's own, or ONNX or TorchScript, which need no timm."),
    ] = ExportLayout.timm,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare its logits on picture files, without raysel."),
    ] = False,
    register: Annotated[
        str | None,
        typer.Option(
            "--register", metavar="NAME", help="Also register it in MLflow's model registry."
        ),
    ] = None,
    storage: Storage = "runs",
    as_json: AsJson = False,
) -> int:
    """Write the best model into DIR: timm.create_model("local-dir:DIR", pretrained=True); with
    --format another one that `python DIR/predict.py` asks without timm."""
    from raysel.export.export_verb import export as hand_over  # noqa: PLC0415
    from raysel.sweep.views import read_sweep  # noqa: PLC0415

    if register is not None and layout is not ExportLayout.timm:
        raise user_error("--register", "registers timm's layout alone; leave --format out")
    view = read_sweep(storage, sweep)

    def notify(line: str) -> None:
        say(line, to=progress_stream(as_json))

    out = hand_over(view, strategy, to, notify, check, layout.value)
    summary: dict[str, Any] = {"model": str(to) if out.written else None}
    summary |= {"strategy": out.strategy, "run": out.run}
    lines = [f"model    {to}: {out.strategy}, {out.run}"]
    if not out.written:
        lines = [f"model    none: its check failed, nothing was written into {to}"]
    if out.note:
        say_error(f"note     {out.note}")
    if out.again is not None:
        summary["again"] = str(out.again)
        lines.append(f"again    {out.again}")
    if (found := out.check) is not None:
        summary["check"] = asdict(found) | {"equal": found.equal}
        lines += [f"check    {found}", f"pictures {found.pictures or found.note}"]
    if register is not None and out.written:
        summary["registered"] = _register(view, out, register)
        lines.append(f"mlflow   {summary['registered']['uri']}")
    print_json(summary) if as_json else say(*lines)
    return 0 if out.written else FAILED


def _register(view: SweepView, out: Exported, name: str) -> dict[str, str]:
    from raysel.export.mlflow_registry import register  # noqa: PLC0415
    from raysel.record.layout import tracking_uri  # noqa: PLC0415

    uri = tracking_uri(view.spec.model_copy(update={"storage": str(view.folder.root)}))
    return asdict(register(out.folder, name, uri, view.sweep.id, out.run))

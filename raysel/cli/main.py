"""The command line: each verb calls one function below and prints.

torch, Ray, MLflow, Optuna and pydantic are imported inside the verbs, so that `--help` and
shell completion answer at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import raysel
from raysel.cli import (
    cluster,
    doctor_verb,
    mistakes_verb,
    plan_verb,
    predict_verb,
    profile_verb,
    range_verb,
    report_verb,
    review_verbs,
    run_verbs,
    trial_verbs,
    validate_verb,
)
from raysel.cli.arguments import (
    AsJson,
    path_option,
)
from raysel.common import credentials
from raysel.common.code_exits import CodeExit, as_exceptions
from raysel.common.disk_errors import of_a_file
from raysel.common.errors import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OperationalError,
    UserError,
    user_error,
)
from raysel.common.output import (
    guarded_streams,
    output_failure,
    print_json,
    print_table,
    say,
    say_error,
)
from raysel.engine.signals import cancel_abort, handling

if TYPE_CHECKING:
    from raysel.search.listings import StrategyCard

app = typer.Typer(
    name="raysel",
    help="Finds out which layers of a pretrained vision model to fine-tune, and how much.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

MOST_PROBLEMS = 40
"""At most this many user errors are printed, one a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a user's mistake, 1 for a
    failure from outside, each reported in one line; 130 when interrupted.

    Raises:
        SystemExit: it was terminated: 143 for SIGTERM, 129 for a terminal that was closed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with guarded_streams(), handling(_terminated, (signal.SIGTERM, signal.SIGHUP)):
        code = _main(given or ["--help"])
        if failure := output_failure():
            _error(f"standard output cannot be written: {failure.strerror}")
            return code or FAILED
    return code


def _terminated(sign: int, _: object) -> None:
    """End a verb and clean up after it; a sweep has its own signal handler."""
    cancel_abort()
    raise SystemExit(128 + sign)


def _main(arguments: list[str]) -> int:
    credentials.open_sealed()
    try:
        with as_exceptions():
            code = app(arguments, prog_name="raysel", standalone_mode=False)
    except UserError as error:
        for problem in error.problems[:MOST_PROBLEMS]:
            _error(str(problem))
        if (more := len(error.problems) - MOST_PROBLEMS) > 0:
            _error(f"and {more:,} more of this kind; fix these first")
        return BAD_INPUT
    except CodeExit as error:
        _error(str(error))
        return BAD_INPUT
    except OperationalError as error:
        _error(str(error))
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        # an unknown verb or option: click's own exception, which typer since 0.20 vendors
        if not hasattr(error, "format_message"):
            if (words := of_a_file(error)) is None:
                raise
            _error(words)
            return FAILED
        _error(" ".join(error.format_message().split()))
        return BAD_INPUT
    return code if isinstance(code, int) else 0


def _print_version(asked: bool) -> None:
    if asked:
        say(f"raysel {raysel.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Options before the verb."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path(
        "sweep.yaml"
    ),
) -> None:
    """Write a commented sweep file to start from."""
    text = files("raysel.spec").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise user_error(str(file), "is there already; give another name") from None
    except OSError as error:
        raise user_error(str(file), f"cannot be written: {error.strerror}") from None
    say(f"{file} written. Next: raysel validate {file}, then raysel run {file}")


@app.command()
def schema(
    results: Annotated[
        bool, typer.Option("--results", help="That of results.json, for scripts.")
    ] = False,
) -> None:
    """Print the JSON Schema of sweep files, for editors."""
    if results:
        from raysel.sweep.results import results_schema  # noqa: PLC0415

        return print_json(results_schema(), ascii_only=True)
    from raysel.search.json_schema import sweep_schema  # noqa: PLC0415

    return print_json(sweep_schema(), ascii_only=True)


@app.command("version")
def versions() -> None:
    """Print the versions of raysel and its dependencies."""
    for package in ("raysel", "torch", "timm", "ray", "optuna", "mlflow"):
        say(f"{package:8} {_version(package)}")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Any timm model.")],
    fine: Annotated[bool, typer.Option("--fine", help="timm's finer layers.")] = False,
    delimiter: Annotated[
        bool, typer.Option("--delimiter", help="Cut at every max-pooling, batch norm, activation.")
    ] = False,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Outputs of its head.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the layers of a model as strategies see them."""
    if fine and delimiter:
        raise user_error("--fine", "give it or --delimiter, not both")
    from raysel.search.listings import layer_table  # noqa: PLC0415

    found = layer_table(model, "fine" if fine else "delimiter" if delimiter else "coarse", classes)
    if as_json:
        return print_json(asdict(found))
    say(f"{model}: {len(found.layers)} layers, {found.parameters:,} parameters")
    rows = [
        (row.name, f"{row.parameters:,}", f"{row.share:.1%}", f"{row.tensor} {list(row.shape)}")
        for row in found.layers
    ]
    rows.append(("total", f"{found.parameters:,}", "100.0%", ""))
    print_table(("layer", "parameters", "share", "first tensor"), rows, numbers=(1, 2))
    for note in found.notes:
        say(f"note   {note}")
    return None


@app.command()
def strategies(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one.")] = None,
    code: Annotated[
        list[Path] | None,
        path_option("--code", "FILE", "A Python file with strategies of your own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the strategies, or show one with its parameters. In a sweep file one may stand several
    times, each entry under a name of its own: last_two: {strategy: suffix, layers: 2}."""
    from raysel.search import listings  # noqa: PLC0415
    from raysel.spec import user_code  # noqa: PLC0415

    own = user_code.load_from(code or ())
    if name is not None:
        card = listings.strategy_card(name)
        return print_json(asdict(card)) if as_json else _print_strategy(card)
    rows = listings.strategy_rows(source.module for source in own)
    if as_json:
        return print_json([asdict(row) for row in rows])
    shown = [cells for row in rows for cells in ((row.name, row.summary), ("", row.origin))]
    return print_table(("strategy", "what moves"), shown)


run_verbs.add_to(app)
validate_verb.add_to(app)
review_verbs.add_to(app)
report_verb.add_to(app)
trial_verbs.add_to(app)
predict_verb.add_to(app)
mistakes_verb.add_to(app)
doctor_verb.add_to(app)
plan_verb.add_to(app)
profile_verb.add_to(app)
range_verb.add_to(app)
cluster.add_to(app)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _print_strategy(card: StrategyCard) -> None:
    published = ", ".join(f"{name} {value}" for name, value in card.published.items())
    facts = {
        "": card.summary,
        "paper": card.paper,
        "needs": card.needs,
        **{f"cost, {when}": words for when, words in card.cost.items()},
        "batch norm": f"{card.batch_norm} (with training.batch_norm: published)",
        "published": published or "its training is not described",
        **({"differs": card.differs} if card.differs else {}),
    }
    print_table((card.name, ""), list(facts.items()))
    if card.parameters:
        say("")
        rows = [(p.name, p.type, p.default, p.range, p.search, p.help) for p in card.parameters]
        print_table(("parameter", "type", "default", "range", "search", ""), rows)


def _error(line: str) -> None:
    say_error(f"error  {line}")

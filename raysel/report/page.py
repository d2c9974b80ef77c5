"""`report/index.html`: one file that opens from a mail and without a network, in a light and a
dark theme.

Everything on it comes from `results.json`, and from what is beside it: `spec.yaml`, and the
confusion matrices of the confirm runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from raysel.common.errors import UserError
from raysel.common.text import lines, one_line, safe_tree
from raysel.common.user_files import own_folder
from raysel.record.layout import write_whole
from raysel.report import figures, palette, tables
from raysel.report.confusions import commonest_mistakes, measure_rows, read_confusions
from raysel.report.published_tables import Comparison, compare
from raysel.report.render import drawn
from raysel.report.tables import ConfirmRow, Results
from raysel.spec.reader import parse_resolved
from raysel.spec.sweep import FloatRange, IntRange, Spec, SplitSpec, objective_in_words
from raysel.sweep.verdict import BASELINE, NO_SPREAD
from raysel.tasks.data_summary import DataSummary

BADGES = {
    "better": ("good", "better than full fine-tuning"),
    "worse": ("bad", "full fine-tuning is better"),
    "not_proven": ("open", "not proven"),
    "winner_is_full": ("open", "full fine-tuning chosen"),
    "no_baseline": ("open", "no baseline"),
    "one_seed": ("open", "one seed: nothing proven"),
    "no_result": ("bad", "no result"),
}
"""Outcome of the verdict -> its tone and its two or three words on the page."""


def write_report(results: Results, folder: Path, mlflow_hint: str | None = None) -> Path:
    """Write the report of a sweep, complete or not.

    Args:
        results: the content of `results.json`.
        folder: the sweep's folder; a `spec.yaml` in it becomes part of the page, and so do the
            confusion matrices of its runs.
        mlflow_hint: how to see the sweep in MLflow: a command, or an address.

    Returns:
        `<folder>/report/index.html`. The figures are beside it as PNG in `figures/`; each
        file is there whole or not at all. A link in the place of either folder is replaced by a
        folder of the sweep's own.
    """
    own = own_folder(folder / "report")
    confusion = read_confusions(results, folder / "trials")
    results = safe_tree({**results, "confusion": confusion})
    pictures = drawn(figures.FIGURES, results, own / "figures")
    spec_file = folder / "spec.yaml"
    spec_text = spec_file.read_text(encoding="utf-8") if spec_file.is_file() else None
    index = own / "index.html"
    write_whole(index, page(results, pictures, spec_text, mlflow_hint))
    return index


def page(
    results: Results,
    drawn: Mapping[str, str],
    spec_text: str | None = None,
    mlflow_hint: str | None = None,
) -> str:
    """The page as text.

    Args:
        drawn: figures as SVG by their name in `figures.FIGURES`; what misses is left out.
    """
    confirm = tables.confirm_rows(results)
    verdict = results.get("verdict") or {}
    return (
        templates()
        .get_template("index.html.j2")
        .render(
            name=results["name"],
            description=results.get("description") or "",
            sweep_id=results.get("sweep_id") or "",
            complete=results.get("status") == "complete",
            sentence=verdict.get("sentence") or "There is no verdict yet: nothing was confirmed.",
            badge=badge(results),
            data=data_lines(results),
            metric=objective_in_words(results["objective"]["metric"]),
            confirm=confirm,
            bars=bars(confirm),
            search=tables.search_rows(results),
            trials=tables.trial_rows(results),
            notes=tables.transient_notes(results),
            styles=palette.styles(tables.strategies(results)),
            colours=palette.css(),
            figures={name: Markup(svg) for name, svg in drawn.items()},
            source=results.get("source"),
            one_seed=all(row.n <= 1 for row in confirm),
            some_pruned=_confirmed_pruned(results),
            tested_each_epoch=tested_each_epoch(results),
            spent=spent(results),
            planned=planned(results.get("spent") or {}),
            measures=measure_rows(results),
            mistakes=commonest_mistakes(results),
            published=published_comparisons(results, spec_text),
            asked=asked(spec_text),
            spec=spec_text,
            versions=results.get("versions") or {},
            mlflow=mlflow_hint,
            mlflow_is_address=bool(mlflow_hint and mlflow_hint.startswith(("http://", "https://"))),
        )
    )


def badge(results: Results) -> tuple[str, str]:
    """The verdict's tone and its few words. A choice by validation alone claims nothing: where
    full fine-tuning was chosen with one seed, or in a tie, that is what is said."""
    outcome = (results.get("verdict") or {}).get("outcome") or "no_result"
    rows = tables.confirm_rows(results)
    if outcome in ("winner_is_full", "one_seed") and len(rows) > 1:
        other = next((row for row in rows[1:] if row.strategy == BASELINE), rows[1])
        if rows[0].n == 1:
            tie = _alike(rows[0].mean, other.mean)
            return ("open", "a tie on one seed") if tie else BADGES["one_seed"]
        if _alike(rows[0].validation, rows[1].validation):
            return ("open", "a tie on validation data")
    return BADGES.get(outcome, BADGES["no_result"])


def _alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < NO_SPREAD


def data_lines(results: Results) -> list[tuple[str, str]]:
    """What was read, a heading and a line each; nothing of a sweep that an older raysel ran."""
    data = results.get("data")
    return DataSummary.from_dict(data).lines() if data else []


def templates() -> Environment:
    """The templates of this folder, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "number": number, "percent": tables.percent}
    environment.filters |= {"lines": several_lines}
    return environment


def shown(value: Any) -> Any:
    """What a template shows: text as one safe line, however long or hostile it came."""
    return one_line(value) if type(value) is str else value


def several_lines(text: str) -> Markup:
    """A text whose line breaks stay."""
    return Markup("\n").join(lines(text))


# --- what the template shows ------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One strategy's interval on the table's common scale, in percent of its width."""

    mean: float
    low: float | None
    high: float | None
    tests: tuple[float, ...]


@dataclass(frozen=True)
class Bars:
    """The intervals of the confirm table: strategy -> bar, and what the scale's ends mean."""

    left: float
    right: float
    of: Mapping[str, Bar]


def bars(rows: list[ConfirmRow]) -> Bars | None:
    """Place the intervals on one scale with a margin of a twentieth; None without any."""
    known = [row for row in rows if row.mean is not None]
    ends = [v for row in known for v in (row.mean, row.low, row.high, *row.tests) if v is not None]
    if not ends:
        return None
    margin = (max(ends) - min(ends)) / 20 or 0.01
    left, right = min(ends) - margin, max(ends) + margin

    def place(value: float) -> float:
        return round(100 * (value - left) / (right - left), 2)

    placed = {
        row.strategy: Bar(
            place(row.mean),
            None if row.low is None else place(row.low),
            None if row.high is None else place(row.high),
            tuple(map(place, row.tests)),
        )
        for row in known
        if row.mean is not None
    }
    return Bars(left, right, placed)


def readable(spec_text: str | None) -> Spec | None:
    """The sweep file; None where there is none, or one of another version of raysel."""
    try:
        return parse_resolved(spec_text) if spec_text else None
    except UserError:
        return None


def published_comparisons(results: Results, spec_text: str | None) -> list[Comparison]:
    """The published tables of the sweep's data and model; none without a readable file."""
    spec = readable(spec_text)
    return compare(results, spec) if spec else []


def asked(spec_text: str | None) -> dict[str, str]:
    """What the sweep file asked for, in words by heading; empty without a readable file."""
    spec = readable(spec_text)
    if spec is None:
        return {}
    task, split, shift = spec.task, spec.task.split, spec.task.shift
    shifted = "" if shift.kind == "none" else f" under {shift.kind}, severity {shift.severity}"
    parts = split_in_words(split)
    tested = "best epoch by validation" if spec.confirm.epoch == "best" else "last epoch"
    return {
        "task": f"{task.name}{shifted}: {parts}, split seed {split.seed}",
        "model": f"{spec.model.name}, weights {spec.model.weights}",
        "search": f"{_trials(spec)} of {_epochs(spec)} by {spec.search.sampler}, "
        f"pruner {spec.pruner.kind}, seed {spec.search.seed}",
        "confirm": f"the best of each strategy with {_count(spec.confirm.seeds, 'seed')}, "
        f"tested at the {tested}",
    }


def _confirmed_pruned(results: Results) -> list[str]:
    """Confirmed strategies whose every trial was pruned."""
    pruned = {t["id"] for t in results.get("trials") or [] if t["status"] == "PRUNED"}
    return [str(e["strategy"]) for e in results.get("confirm") or [] if e.get("trial") in pruned]


def tested_each_epoch(results: Results) -> bool:
    """Whether the confirm runs measured the test set after every epoch too."""
    runs = (run for entry in results.get("confirm") or [] for run in entry.get("runs") or [])
    return any(run.get("test_curve") for run in runs)


def spent(results: Results) -> str:
    """`8 trials and 2 confirm runs, 30 epochs in all, 1 min 20 s`."""
    known = results.get("spent") or {}
    if not known:
        return "–"
    trials = _count(known.get("trials", len(results.get("trials") or [])), "trial")
    runs = f" and {_count(known['runs'], 'confirm run')}" if known.get("runs") else ""
    epochs = known.get("epochs", "–")
    return f"{trials}{runs}, {epochs} epochs in all, {seconds(known.get('seconds'))}"


def planned(spent: Mapping[str, Any]) -> str | None:
    """The estimate of `raysel plan`, and its error; None if no plan was made."""
    plan = spent.get("planned")
    if not plan:
        return None
    text = f"{number(plan.get('trials'), 0)} trials, {number(plan.get('epochs'), 0)} epochs"
    estimated, taken = tables.finite(plan.get("seconds")), tables.finite(spent.get("seconds"))
    if estimated is None:
        return text
    around = f"({seconds(plan.get('low'))} to {seconds(plan.get('high'))})"
    text = f"{text}, {seconds(estimated)} {around}"
    if not taken or not estimated:
        return text
    off = round(taken / estimated - 1, 2)
    if not off:
        return f"{text}; it took as long"
    return f"{text}; it took {abs(off):.0%} {'longer' if off > 0 else 'less'}"


def split_in_words(split: SplitSpec) -> str:
    """How many examples each part was asked to have."""
    if split.indices is not None:
        return f"the examples of {split.indices}"
    train = _size(split.train) if split.shots is None else f"{split.shots} a class"
    return f"{train} to train, {_size(split.validation)} to validate, {_size(split.test)} to test"


def _size(size: int | float | str | None) -> str:
    if size is None:
        return "the default"
    return f"{size:.4g} of the pool" if isinstance(size, float) else str(size)


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _trials(spec: Spec) -> str:
    if spec.search.sampler == "cross_validation":
        return "a trial for each single layer and training value"
    return _count(spec.search.num_trials, "trial")


def _epochs(spec: Spec) -> str:
    epochs = spec.training.epochs
    if isinstance(epochs, int):
        return _count(epochs, "epoch")
    low, high = (
        epochs.bounds
        if isinstance(epochs, IntRange | FloatRange)
        else (epochs.options[0], epochs.options[-1])
    )
    return f"{low} to {high} epochs"


def seconds(value: Any) -> str:
    """`0.4 s`, `3 min 05 s`, `2 h 10 min`; a dash for nothing."""
    total = tables.finite(value)
    if total is None:
        return "–"
    if total < 60:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def number(value: Any, digits: int = 3) -> str:
    """A number with a fixed count of decimals; a dash for nothing."""
    known = tables.finite(value)
    return "–" if known is None else f"{known:.{digits}f}"

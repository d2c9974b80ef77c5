"""`report/index.html`: one file that opens from a mail and without a network, in a light and a
dark theme.

Everything on it comes from the sweep's results, and from what lies beside them: `spec.yaml`, and
the confusion matrices of the confirm runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from raysel.common.errors import UserError
from raysel.common.text import count_of, lines, one_line, safe_tree
from raysel.common.user_files import own_folder
from raysel.record.layout import SweepFolder, write_whole
from raysel.record.state import PRUNED
from raysel.report import drawing, earlier_sweeps, figures, pareto, search_front, tables
from raysel.report.confusions import (
    WithConfusions,
    commonest_mistakes,
    measure_rows,
    read_confusions,
)
from raysel.report.drawing import drawn
from raysel.report.group_errors import group_table
from raysel.report.mistakes import Mistakes
from raysel.report.older_results import missing_parts
from raysel.report.published_tables import Comparison, compare
from raysel.report.sweep_tables import sweep_tables
from raysel.report.table_files import write_figures, write_tables
from raysel.report.words import in_points, mebibytes, number, p_value, seconds, size_in_points
from raysel.report.wrong_pictures import (
    Group,
    damaged_answers,
    kept_mistakes,
    write_predictions,
    wrong_pictures,
)
from raysel.spec.reader import parse_resolved
from raysel.spec.sweep import FloatRange, IntRange, Spec, SplitSpec, objective_in_words
from raysel.sweep.results import SourceFacts, Spent, SweepResults
from raysel.sweep.verdict import NO_SPREAD
from raysel.sweep.verdict_words import measure_in_words
from raysel.tasks.data_summary import DataSummary

_R = TypeVar("_R", bound=SweepResults)

BADGES = {
    "better": ("good", "better than full fine-tuning"),
    "worse": ("bad", "full fine-tuning is better"),
    "no_relevant_difference": ("open", "no relevant difference"),
    "not_shown": ("open", "not shown"),
    "unequal_effort": ("open", "unequal effort: no comparison"),
    "one_split": ("open", "one split: nothing shown"),
    "one_run": ("open", "one run: nothing shown"),
    "no_runs": ("open", "no comparison"),
    "not_proven": ("open", "not proven"),
    "winner_is_full": ("open", "full fine-tuning chosen"),
    "no_baseline": ("open", "no baseline"),
    "one_seed": ("open", "one seed: nothing proven"),
    "no_result": ("bad", "no result"),
}
"""Outcome of the verdict -> its tone and its two or three words on the page."""


def write_report(
    results: SweepResults,
    folder: Path,
    in_mlflow: Sequence[str] = (),
    found: Mistakes | None = None,
) -> Path:
    """Write the report of a sweep, complete or not.

    Args:
        folder: the sweep's folder; a `spec.yaml` in it becomes part of the page, and so do the
            confusion matrices of its runs.
        in_mlflow: how to see the sweep in MLflow: a command, an address, or one after the other.
        found: the winner's mistakes, where they have been looked for already.

    Returns:
        `<folder>/report/index.html`. The figures are beside it as PNG in `figures/`, what the
        exported model says of the test part as `predictions.csv`; each
        file is there whole or not at all. A link in the place of either folder is replaced by a
        folder of the sweep's own.
    """
    own = own_folder(folder / "report")
    shown = _with_confusions(results, folder)
    pictures = drawn(figures.FIGURES, shown, own / "figures")
    index = own / "index.html"
    text = _spec_text(folder)
    found = found or kept_mistakes(shown, folder, readable(text))
    is_answered = found is not None and bool(found.model)
    is_damaged = not is_answered and damaged_answers(shown, SweepFolder(folder)) is not None
    write_predictions(found, own / "predictions.csv", is_damaged)
    write_whole(index, page(shown, pictures, text, in_mlflow, wrong_pictures(found)))
    return index


def write_report_tables(results: SweepResults, folder: Path, to: Path) -> list[Path]:
    """Every table of the page as CSV and LaTeX, every figure as PDF and PNG (in `figures/`).

    Args:
        folder: the sweep's.
        to: where they go.
    """
    shown = _with_confusions(results, folder)
    found = sweep_tables(shown, readable(_spec_text(folder)))
    return write_tables(found, shown.name, to) + write_figures(
        figures.FIGURES, shown, to / "figures"
    )


def _with_confusions(results: SweepResults, folder: Path) -> WithConfusions:
    confusion = read_confusions(results, folder / "trials")
    return safe(WithConfusions(**{**dict(results), "confusion": confusion}))


def _spec_text(folder: Path) -> str | None:
    file = folder / "spec.yaml"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def safe(results: _R) -> _R:
    """The results with every text as one safe line, however long or hostile it came."""
    return type(results).model_validate(safe_tree(results.to_dict()))


def page(
    results: WithConfusions,
    drawn: Mapping[str, str],
    spec_text: str | None = None,
    in_mlflow: Sequence[str] = (),
    wrong: Sequence[Group] = (),
) -> str:
    """The page as text.

    Args:
        wrong: pictures that are taken for another class.
        drawn: figures as SVG by their name in `figures.FIGURES`; what misses is left out.
    """
    confirm = tables.confirm_rows(results)
    return (
        templates()
        .get_template("index.html.j2")
        .render(
            name=results.name,
            description=results.description,
            sweep_id=results.sweep_id,
            complete=results.complete,
            sentence=results.verdict.sentence or "There is no verdict yet: nothing was confirmed.",
            badge=badge(results),
            missing_parts=missing_parts(results),
            data=data_lines(results),
            metric=objective_in_words(results.objective.metric),
            measure=measure_in_words(results.verdict.measure),
            confirm=confirm,
            cost=pareto.cost_rows(results),
            cost_title=pareto.TITLE,
            not_measured=pareto.not_measured(results),
            front=search_front.front_rows(results),
            front_title=search_front.TITLE,
            front_heads=search_front.heads(results),
            search=tables.search_rows(results),
            trials=sorted(results.trials, key=lambda trial: trial.number),
            notes=tables.transient_notes(results),
            styles=drawing.styles(tables.strategies(results), results.verdict.baseline),
            colours=drawing.css(),
            figures={name: Markup(svg) for name, svg in drawn.items()},
            sources=_sources(results),
            one_seed=all(row.n <= 1 for row in confirm),
            verdict=results.verdict,
            effort=results.effort,
            effort_remarks=tables.effort_remarks,
            earlier=earlier_sweeps.earlier_lines(results),
            improvement=results.improvement,
            others=tables.other_rows(results),
            some_pruned=_confirmed_pruned(results),
            tested_each_epoch=tested_each_epoch(results),
            spent=spent(results.spent),
            planned=planned(results.spent),
            stored=stored(results.spent),
            measures=measure_rows(results),
            groups=group_table(results),
            mistakes=commonest_mistakes(results),
            wrong=wrong,
            published=published_comparisons(results, spec_text),
            asked=asked(spec_text),
            spec=spec_text,
            versions=results.versions,
            mlflow=[(line, line.startswith(("http://", "https://"))) for line in in_mlflow],
        )
    )


def badge(results: SweepResults) -> tuple[str, str]:
    """The verdict's tone and its few words. A choice by validation alone claims nothing: where
    full fine-tuning was chosen with one seed, or in a tie, that is what is said."""
    outcome = results.verdict.outcome
    rows = tables.confirm_rows(results)
    if outcome in ("winner_is_full", "one_seed") and len(rows) > 1:
        other = next((row for row in rows[1:] if row.strategy == results.verdict.baseline), rows[1])
        if rows[0].n == 1:
            tie = _alike(rows[0].mean, other.mean)
            return ("open", "a tie on one seed") if tie else BADGES["one_seed"]
        if _alike(rows[0].validation, rows[1].validation):
            return ("open", "a tie on validation data")
    against = results.verdict.against
    if outcome in ("better", "worse") and against not in (None, results.verdict.baseline):
        tone = BADGES[outcome][0]
        better = "better" if outcome == "better" else "worse"
        return (tone, f"{better} than {against}")
    return BADGES.get(outcome, BADGES["no_result"])


def _alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < NO_SPREAD


def data_lines(results: SweepResults) -> list[tuple[str, str]]:
    """What was read, a heading and a line each; nothing of a sweep that an older raysel ran."""
    data = results.data
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
    environment.filters |= {"points": in_points, "size_in_points": size_in_points}
    environment.filters |= {"p_value": p_value, "mebibytes": mebibytes}
    environment.filters |= {"forgetting": pareto.forgetting_in_words}
    environment.filters |= {"source": pareto.source_in_words, "test_error": pareto.error_in_words}
    environment.filters |= {
        "count_of": count_of,
        "lines": several_lines,
        "values": tables.values_in_words,
    }
    return environment


def shown(value: Any) -> Any:
    """What a template shows: text as one safe line, however long or hostile it came."""
    return one_line(value) if type(value) is str else value


def several_lines(text: str) -> Markup:
    """A text whose line breaks stay."""
    return Markup("\n").join(lines(text))


# --- what the template shows ------------------------------------------------------------------


def readable(spec_text: str | None) -> Spec | None:
    """The sweep file; None where there is none, or one of another version of raysel."""
    try:
        return parse_resolved(spec_text) if spec_text else None
    except UserError:
        return None


def published_comparisons(results: SweepResults, spec_text: str | None) -> list[Comparison]:
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
        "model": f"{spec.model.name}, weights {spec.model.weights}"
        + (f", {spec.model.adapter}" if spec.model.adapter else ""),
        "search": f"{_trials(spec)} of {_epochs(spec)} by {spec.search.sampler}, "
        f"pruner {spec.pruner.kind}, seed {spec.search.seed}",
        "confirm": f"{spec.confirm.chosen_in_words} on {count_of(spec.confirm.splits, 'split')}"
        f" with {count_of(spec.confirm.seeds, 'seed')}, "
        f"tested at the {tested}",
    }


def _sources(results: SweepResults) -> dict[str, SourceFacts]:
    """The source models, by what follows these words: nothing, or of several models the name."""
    if results.source is not None:
        return {"": results.source}
    return {f" {name}": facts for name, facts in results.source_by_model.items()}


def _confirmed_pruned(results: SweepResults) -> list[str]:
    """Confirmed strategies whose every trial was pruned."""
    pruned = {trial.id for trial in results.trials if trial.status == PRUNED}
    return [entry.strategy for entry in results.confirm if entry.trial in pruned]


def tested_each_epoch(results: SweepResults) -> bool:
    """Whether the confirm runs measured the test set after every epoch too."""
    return any(run.test_curve for entry in results.confirm for run in entry.runs)


def spent(known: Spent) -> str:
    """`8 trials and 2 confirm runs, 30 epochs in all, 1 min 20 s`."""
    if known.seconds is None:
        return "–"
    runs = f" and {count_of(known.runs, 'confirm run')}" if known.runs else ""
    trials = count_of(known.trials, "trial")
    return f"{trials}{runs}, {known.epochs} epochs in all, {seconds(known.seconds)}"


def stored(spent: Spent) -> str | None:
    """What was read of the frozen layers' stored output; None where no trial used it."""
    known = spent.features
    if known is None:
        return None
    count = "1 trial or run" if known.trials == 1 else f"{known.trials} trials and runs"
    return (
        f"{count} read their output for {known.examples:,} examples in place of computing"
        f" it; to compute it once and to check it took {seconds(known.seconds)}"
    )


def planned(spent: Spent) -> str | None:
    """The estimate of `raysel plan`, and its error; None if no plan was made."""
    plan = spent.planned
    if plan is None:
        return None
    text = f"{number(plan.trials, 0)} trials, {number(plan.epochs, 0)} epochs"
    if plan.seconds is None:
        return text
    around = f"({seconds(plan.low)} to {seconds(plan.high)})"
    text = f"{text}, {seconds(plan.seconds)} {around}"
    if not spent.seconds or not plan.seconds:
        return text
    off = round(spent.seconds / plan.seconds - 1, 2)
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


def _trials(spec: Spec) -> str:
    if spec.search.sampler == "cross_validation":
        return "a trial for each single layer and training value"
    most = "up to " if spec.search.sampler == "greedy" else ""
    return most + count_of(spec.search.num_trials, "trial")


def _epochs(spec: Spec) -> str:
    epochs = spec.training.epochs
    if isinstance(epochs, int):
        return count_of(epochs, "epoch")
    low, high = (
        epochs.bounds
        if isinstance(epochs, IntRange | FloatRange)
        else (epochs.options[0], epochs.options[-1])
    )
    return f"{low} to {high} epochs"

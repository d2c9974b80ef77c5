"""The sections of a model card that only a sweep can write: what the model was trained on, how it
was chosen, how good it is, and where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysel.common.text import and_more
from raysel.export.card import escaped, plain
from raysel.sweep.results import ConfirmedStrategy, ConfirmRun, SweepResults
from raysel.tasks.data_summary import DataSummary
from raysel.training.confusion import read_confusion

_WORST = 5

_LIMITS = """- It knows these classes alone, and names one of them whatever a picture shows.
- Its probabilities are those of softmax, which a network gives too high more often than not.
- The errors above are of pictures from the same data set. Pictures of another camera, place or time
  may be taken for another class more often: `raysel predict SWEEP FOLDER` counts it on folders
  with the classes' names."""


@dataclass(frozen=True)
class _ClassRow:
    """A class's test examples, how many were taken for another class, and for which most."""

    name: str
    examples: int
    wrong: int
    taken: str


def sections(results: SweepResults, arm: ConfirmedStrategy, run: ConfirmRun, folder: Path) -> str:
    """Markdown, from the results of a complete sweep.

    Args:
        arm: the strategy whose model it is.
        run: the confirm run whose weights the model has.
        folder: that run's, with its confusion matrix.
    """
    parts = {
        "Data": _data(results),
        "How it was chosen": _chosen(results, arm, run),
        "How good it is": _quality(results, arm, run, folder),
        "Limits": [_LIMITS],
    }
    return "".join(f"## {head}\n\n{_paragraphs(lines)}" for head, lines in parts.items() if lines)


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n\n" for line in lines)


def _data(results: SweepResults) -> list[str]:
    if results.data is None:
        return []
    try:
        lines = DataSummary.from_dict(results.data).lines()
    except ValueError:  # of another version
        return []
    return ["\n".join(f"- {escaped(f'{head}: {line}' if head else line)}" for head, line in lines)]


def _chosen(results: SweepResults, arm: ConfirmedStrategy, run: ConfirmRun) -> list[str]:
    names = and_more([f"`{row.strategy}`" for row in results.confirm], 12)
    searched = f"after {results.spent.trials:,} trials, " if results.spent.trials else ""
    ours = f"`{plain(arm.label or arm.strategy)}`"
    splits = len({one.split for one in arm.runs})
    again = f"trained again {len(arm.runs):,} times"
    again += f" on {splits:,} splits of the data" if splits > 1 else ""
    lines = [
        f"A sweep of raysel compared {names}; {searched}{ours} was {again}. This is the run"
        f" `{run.id}`, the one with the lowest `{results.objective.metric}` of them."
    ]
    if results.verdict.sentence:
        lines.append(escaped(results.verdict.sentence))
    moved = [name for name, share in arm.moved.items() if share > 0]
    layers = results.layers_of(arm.strategy)
    if moved and len(moved) < len(layers):
        named = and_more([f"`{name}`" for name in moved], 12)
        lines.append(f"Layers that moved: {named}, of {len(layers):,}.")
    return lines


def _quality(
    results: SweepResults, arm: ConfirmedStrategy, run: ConfirmRun, folder: Path
) -> list[str]:
    lines = []
    mean = arm.test_error
    if run.test_error is not None:
        words = f"Test error of this model: **{run.test_error:.3f}**."
        if mean.mean is not None and mean.low is not None and mean.high is not None:
            low, high = max(mean.low, 0.0), min(mean.high, 1.0)  # few runs: Student's t leaves 0..1
            words += (
                f" Of all {mean.n:,} runs of its strategy: {mean.mean:.3f} (95 % interval"
                f" {low:.3f} to {high:.3f})."
            )
        lines.append(words)
    if results.untouched:
        before = sum(results.untouched) / len(results.untouched)
        lines.append(f"Before it was tuned the model had {before:.3f}.")
    worst = _worst_classes(folder)
    if worst:
        lines.append(_table(worst))
    return lines


def _worst_classes(folder: Path) -> list[_ClassRow]:
    """The classes with the highest test error, the worst first."""
    read = read_confusion(folder)
    if read is None:
        return []
    classes, matrix = read
    rows = []
    for index, (name, counts) in enumerate(zip(classes, matrix, strict=False)):
        others = [(count, -place) for place, count in enumerate(counts) if place != index]
        wrong = sum(count for count, _ in others)
        if wrong:
            rows.append(_ClassRow(name, sum(counts), wrong, classes[-max(others)[1]]))
    return sorted(rows, key=lambda row: -row.wrong / row.examples)[:_WORST]


def _table(rows: Sequence[_ClassRow]) -> str:
    lines = [
        "Its worst classes on the test part:",
        "",
        "| class | test pictures | error | most often taken for |",
        "|---|---|---|---|",
    ]
    for row in rows:
        name, taken = escaped(row.name), escaped(row.taken)
        lines.append(f"| {name} | {row.examples:,} | {row.wrong / row.examples:.3f} | {taken} |")
    return "\n".join(lines)

"""Fold the record's events into `results.json`, the machine-readable results.

Tables, figures and the report are drawn from it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raysel.models.layers import Layer, Partition
from raysel.record.state import TrialState
from raysel.search.space import Space
from raysel.spec.sweep import ObjectiveSpec, Spec, objective_sign
from raysel.strategies import registered
from raysel.strategies.rates import LayerRates
from raysel.sweep.confirm import leaders
from raysel.sweep.importance import importance
from raysel.sweep.search_controller import best
from raysel.sweep.verdict import interval, verdict
from raysel.tasks.data_summary import DataSummary
from raysel.training.trial import TEST_CURVE


def results(
    spec: Spec,
    sweep_id: str,
    partition: Partition,
    trials: Sequence[TrialState],
    source: Mapping[str, Any] | None,
    spent: Mapping[str, Any],
    versions: Mapping[str, str],
    complete: bool,
    data: DataSummary | None = None,
) -> dict[str, Any]:
    """The outcome of a sweep.

    Args:
        trials: every trial of both phases.
        source: the source model's `validation_accuracy` and `seconds`, if there is one.
        spent: `seconds` of the wall clock; `planned`, the estimate of `raysel plan`, or None.
        complete: whether both phases ran to their end.
        data: what was read.
    """
    search = sorted((t for t in trials if t.phase == "search"), key=lambda t: t.number)
    runs = [t for t in trials if t.phase == "confirm" and t.status == "COMPLETE"]
    runs = _of_one_configuration(runs, leaders(search, spec.objective))
    rows = confirm_rows(spec, search, runs, partition)
    objective = spec.objective.model_dump()
    return {
        "name": spec.name,
        "description": spec.description,
        "sweep_id": sweep_id,
        "status": "complete" if complete else "interrupted",
        "data": data and data.to_dict(),
        "objective": objective,
        "layers": list(partition.names),
        "layer_sizes": [layer.size for layer in partition.layers],
        "source": source,
        "trials": [trial_row(t, spec.objective) for t in search],
        "confirm": rows,
        "verdict": verdict(rows, objective),
        "importance": importance(spec, Space(spec, partition.names), search),
        "spent": {
            **spent,
            "trials": len(search),
            "runs": sum(t.phase == "confirm" for t in trials),
            "epochs": sum(len(t.epochs) for t in trials),
        },
        "versions": dict(versions),
    }


def _of_one_configuration(
    runs: Sequence[TrialState], chosen: Sequence[TrialState]
) -> list[TrialState]:
    """Of each strategy the runs of its finalist; a search that was extended may have found
    another one than was confirmed before. Where that has no run yet, the earlier one's."""
    wanted = {run.strategy: _unseeded(run) for run in runs}
    confirmed = [_unseeded(run) for run in runs]
    wanted |= {t.strategy: _unseeded(t) for t in chosen if _unseeded(t) in confirmed}
    return [run for run in runs if _unseeded(run) == wanted[run.strategy]]


def _unseeded(trial: TrialState) -> dict[str, Any]:
    return {**trial.config, "seed": None}


def trial_row(trial: TrialState, objective: ObjectiveSpec) -> dict[str, Any]:
    """One trial of the search."""
    measured = ((row["epoch"], row.get(objective.metric)) for row in trial.epochs)
    values = {int(e): v for e, v in measured if e is not None and v is not None}
    return {
        "id": trial.id,
        "number": trial.number,
        "strategy": trial.strategy,
        "label": trial.label,
        "status": trial.status,
        "cause": trial.cause,
        "config": dict(trial.config),
        "searched": dict(trial.searched),
        "value": trial.value,
        "best_epoch": best(values, objective)[0] if values else None,
        "seconds": _seconds(trial),
        "epochs": [dict(row) for row in trial.epochs],
    }


def confirm_rows(
    spec: Spec, search: Sequence[TrialState], runs: Iterable[TrialState], partition: Partition
) -> list[dict[str, Any]]:
    """One row a confirmed strategy, in the order of the objective."""
    by_strategy: dict[str, list[TrialState]] = {}
    for run in sorted(runs, key=lambda t: t.number):
        by_strategy.setdefault(run.strategy, []).append(run)
    candidates = [*leaders(search, spec.objective), *search]  # a leader may be a replicate
    rows = [
        _confirm_row(strategy, _origin(candidates, own[0]), own, partition, spec.objective)
        for strategy, own in by_strategy.items()
    ]
    sign = objective_sign(spec.objective.mode)
    return sorted(rows, key=lambda row: sign * row["validation"])


def _confirm_row(
    strategy: str,
    origin: TrialState | None,
    runs: Sequence[TrialState],
    partition: Partition,
    objective: ObjectiveSpec,
) -> dict[str, Any]:
    rows = [_run_row(run, partition, objective) for run in runs]
    mean, low, high = interval([row["test/error"] for row in rows])
    return {
        "strategy": strategy,
        "trial": origin.id if origin else None,
        "label": runs[0].label,
        "runs": rows,
        "validation": _mean(row[objective.metric] for row in rows),
        "validation_error": _mean(row["val/error"] for row in rows),
        "test_error": {"mean": mean, "low": low, "high": high, "n": len(rows)},
        "moved": {name: _mean(row["moved"][name] for row in rows) for name in partition.names},
        "moved_is": "weight" if _weighs_rates(strategy) else "share of steps",
        "updated_share": _mean(row["updated_share"] for row in rows),
        "seconds": _mean(row["seconds"] for row in rows),
    }


def _weighs_rates(strategy: str) -> bool:
    """Whether `moved` is the mean weight of a layer's learning rate, not a share of steps."""
    kind = registered().get(strategy)
    return kind is not None and issubclass(kind, LayerRates)


def _run_row(run: TrialState, partition: Partition, objective: ObjectiveSpec) -> dict[str, Any]:
    chosen = int(_known(run.end_metrics, "confirm/epoch"))
    at_chosen = next(row for row in run.epochs if row["epoch"] == chosen)
    curve = [_test_row(row) for row in run.epochs if f"{TEST_CURVE}/error" in row]
    summary = {
        "id": run.id,
        "seed": run.config["seed"],
        "epoch": chosen,
        objective.metric: _known(at_chosen, objective.metric),
        "val/error": _known(at_chosen, "val/error"),
        "val/loss": _known(at_chosen, "val/loss"),
        "test/error": _known(run.end_metrics, "test/error"),
        "test/loss": _known(run.end_metrics, "test/loss"),
        "test/balanced_error": run.end_metrics.get("test/balanced_error"),
        "test/top5_error": run.end_metrics.get("test/top5_error"),
        "seconds": _seconds(run),
        "moved": {
            layer.name: _mean(_moved(row, layer) for row in run.epochs)
            for layer in partition.layers
        },
        "updated_share": _known(run.end_metrics, "confirm/updated_share"),
    }
    return summary | ({"test_curve": curve} if curve else {})


def _test_row(row: Mapping[str, float | None]) -> dict[str, Any]:
    """An epoch of a test curve."""
    summary = {name: row.get(f"{TEST_CURVE}/{name}") for name in ("error", "loss")}
    return {"epoch": row["epoch"], **summary}


def _moved(row: Mapping[str, float | None], layer: Layer) -> float:
    """How much a layer moved in an epoch; of a strategy that works tensor by tensor the mean
    over the layer's tensors, by size."""
    whole = row.get(f"select/{layer.name}")
    if whole is not None:
        return whole
    tensors = zip(layer.parameters, layer.sizes, strict=True)
    return sum((row.get(f"select/{name}") or 0.0) * size for name, size in tensors) / layer.size


def _origin(search: Sequence[TrialState], run: TrialState) -> TrialState | None:
    """The trial of the search whose configuration the run repeats with another seed."""
    return next((t for t in search if _unseeded(t) == _unseeded(run)), None)


def _seconds(trial: TrialState) -> float:
    return float(sum(row.get("cost/seconds") or 0.0 for row in trial.epochs))


def _known(metrics: Mapping[str, float | None], name: str) -> float:
    """A metric that a completed run must have.

    Raises:
        ValueError: it is missing or was not finite.
    """
    value = metrics.get(name)
    if value is None:
        raise ValueError(f"the run has no {name}")
    return value


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)

"""A sweep's time, hours, disk and price, by arithmetic from what was counted and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raysel.service.plan.timing import Timing
from raysel.service.plan.workload import StrategyWorkload
from raysel.tasks.data_summary import DataSummary
from raysel.training.step_memory import StepMemory

REPORT_SECONDS = 0.03
"""Of an epoch between worker and driver: Tune, the record, the study. From the 165 epochs of the
search-phase benchmark on 2 cores."""

BEGIN_SECONDS, END_SECONDS = 14.0, 8.0
"""Before the first work and after the last: imports, the record's and MLflow's tables; the report,
the best model, the rest for MLflow. What is left of a sweep of a few seconds on 2 cores without
its training, Ray's start and its workers'."""

RECORD_BYTES = 6_000
"""Of an epoch in the record, its copy and MLflow's database."""

HOUR = 3600.0


@dataclass(frozen=True)
class Costs:
    """Resources and limits of the sweep.

    Attributes:
        concurrent: trials at a time.
        cpus, gpus: of one trial.
        kept: the share of the search's epochs that the pruner lets run.
        start: seconds until a worker runs its first line.
        ray: seconds until Ray runs.
        tests: examples of the test part.
        budget: seconds after which the sweep ends in order; None: when it is done.
        price: of a GPU hour; None where nobody asked.
    """

    concurrent: int
    cpus: int
    gpus: float
    kept: float
    start: float = 0.0
    ray: float = 0.0
    tests: int = 0
    budget: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class StrategyPlan:
    """Estimate for one strategy; the timing is None if nothing could be measured."""

    workload: StrategyWorkload
    timing: Timing | None
    memory: StepMemory | None


@dataclass(frozen=True)
class Duration:
    """Seconds of the wall clock by phase; low and high are bounds of the whole.

    Attributes:
        low: the pruner ends as many as estimated, the sampler spends every free trial on the
            quickest strategy; sets of layers have one layer.
        high: the pruner ends none, the sampler spends every free trial on the slowest; sets of
            layers grow as long as the trials last.
    """

    overhead: float
    source: float
    search: float
    confirm: float
    total: float
    low: float
    high: float


def duration(plans: Sequence[StrategyPlan], source: float, costs: Costs) -> Duration | None:
    """How long the sweep takes; None where a strategy was not measured.

    Args:
        source: seconds of the source model's training; 0 where it is kept.
    """
    if any(plan.timing is None for plan in plans):
        return None
    confirm = _phase([_confirm(plan, costs) for plan in plans], _runs(plans), plans, costs)
    overhead = BEGIN_SECONDS + costs.ray + END_SECONDS
    source += costs.start if source else 0.0

    def whole(kept: float, trials: Mapping[str, float]) -> tuple[float, float]:
        work = [trials[p.workload.strategy] * _trial(p, kept) + _range(p) for p in plans]
        search = _phase(work, sum(trials.values()), plans, costs)
        return search, overhead + source + search + confirm

    searched = [plan for plan in plans if plan.workload.trials] or plans
    expected = {plan.workload.strategy: plan.workload.trials for plan in plans}
    search, total = whole(costs.kept, expected)
    if any(plan.workload.fewest is not None for plan in plans):
        fewest = {p.workload.strategy: p.workload.fewest or p.workload.trials for p in plans}
        low, high = whole(costs.kept, fewest)[1], whole(1.0, expected)[1]
    else:
        low = whole(costs.kept, _all_to(min(searched, key=_trial), plans))[1]
        high = whole(1.0, _all_to(max(searched, key=_trial), plans))[1]
    bounds = [min(value, costs.budget or value) for value in (total, low, high)]
    return Duration(overhead, source, search, confirm, *bounds)


def worker_hours(plans: Sequence[StrategyPlan], source: float, costs: Costs) -> float:
    """Hours in which a worker of one trial's size is busy, all workers together."""
    search = sum(p.workload.trials * _trial(p, costs.kept) + _range(p) for p in plans)
    return (source + search + sum(_confirm(p, costs) for p in plans)) / HOUR


def _trial(plan: StrategyPlan, kept: float = 1.0) -> float:
    """Seconds of one trial of the search."""
    assert plan.timing is not None
    return plan.timing.start + kept * plan.workload.epochs * (plan.timing.epoch + REPORT_SECONDS)


def _range(plan: StrategyPlan) -> float:
    """Seconds of the range test before the search."""
    assert plan.timing is not None
    epochs = plan.workload.range_epochs
    return plan.timing.start + epochs * plan.timing.epoch if epochs else 0.0


def _confirm(plan: StrategyPlan, costs: Costs) -> float:
    """Seconds of all confirm runs of a strategy."""
    assert plan.timing is not None
    return plan.workload.confirm * (_trial(plan) + costs.tests * plan.timing.example)


def _phase(
    work: Sequence[float], count: float, plans: Sequence[StrategyPlan], costs: Costs
) -> float:
    """Seconds of a phase: its workers start, then share the work; the last ones wait for the
    longest trial."""
    if not count:
        return 0.0
    at_a_time = max(1.0, min(float(costs.concurrent), count))
    tail = max(map(_trial, plans)) / 2 * (1 - 1 / at_a_time)
    return costs.start + sum(work) / at_a_time + tail


def _runs(plans: Sequence[StrategyPlan]) -> float:
    return float(sum(plan.workload.confirm for plan in plans))


def _all_to(chosen: StrategyPlan, plans: Sequence[StrategyPlan]) -> dict[str, float]:
    """Every strategy is tried once as published, the rest goes to one."""
    total = sum(plan.workload.trials for plan in plans)
    trials = {plan.workload.strategy: min(1.0, plan.workload.trials) for plan in plans}
    trials[chosen.workload.strategy] += total - sum(trials.values())
    return trials


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk: at their most while the sweep runs.

    Attributes:
        checkpoints: of live trials in the search, of all runs in the confirm phase.
        traces: selection traces, a file an epoch.
        record: `sweep.db`, its copy, MLflow.
        models: the source model and the best one.
    """

    checkpoints: int
    traces: int
    record: int
    models: int

    @property
    def total(self) -> int:
        """All together."""
        return self.checkpoints + self.traces + self.record + self.models


def disk(plans: Sequence[StrategyPlan], costs: Costs, model: int) -> Disk:
    """What the sweep's folder takes.

    Args:
        model: bytes of the model's weights.
    """
    timed = [(p.workload, p.timing) for p in plans if p.timing is not None]
    live = costs.concurrent * max((t.checkpoint for _, t in timed), default=0)
    confirmed = sum(a.confirm * t.checkpoint for a, t in timed)
    epochs = {a.strategy: a.epochs_in_all(costs.kept) for a, _ in timed}
    return Disk(
        checkpoints=max(live, confirmed),
        traces=int(sum(epochs[a.strategy] * t.trace for a, t in timed)),
        record=int(RECORD_BYTES * sum(epochs.values())),
        models=2 * model,
    )


@dataclass(frozen=True)
class Plan:
    """The complete estimate of a sweep.

    Attributes:
        device: on what was measured; None where nothing could be, `why` then says why.
        trial_bytes: what the largest trial holds on its device, data and CUDA included.
        failures: why a strategy could not be measured.
        data: what was read.
        notes: notes about the data.
    """

    name: str
    costs: Costs
    strategies: tuple[StrategyPlan, ...]
    source: float
    duration: Duration | None
    disk: Disk
    trial_bytes: int | None
    device: str | None
    why: str
    failures: Mapping[str, str]
    data: DataSummary | None = None
    notes: tuple[str, ...] = ()

    @property
    def trials(self) -> float:
        """Of the search."""
        return sum(plan.workload.trials for plan in self.strategies)

    @property
    def range_tests(self) -> int:
        """Before the search."""
        return sum(plan.workload.range_epochs > 0 for plan in self.strategies)

    @property
    def is_bound(self) -> bool:
        """Whether the search may have fewer trials, as sets of layers stop to grow."""
        return any(plan.workload.is_bound for plan in self.strategies)

    @property
    def runs(self) -> int:
        """Of the confirm phase."""
        return int(_runs(self.strategies))

    @property
    def epochs(self) -> float:
        """In expectation, of all phases: range tests too, whose epochs are of steps alone."""
        return sum(plan.workload.epochs_in_all(self.costs.kept) for plan in self.strategies)

    @property
    def steps(self) -> float:
        """Optimizer steps, in expectation, of all phases."""
        workloads = [plan.workload for plan in self.strategies]
        return sum(a.steps * a.epochs_in_all(self.costs.kept) for a in workloads)

    @property
    def hours(self) -> float | None:
        """GPU hours where trials have GPUs, else CPU hours; None where nothing was measured."""
        if self.duration is None:
            return None
        size = self.costs.gpus or self.costs.cpus
        return size * worker_hours(self.strategies, self.source, self.costs)

    @property
    def cost(self) -> float | None:
        """The price of all GPU hours; None where it is not known, or trials have no GPU."""
        price, hours = self.costs.price, self.hours
        if price is None or hours is None or not self.costs.gpus:
            return None
        return price * hours

    def as_json(self) -> dict[str, Any]:
        """For a script, and to be kept."""
        return {
            "name": self.name,
            "data": self.data and asdict(self.data),
            "notes": list(self.notes),
            "range_tests": self.range_tests,
            "trials": self.trials,
            "confirm_runs": self.runs,
            "epochs": self.epochs,
            "steps": self.steps,
            "kept_by_pruner": self.costs.kept,
            "concurrent": self.costs.concurrent,
            "cpus": self.costs.cpus,
            "gpus": self.costs.gpus,
            "seconds": self.duration and asdict(self.duration),
            "hours": self.hours,
            "hours_of": "gpu" if self.costs.gpus else "cpu",
            "cost": self.cost,
            "price_per_gpu_hour": self.costs.price,
            "disk": {**asdict(self.disk), "total": self.disk.total},
            "trial_bytes": self.trial_bytes,
            "measured_on": self.device,
            "not_measured": self.why or None,
            "failures": dict(self.failures),
            "source_seconds": self.source,
            "strategies": [asdict(plan) for plan in self.strategies],
        }

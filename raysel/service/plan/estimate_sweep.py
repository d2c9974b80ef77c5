"""Make a plan: open the task, run one step without data and a few with data."""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import ray

from raysel.common.errors import FAILED, OperationalError
from raysel.engine.capacity import Node, of_task, too_large
from raysel.engine.capacity import concurrent as most_at_a_time
from raysel.engine.connect import connected, grows
from raysel.engine.ray_processes import leave, watching
from raysel.models.build import build
from raysel.record.layout import SweepFolder
from raysel.search.distributions import largest
from raysel.search.pruning_simulation import pruning_keep_fraction
from raysel.search.space import Space, settings_of
from raysel.search.trial_budget import space_notes
from raysel.service.plan.estimate import Costs, Plan, StrategyPlan, disk, duration
from raysel.service.plan.timing import SECONDS, Measured, Sample, Timing, measure
from raysel.service.plan.workload import StrategyWorkload, trained_on, workloads
from raysel.spec import user_code
from raysel.spec.sweep import Choice, Spec
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.sweep.inputs import SweepInputs, layers_of, read_inputs, source_training
from raysel.sweep.priors import notes_of
from raysel.tasks.data import Examples, Part, Task
from raysel.tasks.data_summary import DataSummary
from raysel.training.gpu_share import CONTEXT_BYTES
from raysel.training.source_model import read_source_model, source_file
from raysel.training.step_memory import Device, StepMemory, step_memory
from raysel.training.trial_worker import PhaseContext

SOURCE = "source"
_TOGETHER = 4
"""Workers that measure at a time, at most."""

_LEAST_SECONDS = 15.0
"""That the calibration of one sweep of a suite may take, where all of them share `SECONDS`."""

_PATIENCE = 600.0
"""Seconds until the calibration is given up: nodes may have to start first."""


def estimate_sweep(
    spec: Spec,
    code: tuple[user_code.Source, ...],
    gpus: int | None = None,
    price: float | None = None,
    opened: Callable[[DataSummary], None] | None = None,
) -> Plan:
    """The plan of a sweep.

    Args:
        code: the user's own files.
        gpus: number of GPUs to plan for; None takes those of the cluster.
        price: of a GPU hour.
        opened: called with what was read, before pictures are decoded.

    Raises:
        UserError: the data are missing.
    """
    (plan,) = estimate_sweeps([spec], code, gpus, price, opened)
    return plan


def estimate_sweeps(
    specs: Sequence[Spec],
    code: tuple[user_code.Source, ...],
    gpus: int | None = None,
    price: float | None = None,
    opened: Callable[[DataSummary], None] | None = None,
) -> Iterator[Plan]:
    """The plans of several sweeps on one Ray, in order. What is equal but for the data is measured
    once, and a source model that several begin with is counted for the first alone.

    Args, Raises:
        As `estimate_sweep`.
    """
    earlier = [notes_of(spec) for spec in specs]  # refused first
    first = read_inputs(specs[0], code, opened=opened)  # before Ray is started
    known: dict[str, _Calibrator] = {}
    trained: set[str] = set()
    seconds = max(_LEAST_SECONDS, SECONDS / len(specs))
    before = time.perf_counter()
    with connected() as nodes, watching(_leave):
        began = time.perf_counter() - before
        for number, spec in enumerate(specs):
            inputs = read_inputs(spec, code, opened=opened) if number else first
            task = inputs.task
            work = workloads(spec, inputs.space, len(task.train), len(task.classes))
            concurrent = _concurrent(spec, nodes, gpus)
            share = seconds / len(inputs.each)
            measured = [
                _known_or_measured(own, nodes, known, trained, share) for own in inputs.each
            ]
            calibrator = _together(measured)
            costs = Costs(
                concurrent=concurrent,
                cpus=spec.resources.cpus,
                gpus=spec.resources.gpus,
                kept=_kept(inputs, work, concurrent),
                start=calibrator.start,
                ray=began,
                tests=len(task.test),
                budget=spec.budget.total,
                price=price,
            )
            yield _plan(inputs, work, costs, calibrator, earlier[number])


def _leave(what: str) -> None:
    leave(OperationalError("ray", f"{what}; plan again"), FAILED)


def _plan(
    inputs: SweepInputs,
    work: Sequence[StrategyWorkload],
    costs: Costs,
    calibrator: _Calibrator,
    earlier: Sequence[str],
) -> Plan:
    memories = calibrator.memories
    plans = tuple(
        StrategyPlan(a, calibrator.timings.get(a.strategy), memories[a.strategy]) for a in work
    )
    epochs = inputs.spec.source.epochs
    source = sum(trained.start + epochs * trained.epoch for trained in calibrator.sources)
    return Plan(
        name=inputs.spec.name,
        costs=costs,
        strategies=plans,
        source=source,
        duration=duration(plans, source, costs),
        disk=disk(plans, costs, _model_bytes(memories)),
        trial_bytes=_largest(plans, inputs),
        device=calibrator.device,
        why=calibrator.why,
        failures=calibrator.failures,
        data=inputs.task.summary,
        notes=(*inputs.task.notes, *space_notes(inputs.spec.search, inputs.space), *earlier),
    )


def _concurrent(spec: Spec, nodes: Sequence[Node], gpus: int | None) -> int:
    if gpus is None or not spec.resources.gpus:
        return most_at_a_time(nodes, spec.resources, grows())
    fits = max(1, int(gpus / spec.resources.gpus + 1e-9))
    return min(fits, spec.resources.max_concurrent_trials or fits)


def _kept(inputs: SweepInputs, work: Sequence[StrategyWorkload], concurrent: int) -> float:
    trials = round(sum(workload.trials for workload in work))
    epochs = round(sum(a.search_epochs for a in work) / max(trials, 1))
    return pruning_keep_fraction(
        inputs.spec, inputs.space.strategies, trials, max(epochs, 1), concurrent
    )


# --- memory ---------------------------------------------------------------------------------


def _memory(inputs: SweepInputs, strategy: str) -> StepMemory | None:
    """Of the largest trial of a strategy; None where its model cannot be run without data."""
    config = configurations(inputs.spec, inputs.space, strategy)[0]
    size = largest(settings_of(inputs.spec, strategy)["batch_size"])
    training = config.training.model_copy(update={"batch_size": size})
    config = config.model_copy(update={"training": training})
    device: Device = "cuda" if inputs.spec.resources.gpus else "cpu"
    try:
        return step_memory(inputs.model_config, inputs.layers, config, device)
    except Exception:  # a model of the user's own may read numbers
        return None


def _model_bytes(memories: dict[str, StepMemory | None]) -> int:
    return max((m.parameters for m in memories.values() if m is not None), default=0)


def _largest(plans: Sequence[StrategyPlan], inputs: SweepInputs) -> int | None:
    """What the largest trial holds: measured on a GPU where there was one."""
    found = [
        plan.timing.memory
        if plan.timing is not None and plan.timing.memory is not None
        else plan.memory and plan.memory.peak
        for plan in plans
    ]
    known = [size for size in found if size]
    if not known:
        return None
    context = CONTEXT_BYTES if inputs.spec.resources.gpus else 0
    return max(known) + _data_bytes(inputs.task) + context


def _data_bytes(task: Task) -> int:
    """Arrays lie on the device as a whole; pictures come batch by batch."""
    parts: list[Part] = [task.train, task.validation]
    return sum(part.images.nbytes for part in parts if isinstance(part, Examples))


# --- time -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Calibrator:
    """Averages of the workers' measurements.

    Attributes:
        timings: by strategy, and of the source model.
        sources: of the source models that are still to be trained, one after the other.
        start: seconds until a worker ran its first line.
        device: None where nothing was measured, `why` then says why.
        memories: by strategy, of its largest trial.
    """

    timings: dict[str, Timing]
    start: float
    device: str | None
    why: str
    failures: dict[str, str]
    memories: dict[str, StepMemory | None] = field(default_factory=dict)
    sources: tuple[Timing, ...] = ()


def _together(calibrators: Sequence[_Calibrator]) -> _Calibrator:
    """What was measured of each model."""
    first = calibrators[0]
    return _Calibrator(
        timings={name: t for one in calibrators for name, t in one.timings.items()},
        start=max(one.start for one in calibrators),
        device=first.device,
        why=next((one.why for one in calibrators if one.why), ""),
        failures={name: why for one in calibrators for name, why in one.failures.items()},
        memories={name: m for one in calibrators for name, m in one.memories.items()},
        sources=tuple(timing for one in calibrators for timing in one.sources),
    )


def _known_or_measured(
    inputs: SweepInputs,
    nodes: Sequence[Node],
    known: dict[str, _Calibrator],
    trained: set[str],
    seconds: float,
) -> _Calibrator:
    """What was measured of a sweep that differs in its data alone, else measured now.

    Args:
        known: what was measured, by what it depends on.
        trained: source models that an earlier sweep of the suite trains.
        seconds: that measuring may take, about.
    """
    key, source = _measured_alike(inputs), _source_to_train(inputs)
    found = known.get(key)
    wanted = source is not None and source not in trained
    if found is None or (wanted and SOURCE not in found.timings):
        memories = {name: _memory(inputs, name) for name in inputs.space.arms}
        found = known[key] = replace(_measured(inputs, nodes, wanted, seconds), memories=memories)
    trained |= {source} if source else set()
    timing = found.timings.get(SOURCE) if wanted else None
    return replace(found, sources=() if timing is None else (timing,))


def _measured_alike(inputs: SweepInputs) -> str:
    """What the seconds of a step and an epoch depend on."""
    spec, task = inputs.spec, inputs.task
    parts = (task.train, task.validation, task.test, task.source_train, task.source_validation)
    sizes = [part and len(part) for part in parts]
    keys = {"model", "strategies", "training", "source", "trace", "resources", "search", "confirm"}
    settings = spec.model_dump(mode="json", include=keys)
    return json.dumps([asdict(inputs.model_config), sizes, settings], sort_keys=True)


def _measured(
    inputs: SweepInputs, nodes: Sequence[Node], with_source: bool, seconds: float
) -> _Calibrator:
    spec = inputs.spec
    if problems := too_large(nodes, spec.resources):
        why = "; ".join(map(str, problems))
        return _Calibrator({}, 0.0, None, f"{why}. Plan where such a node is", {})
    samples, shared, source = _samples(inputs, with_source)
    count = min(most_at_a_time(nodes, spec.resources), _TOGETHER)
    asked = time.time()
    task = ray.remote(**of_task(spec.resources), max_retries=0)(measure)
    references = ray.put(shared), ray.put(source)
    running = [task.remote(references[0], samples, references[1], seconds) for _ in range(count)]
    done, late = ray.wait(running, num_returns=count, timeout=_PATIENCE)
    for reference in late:
        ray.cancel(reference, force=True)
    if late:
        return _Calibrator({}, 0.0, None, f"no worker measured within {_PATIENCE:g} s", {})
    measured: list[Measured] = ray.get(done)
    timings = {}
    for name in dict.fromkeys(sample.name for sample in samples):
        own = [
            timing
            for one in measured
            for sample, timing in zip(samples, one.timings, strict=True)
            if sample.name == name and timing is not None
        ]
        if own:
            timings[name] = _average(own)
    failures = {name: why for one in measured for name, why in one.failures.items()}
    start = max(0.0, max(one.began for one in measured) - asked)  # by another clock, maybe
    return _Calibrator(timings, start, measured[0].device, "", failures)


def _average(timings: Sequence[Timing]) -> Timing:
    count = len(timings)
    memories = [timing.memory for timing in timings if timing.memory is not None]
    return Timing(
        epoch=math.fsum(t.epoch for t in timings) / count,
        start=math.fsum(t.start for t in timings) / count,
        example=math.fsum(t.example for t in timings) / count,
        checkpoint=max(t.checkpoint for t in timings),
        trace=sum(t.trace for t in timings) // count,
        memory=max(memories, default=None),
    )


def _samples(
    inputs: SweepInputs, with_source: bool
) -> tuple[list[Sample], PhaseContext, PhaseContext | None]:
    """The samples to measure, the slowest first, and the context of their trials."""
    spec, task = inputs.spec, inputs.task
    arrays = {n: t.numpy() for n, t in build(inputs.model_config.plain, 0).state_dict().items()}
    folder = SweepFolder.of(spec.storage, spec.name)
    shared = replace(inputs, weights=arrays).shared(folder.path)
    train, classes = len(task.train), len(task.classes)
    space = inputs.space
    ordered = sorted(space.arms, key=lambda name: space.registered[name] != "full")
    samples = [
        Sample(name, config, trained_on(spec, name, train, classes), len(task.validation))
        for name in ordered
        for config in configurations(spec, space, name)
    ]
    if not with_source:
        return samples, shared, None
    assert task.source_train is not None and task.source_validation is not None
    config = TrialConfig(strategy="full", parameters={}, training=spec.source.settings, seed=0)
    sizes = len(task.source_train), len(task.source_validation)
    source = replace(
        shared,
        model_config=inputs.model_config.plain,
        partition=layers_of(spec.without_adapter, task),
        train=task.source_train,
        validation=task.source_validation,
    )
    return [*samples, Sample(SOURCE, config, *sizes, on_source=True)], shared, source


def _source_to_train(inputs: SweepInputs) -> str | None:
    """Which source model is still to be trained, by its content; None if none is."""
    spec, task = inputs.spec, inputs.task
    if spec.model.weights != "source" or task.source_train is None:
        return None
    if spec.source.weights == "pretrained":
        # they are not fetched for an estimate
        return f"pretrained {spec.model_name} {spec.task.model_dump_json(exclude={'shift'})}"
    cache = SweepFolder.of(spec.storage, spec.name).source_cache
    file = source_file(task, inputs.model_config, source_training(inputs), cache)
    return None if read_source_model(file) is not None else file.stem


def configurations(spec: Spec, space: Space, strategy: str) -> list[TrialConfig]:
    """A strategy's published setting; where its layers are searched, with the first layer of the
    model and with the last one: the backward pass then is the longest and the shortest."""
    kind = registered()[space.registered[strategy]]
    layered = {p.name for p in kind.parameters if p.kind == "layers"}
    ends: list[dict[str, object]] = [{}]
    for value in space.searched.get(strategy, ()):
        if value.name in layered and isinstance(value.distribution, Choice):
            options = value.distribution.options
            ends = [{value.scoped: options[0]}, {value.scoped: options[-1]}]
    return [space.first_configuration(strategy, end) for end in ends]

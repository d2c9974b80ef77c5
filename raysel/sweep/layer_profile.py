"""`raysel profile`: what tuning each layer is worth, beside what each criterion says of it before.

The papers choose layers by a criterion and report how well the tuned model does. Whether the
criterion ranks the layers as their tuning does is another question, and this answers it: each
layer is tuned alone and each is left out, on several splits, at the learning rate that validation
chose for it on another one; the criteria are measured on the initial model; and each is
correlated with both measurements over the layers.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from raysel.common.errors import OperationalError, user_error
from raysel.common.locations import working_folder
from raysel.models.partition_types import Partition
from raysel.record.layout import write_json
from raysel.search.space import Space
from raysel.spec import user_code
from raysel.spec.sweep import Choice, FloatRange, Spec, TrainingOverride
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import local_trial
from raysel.sweep.inputs import tested
from raysel.sweep.layer_criteria import CRITERIA, criteria_of
from raysel.sweep.layer_runs import (
    FULL,
    HEAD,
    UNTOUCHED,
    LayerResult,
    layer_run,
    masks_of,
    results_of,
)
from raysel.sweep.statistics.differences import overlap_correction, paired_difference
from raysel.sweep.statistics.rank_correlation import RankCorrelation, rank_correlation
from raysel.tasks.data_summary import DataSummary
from raysel.training.trial_worker import PhaseContext, TrialWorker

RATES = 3
"""Learning rates of each mask, where the file has a range."""


@dataclass(frozen=True)
class Effect:
    """A difference of test error over the splits, in shares; the interval is of 95 %.

    Attributes:
        low, high: None where there is no spread.
        rate: the learning rate that was chosen.
    """

    mean: float
    low: float | None
    high: float | None
    rate: float


@dataclass(frozen=True)
class Profile:
    """What a profile found.

    Attributes:
        layers: those that were tuned, in forward order.
        baseline: what `gain` is measured from, `untouched` or `head`.
        errors: mean test error of the baseline and of `full`.
        gain: of each layer alone: how much test error falls from the baseline's.
        cost: of each layer left out: how much test error rises from full fine-tuning's.
        at_edge: what was tuned at the lowest or highest of several rates, beyond which a better one
            may lie.
        criteria: criterion -> the mean score of each layer over the splits.
        correlations: criterion -> with `gain` and with `cost`; None where nothing can be ranked.
    """

    name: str
    model: str
    layers: tuple[str, ...]
    baseline: str
    errors: Mapping[str, float]
    gain: Mapping[str, Effect]
    cost: Mapping[str, Effect]
    at_edge: tuple[str, ...]
    criteria: Mapping[str, tuple[float, ...]]
    correlations: Mapping[str, tuple[RankCorrelation | None, RankCorrelation | None]]
    splits: int
    rates: tuple[float, ...]
    seconds: float


def profile(
    spec: Spec,
    splits: int,
    processes: int,
    notify: local_trial.Notify,
    progress: Callable[[int, int], None],
    opened: Callable[[DataSummary], None] | None = None,
) -> tuple[Profile, Path]:
    """Measure a sweep file's model on its task.

    Args:
        spec: a sweep that `raysel.search.validate` accepts; of its strategies none is run.
        splits: training and validation parts that are drawn again.
        notify: called with a line for each long step before the first run.
        progress: called with the number of runs done and the total.

    Returns:
        The profile and its folder, with `profile.json` and the runs.

    Raises:
        UserError: the sweep has several models.
        OperationalError: the runs of a mask diverged at every rate, or a run failed.
    """
    if len(spec.model.names) > 1:
        one = f"--set model.name={spec.model.names[0]}"
        raise user_error("model.name", f"a profile is of one model; choose it: {one}")
    started = time.perf_counter()
    confirm = spec.confirm.model_copy(update={"splits": splits, "source_seeds": 1, "until": None})
    spec = spec.model_copy(update={"confirm": confirm})
    code = user_code.read(spec.listed_code, Path())
    inputs = local_trial.prepare_inputs(spec, code, notify, opened, confirm=True)
    like = _settings_of(spec, inputs.space)
    folder = working_folder(spec.storage) / f"{spec.name}.profile"
    context = replace(inputs.shared(folder), source=inputs.task.source_train)
    with tested(_own_folder(context, spec, code), inputs.task, spec) as shared:
        file = folder / "runs.jsonl"
        rates = rates_of(spec, inputs.space)
        overlap = overlap_correction(
            len(shared.draws[0].train), inputs.task.rest - len(shared.draws[0].train)
        )
        found = measured(shared, like, rates, splits, processes, file, progress, overlap)
    found = replace(
        found,
        name=spec.name,
        model=spec.model_name,
        seconds=time.perf_counter() - started,
    )
    write_json(folder / "profile.json", to_dict(found))
    return found, folder


def measured(
    shared: PhaseContext,
    like: TrialConfig,
    rates: Sequence[float],
    splits: int,
    processes: int,
    file: Path,
    progress: Callable[[int, int], None],
    overlap: float = 0.0,
) -> Profile:
    """The profile of a model that is there, with its data.

    Args:
        shared: with a draw for each split, and the test part.
        like: a configuration whose training settings and seed all runs share.
        file: where results are kept; see `results_of`.
        overlap: of the splits' training parts; see `overlap_correction`.
    """
    worker = TrialWorker(shared)
    masks = masks_of(shared.partition, worker.has_fresh_head)
    moving = [mask for mask in masks if mask.moves] if len(rates) > 1 else []
    total = len(moving) * len(rates) + len(masks) * splits
    progressed = partial(_progressed, progress, total)
    search = [layer_run(mask, like, rate, 0) for mask in moving for rate in rates]
    tried = results_of(shared, search, file, processes, partial(progressed, 0))
    rate_of = {mask.name: _best_rate(tried, mask.name, sorted(rates)) for mask in moving}
    runs = [
        layer_run(mask, like, rate_of.get(mask.name, rates[0]), split)
        for split in range(1, splits + 1)
        for mask in masks
    ]
    results = results_of(shared, runs, file, processes, partial(progressed, len(search)))
    chosen = {mask.name: [r for r in results if r.mask == mask.name] for mask in masks}
    ends = {min(rates), max(rates)}
    base = HEAD if worker.has_fresh_head else UNTOUCHED
    layers = tuple(name.removeprefix("alone/") for name in chosen if name.startswith("alone/"))
    scores = _scores(worker, like, splits, layers)
    gain = {n: _effect(chosen[base], chosen[f"alone/{n}"], overlap, n) for n in layers}
    cost = {n: _effect(chosen[f"without/{n}"], chosen[FULL], overlap, n) for n in layers}
    gains = np.array([_by_split(chosen[base], chosen[f"alone/{n}"]) for n in layers]).T
    costs = np.array([_by_split(chosen[f"without/{n}"], chosen[FULL]) for n in layers]).T
    return Profile(
        name="",
        model=shared.model_config.name,
        layers=layers,
        baseline=base,
        errors={n: float(np.mean([r.losses.mean() for r in chosen[n]])) for n in (base, FULL)},
        gain=gain,
        cost=cost,
        at_edge=tuple(name for name, rate in rate_of.items() if rate in ends),
        criteria={name: tuple(map(float, s.mean(axis=0))) for name, s in scores.items()},
        correlations={
            name: (rank_correlation(s, gains), rank_correlation(s, costs))
            for name, s in scores.items()
        },
        splits=splits,
        rates=tuple(rates),
        seconds=0.0,
    )


def rates_of(spec: Spec, space: Space) -> tuple[float, ...]:
    """The learning rates that every mask is trained at: the file's own, or of a range the middles
    of three equal parts of its logarithm."""
    own = spec.strategies.get(_arm(space))
    override = own.training if own is not None else None
    given = override.learning_rate if isinstance(override, TrainingOverride) else None
    given = spec.training.learning_rate if given is None else given
    if isinstance(given, FloatRange):
        low, high = (math.log(bound) for bound in given.bounds)
        parts = (low + (high - low) * (2 * i + 1) / (2 * RATES) for i in range(RATES))
        return tuple(float(f"{math.exp(part):.3g}") for part in parts)
    if isinstance(given, Choice):
        return tuple(float(option) for option in given.options)
    return (float(given),)


def to_dict(found: Profile) -> dict[str, Any]:
    """For `profile.json` and for scripts: shares, not points."""
    effects = {"gain_alone": found.gain, "cost_left_out": found.cost}
    kinds = ("gain_alone", "cost_left_out")
    return {
        "name": found.name,
        "model": found.model,
        "splits": found.splits,
        "learning_rates": list(found.rates),
        "baseline": found.baseline,
        "test_error": dict(found.errors),
        "at_edge": list(found.at_edge),
        "layers": [
            {
                "layer": name,
                **{kind: vars(effect[name]) for kind, effect in effects.items()},
                "criteria": {c: scores[place] for c, scores in found.criteria.items()},
            }
            for place, name in enumerate(found.layers)
        ],
        "correlations": {
            criterion: {k: r and vars(r) for k, r in zip(kinds, pair, strict=True)}
            for criterion, pair in found.correlations.items()
        },
        "seconds": found.seconds,
    }


def _arm(space: Space) -> str:
    """The arm that stands for full fine-tuning, else the first."""
    full = [arm for arm in space.arms if space.registered[arm] == FULL]
    return (full or list(space.arms))[0]


def _settings_of(spec: Spec, space: Space) -> TrialConfig:
    config = space.first_configuration(_arm(space))
    return TrialConfig(
        strategy=FULL, parameters={}, training=config.training, seed=spec.search.seed
    )


def _own_folder(shared: PhaseContext, spec: Spec, code: Sequence[user_code.Source]) -> PhaseContext:
    """The profile's folder; what a profile of another file or other weights left there goes.

    Raises:
        UserError: something else lies there.
    """
    text = spec.to_yaml() + "".join(source.text for source in code)
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(shared.weights.items()):
        digest.update(name.encode() + array.tobytes())
    mark = shared.folder / "of.txt"
    if not mark.is_file() and shared.folder.is_dir() and any(shared.folder.iterdir()):
        raise user_error("storage", f"{shared.folder} is no profile of raysel's; move it away")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != digest.hexdigest():
        shutil.rmtree(shared.folder, ignore_errors=True)
        shared.folder.mkdir(parents=True)
        mark.write_text(digest.hexdigest(), encoding="utf-8")
    return shared


def _progressed(progress: Callable[[int, int], None], total: int, before: int, done: int) -> None:
    progress(before + done, total)


def _best_rate(results: Sequence[LayerResult], mask: str, rates: Sequence[float]) -> float:
    """The rate with the lowest validation error; of equal ones that nearest to the middle.

    Raises:
        OperationalError: the mask's runs diverged at every rate.
    """
    errors = {r.rate: r.validation for r in results if r.mask == mask and r.validation is not None}
    if not errors:
        message = "diverged at every learning rate; give a lower training.learning_rate"
        raise OperationalError(mask, message)
    middle = (len(rates) - 1) / 2
    return min(errors, key=lambda rate: (errors[rate], abs(rates.index(rate) - middle)))


def _effect(
    worse: Sequence[LayerResult], better: Sequence[LayerResult], overlap: float, layer: str
) -> Effect:
    """How much more of the test examples the first are wrong about."""
    first, second = (np.stack([r.losses for r in results]) for results in (worse, better))
    difference = paired_difference(first, second, overlap)
    low, high = difference.interval() or (None, None)
    tuned = worse if worse[0].mask.endswith(f"/{layer}") else better
    return Effect(difference.mean, low, high, tuned[0].rate)


def _by_split(worse: Sequence[LayerResult], better: Sequence[LayerResult]) -> list[float]:
    pairs = zip(worse, better, strict=True)
    return [float(a.losses.mean() - b.losses.mean()) for a, b in pairs]


def _scores(
    worker: TrialWorker, like: TrialConfig, splits: int, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Criterion -> [splits, layers]."""
    partition: Partition = worker.shared.partition
    places = [partition.names.index(name) for name in layers]
    every = [
        criteria_of(worker, like.model_copy(update={"split": split + 1, "seed": like.seed + split}))
        for split in range(splits)
    ]
    known = [name for name in CRITERIA if all(name in one for one in every)]
    return {name: np.array([one[name] for one in every])[:, places] for name in known}

"""The confirm phase: the best configuration of each arm, or several ones, on several splits, the
test set read once a run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from raysel.engine.trial_source import Assignment
from raysel.record.event_log import EventLog
from raysel.record.events import Kind
from raysel.record.failure_kind import FailureKind, failed_end
from raysel.record.state import TrialState
from raysel.spec.confirm import Configurations
from raysel.spec.sweep import MOST_SPLITS, Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep import ranking
from raysel.sweep.ranking import leaders
from raysel.training.worker_messages import EpochMessage

RUN = "confirm-"
"""What the name of every run of the phase begins with; `confirm-<arm>-s<split>` where it is of the
arm's best configuration, `confirm-<arm>-<trial>-s<split>` where it is of a trial's."""

_FIRST_SEED = 1  # confirm's seeds follow the search's own, which chose on its data order


@dataclass(frozen=True)
class Finalist:
    """A configuration that is confirmed.

    Attributes:
        trial: of the search, whose configuration it is; empty where there was no search.
        best: whether it is the best of its arm.
    """

    trial: str
    config: TrialConfig
    searched: Mapping[str, Any]
    best: bool = True


def finalists(
    trials: Iterable[TrialState],
    metric: str,
    configurations: Configurations = "best",
    single: Mapping[str, TrialConfig] = MappingProxyType({}),
) -> list[Finalist]:
    """The configurations that are confirmed, by validation data: the best of each arm, then the
    others that are asked for, then those of arms without a search.

    Args:
        trials: the sweep's.
        single: arm -> its only configuration.
    """
    search = [trial for trial in trials if trial.phase == "search"]
    best = {trial.id for trial in leaders(search, metric).values()}
    return [
        Finalist(t.id, TrialConfig.model_validate(t.config), t.searched, t.id in best)
        for t in ranking.finalists(search, metric, configurations)
    ] + [Finalist("", config, {}) for config in single.values()]


def of_round(
    spec: Spec,
    single: Mapping[str, TrialConfig],
    trials: Iterable[TrialState],
    strategies: set[str] | None,
) -> list[Finalist]:
    """The finalists of a round of the confirm phase.

    Args:
        single: arm -> its only configuration.
        strategies: the arms whose question is open after earlier rounds: of them the best alone,
            which the verdict is about; None takes all, with all their configurations.
    """
    asked = spec.confirm.configurations
    chosen = finalists(trials, spec.objective.metric, asked, single)
    if strategies is None:
        return chosen
    return [f for f in chosen if f.best and f.config.arm in strategies]


def runs_of(
    spec: Spec,
    chosen: Sequence[Finalist],
    known: Iterable[TrialState] = (),
    splits: int | None = None,
) -> list[tuple[Finalist, Assignment]]:
    """Each finalist on each split with each training seed; the same for all, so that runs can be
    paired. Training seeds are new on every split, and the splits take the source models in turn.

    Args:
        known: the sweep's trials; where a search that was extended has found another finalist,
            its runs get names of their own.
        splits: of this round; those of the file where nothing is given.
    """
    confirm, count = spec.confirm, splits or spec.confirm.splits
    taken = {trial.id: TrialConfig.model_validate(dict(trial.config)) for trial in known}
    names = {config.model_dump_json(): name for name, config in taken.items() if is_run(name)}
    several = confirm.most_splits > 1

    def run(finalist: Finalist, split: int, seed: int) -> Assignment:
        # as they were, whatever number of splits or seeds is added
        number = split + seed * (MOST_SPLITS if several else 1)
        config = finalist.config.model_copy(
            update={
                "seed": spec.search.seed + _FIRST_SEED + number,
                "split": split + 1 if several else 0,
                "source_seed": split % confirm.source_seeds,
            }
        )
        place = f"s{split}.{seed}" if several and seed else f"s{split + seed}"
        return Assignment(named(finalist, config, place), config)

    def named(finalist: Finalist, config: TrialConfig, place: str) -> str:
        """The run's own name, if it is known; else one that no other configuration has."""
        if name := names.get(config.model_dump_json()):
            return name
        short = f"{RUN}{config.arm}-{place}"
        long = f"{RUN}{config.arm}-{finalist.trial}-{place}"
        free = [name for name in (short, long) if taken.get(name, config) == config]
        name = free[0] if finalist.best and free else long
        taken[name] = config
        return name

    places = itertools.product(range(count), range(confirm.seeds))
    return [(f, run(f, split, seed)) for split, seed in places for f in chosen]


def is_run(name: str) -> bool:
    """Whether a trial's name is that of a confirm run."""
    return name.startswith(RUN)


class ConfirmController:
    """Schedules the runs that have not ended yet; see `raysel.engine.trial_source.TrialSource`."""

    def __init__(
        self, runs: Sequence[tuple[Finalist, Assignment]], ended: Iterable[str], event_log: EventLog
    ) -> None:
        done = set(ended)
        self._waiting = [(f, run) for f, run in runs if run.trial not in done]
        self._numbers = {run.trial: number for number, (_, run) in enumerate(runs)}
        self._event_log = event_log
        self._live: dict[str, Assignment] = {}
        self._epochs: dict[str, int] = {}

    @property
    def left(self) -> int:
        """How many runs have not begun yet."""
        return len(self._waiting)

    def next_trial(self) -> Assignment | None:
        """The next run of the list."""
        if not self._waiting:
            return None
        finalist, run = self._waiting.pop(0)
        self._live[run.trial] = run
        number = self._numbers[run.trial]
        self._event_log.started(run.trial, number, "confirm", run.config, finalist.searched)
        return run

    def epoch(self, trial: str, message: EpochMessage) -> bool:
        """Record an epoch; the last one carries the test metrics and ends the run."""
        if trial not in self._live:
            return True  # it has ended, and Ray tried it again: its worker was lost at the end
        epoch, metrics = message.epoch, message.metrics
        final = {n: v for n, v in metrics.items() if n.startswith(("test/", "confirm/"))}
        curve = {n: v for n, v in metrics.items() if n not in final}
        self._event_log.epoch(trial, epoch, curve, message.incident)
        self._epochs[trial] = epoch
        if not final and epoch < self._live[trial].config.training.epochs:
            return False
        if broken := [name for name, value in final.items() if not math.isfinite(value)]:
            self.failed(trial, FailureKind.NOT_FINITE, f"{', '.join(broken)}: not finite")
            return True
        payload = {"status": "COMPLETE", "cause": None, "value": None, "metrics": final}
        self._event_log.write(trial, Kind.ENDED, epoch, payload)
        del self._live[trial]
        return True

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """Record a failure."""
        if self._live.pop(trial, None) is not None:
            end = failed_end(kind, cause)
            self._event_log.write(trial, Kind.ENDED, self._epochs.get(trial, 0), end)

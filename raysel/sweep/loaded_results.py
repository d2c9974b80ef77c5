"""`raysel.Results`: the outcome of a sweep as typed values and pandas data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from raysel.common.errors import OperationalError, nearest, user_error
from raysel.common.locations import name_of, storage_of
from raysel.common.paths import A_SWEEP
from raysel.mlflow_sync.trace_figure import read as read_trace
from raysel.sweep.results import SweepResults, Verdict
from raysel.sweep.views import read_results

COLUMNS = ("number", "id", "strategy", "label", "status", "cause", "value", "best_epoch", "seconds")
"""Of a trial of `results.json`, those that `Results.trials` has as they are."""


@dataclass(frozen=True)
class Best:
    """The winner's confirmed configuration.

    Attributes:
        strategy, label: what it is, in a word and in a few.
        trial: the id of the trial of the search that it repeats; None where that is not known.
        config: the trial's configuration; empty where it is not known.
        validation: the mean of what the sweep optimised, over the seeds.
        test_error: its mean over the seeds (0..1); `low` and `high` are the 95 % interval.
        seeds: how many.
        model: the folder of the model, for timm.create_model("local-dir:…", pretrained=True);
            None where there is none.
    """

    strategy: str
    label: str
    trial: str | None
    config: Mapping[str, Any]
    validation: float | None
    test_error: float | None
    low: float | None
    high: float | None
    seeds: int
    model: Path | None


@dataclass(frozen=True, eq=False)
class Results:
    """The outcome of a sweep so far.

    Attributes:
        path: the sweep's folder.
        data: its `results.json`.
    """

    path: Path
    data: SweepResults = field(repr=False)

    @classmethod
    def load(cls, sweep: str | Path, storage: str | Path = "runs") -> Results:
        """Read the results of a sweep, complete or not.

        Args:
            sweep: its name (`suite/cell` of a cell), or the path of its folder.
            storage: where a sweep that is given by its name lies: a folder, or s3://… or gs://….

        Raises:
            UserError: there is no such sweep; the message names the nearest one.
            OperationalError: it has no results yet, or they cannot be read.
        """
        name = str(sweep)
        is_path = "/" in name and (not A_SWEEP.fullmatch(name) or Path(name).is_dir())
        if isinstance(sweep, Path) or is_path:
            folder = Path(sweep).resolve()
            storage, name = storage_of(folder), name_of(folder)
        view, results = read_results(str(storage), name)
        return cls(view.folder.path, results)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.data.name

    @property
    def complete(self) -> bool:
        """Whether all trials and confirm runs have ended; `raysel.resume` goes on with the rest."""
        return self.data.complete

    @property
    def layers(self) -> tuple[str, ...]:
        """The model's layers in forward order."""
        return self.data.layers

    @property
    def verdict(self) -> Verdict:
        """Which strategy won, and whether it beats full fine-tuning."""
        return self.data.verdict

    @property
    def best(self) -> Best | None:
        """The winner's confirmed configuration; None where nothing was confirmed."""
        row = self.data.winner
        if row is None:
            return None
        trial = next((t for t in self.data.trials if t.id == row.trial), None)
        model = self.path / "best"
        return Best(
            strategy=row.strategy,
            label=row.label,
            trial=row.trial,
            config=row.config if trial is None else trial.config,
            validation=row.validation,
            test_error=row.test_error.mean,
            low=row.test_error.low,
            high=row.test_error.high,
            seeds=row.test_error.n,
            model=model if model.is_dir() else None,
        )

    def trials(self) -> pd.DataFrame:
        """The trials of the search, a row each.

        `epochs` counts those that were run; each searched value is a column `params_<name>`, as in
        Optuna's data frames.
        """
        rows = [
            {column: getattr(trial, column) for column in COLUMNS}
            | {"epochs": len(trial.epochs)}
            | {f"params_{name}": value for name, value in trial.searched.items()}
            for trial in self.data.trials
        ]
        return pd.DataFrame(rows, columns=None if rows else [*COLUMNS, "epochs"])

    def epochs(self, trial: str | int) -> pd.DataFrame:
        """The metrics of a trial of the search (`train/loss`, `val/error` …), a row an epoch.

        Raises:
            UserError: the search has no such trial.
        """
        rows = {trial.id: trial.epochs for trial in self.data.trials}
        return pd.DataFrame(list(rows[self._known(trial, rows)]))

    def confirm(self) -> pd.DataFrame:
        """The confirm runs, a row each: strategy, seed, validation and test metrics."""
        rows = [
            {"strategy": row.strategy, **run.model_dump(exclude={"moved", "test_curve"})}
            for row in self.data.confirm
            for run in row.runs
        ]
        return pd.DataFrame(rows)

    def trace(self, trial: str | int) -> pd.DataFrame:
        """The selection trace of a trial or a confirm run: step, epoch, layer, weight, score.

        Args:
            trial: its number in the search, or its id (`0007`, `confirm-full-s0`).

        Raises:
            UserError: the sweep has no such trial.
            OperationalError: its trace is not in the sweep's folder.
        """
        folder = self.path / "trials" / self._known(trial, list(self._ids())) / "trace"
        try:
            frame: pd.DataFrame = read_trace(folder).to_pandas()
        except FileNotFoundError:
            message = "holds no selection trace: the trial ended before its first epoch did"
            raise OperationalError(str(folder), message) from None
        return frame

    def _ids(self) -> Iterator[str]:
        yield from (trial.id for trial in self.data.trials)
        yield from (run.id for row in self.data.confirm for run in row.runs)

    def _known(self, trial: str | int, known: Any) -> str:
        given = str(trial)
        wanted = given.zfill(4) if given.isdecimal() and given.isascii() else given
        if wanted in known:
            return wanted
        hint = nearest(wanted, known) if known else "it has none"
        raise user_error(given, f"{self.name} has no such trial; {hint}")

"""MLflow, through its client: found or created, never twice; changed only where it differs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from raysel.mlflow_sync.runs import PARENT, Point, RunImage
from raysel.mlflow_sync.saved_views import saved_views
from raysel.mlflow_sync.store import (
    SERVERS,
    as_uri,
    check_store,
    client,
    ensure_store,
    is_moved,
    move,
    runs_of,
)
from raysel.mlflow_sync.suite_run import SuiteRun, suite_of
from raysel.record.events import SWEEP
from raysel.record.mlflow_page import note_experiment
from raysel.record.state import SweepState

_REFUSALS = ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "BAD_REQUEST")
"""MLflow's codes for a tag that it does not take."""

_log = logging.getLogger(__name__)


class Refused(Exception):
    """MLflow rejects a request for good: a run that the user deleted, a
    name that it does not allow. Retrying does not help."""


@dataclass
class _Known:
    """What MLflow has of a run."""

    run_id: str
    status: str
    ended: int | None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)


class MlflowStore:
    """The runs of one sweep in MLflow.

    Every method may raise where MLflow does not answer (`raysel.mlflow_sync.error_messages` knows
    why); the object is then discarded and a new one queries MLflow again.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: str, sweep: SweepState) -> None:
        """Find or create the experiment, and find the sweep's runs.

        Args:
            uri: MLflow's tracking URI.
            experiment: its name.
            artifact_root: where artifacts lie, a folder or a URI; a server decides that for
                itself.
            sweep: its id, its objective, its name and its folder are looked at.

        Raises:
            UnusableStore: without a server: there is no database, or another MLflow's.
        """
        ensure_store(uri)
        check_store(uri)
        self._client = client(uri)
        self._experiment = self._find_experiment(experiment, uri, artifact_root)
        self._tag_experiment(sweep, experiment)
        found = runs_of(self._client, self._experiment, sweep.id)
        self._runs = {trial: _known(runs[0]) for trial, runs in found.items()}
        suite = suite_of(sweep)
        self._suite = None if suite is None else SuiteRun(self._client, self._experiment, suite)
        if sweep.folder:
            with suppress(OSError):  # the folder may be on another machine
                note_experiment(Path(sweep.folder), uri, self._experiment)

    def has(self, trial: str) -> bool:
        """Whether there is a run of this trial, or of the sweep itself (`SWEEP`)."""
        return trial in self._runs

    def show(self, image: RunImage, points: Sequence[Point] = ()) -> None:
        """Update a run to match its image, and add points to it.

        Raises:
            Refused: MLflow rejects it for good.
        """
        with _explain_refusal():
            self._show(image, points)
            if image.trial == SWEEP and self._suite is not None:
                self._suite.follow(image)

    def upload(self, trial: str, path: Path, folder: str | None = None) -> None:
        """Add a file, or all that a folder holds, to the run's artifacts, below `folder`.

        Raises:
            Refused: MLflow rejects it for good.
        """
        run_id = self._runs[trial].run_id
        with _explain_refusal():
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder)
            else:
                self._client.log_artifact(run_id, str(path), folder)

    def upload_text(self, trial: str, text: str, name: str) -> None:
        """Add a text as the artifact `name`.

        Raises:
            Refused: MLflow rejects it for good.
        """
        with _explain_refusal():
            self._client.log_text(self._runs[trial].run_id, text, name)

    # --- finding ---------------------------------------------------------------------------

    def _find_experiment(self, name: str, uri: str, root: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if uri.startswith(SERVERS) else as_uri(root)
            return str(self._client.create_experiment(name, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if is_moved(uri, found.artifact_location, root):
            move(uri, found.experiment_id, found.artifact_location, root)
        return str(found.experiment_id)

    def _tag_experiment(self, sweep: SweepState, name: str) -> None:
        wanted = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": sweep.metric,
            "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
        }
        has = self._client.get_experiment(self._experiment).tags
        for tag, value in _difference(wanted, has).items():
            self._client.set_experiment_tag(self._experiment, tag, value)
        for tag, value in _difference(saved_views(sweep, name), has).items():
            try:
                self._client.set_experiment_tag(self._experiment, tag, value)
            except MlflowException as error:
                if error.error_code not in _REFUSALS:
                    raise
                _log.warning("the saved view %s is not kept: %s", tag, error)

    # --- changing ----------------------------------------------------------------------------

    def _show(self, image: RunImage, points: Sequence[Point]) -> None:
        known = self._runs.get(image.trial) or self._create(image)
        if image.ended is None and known.status != image.status:  # resumed
            self._client.update_run(known.run_id, status=image.status)
            known.status, known.ended = image.status, None
        self._log(known, image, points)
        if image.ended is not None and (known.status, known.ended) != (image.status, image.ended):
            self._client.set_terminated(known.run_id, image.status, image.ended)
            known.status, known.ended = image.status, image.ended

    def _create(self, image: RunImage) -> _Known:
        tags = _difference(self._tags(image), {})
        run = self._client.create_run(
            self._experiment, start_time=image.started, tags=tags, run_name=image.name
        )
        known = self._runs[image.trial] = _known(run)
        return known

    def _tags(self, image: RunImage) -> dict[str, str]:
        """The image's tags and the parent's run id, since the parent may have changed."""
        parent = self._above() if image.trial == SWEEP else self._runs[SWEEP].run_id
        return {**image.tags, **({PARENT: parent} if parent else {})}

    def _above(self) -> str:
        """The id of the suite's run; empty where the sweep is no cell of one."""
        return "" if self._suite is None else self._suite.id

    def _log(self, known: _Known, image: RunImage, points: Sequence[Point]) -> None:
        """Log points, missing parameters (MLflow forbids changes), and differing tags."""
        new_tags = _difference(self._tags(image), known.tags)
        new_params = {name: v for name, v in image.params.items() if name not in known.params}
        # the client splits what is too much for one request
        self._client.log_batch(
            known.run_id,
            metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points],
            params=[Param(name, value) for name, value in new_params.items()],
            tags=[RunTag(name, value) for name, value in new_tags.items()],
            synchronous=True,  # whatever MLFLOW_ENABLE_ASYNC_LOGGING says
        )
        known.tags |= new_tags
        known.params |= new_params


@contextmanager
def _explain_refusal() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise Refused(str(error)) from error
        raise


def _difference(wanted: Mapping[str, str], has: Mapping[str, str]) -> dict[str, str]:
    """The tags to write; an empty tag only replaces one that is not empty."""
    return {name: value for name, value in wanted.items() if has.get(name, "") != value}


def _known(run: Run) -> _Known:
    info, data = run.info, run.data
    return _Known(run.info.run_id, info.status, info.end_time, dict(data.tags), dict(data.params))

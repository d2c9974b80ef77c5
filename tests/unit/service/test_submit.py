"""What is sent, what is answered, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysel.common import credentials
from raysel.common.errors import OperationalError, UserError
from raysel.service.bundle import bundle, check_size, package_sizes
from raysel.service.endpoint import ClusterEndpoint
from raysel.service.jobs import Cluster, Job
from raysel.service.sent_file import SentFile
from raysel.service.submit import SubmitOptions, entrypoint, resume, sent_id, submit, submit_suite
from raysel.spec.reader import SweepFile, parse
from raysel.spec.suite import Suite, read_suite
from raysel.spec.sweep import Spec
from raysel.spec.user_code import located, read
from raysel.sweep.manifest import SENT_AS

SWEEP = """
name: digits
task: {data: digits}
model: {name: test_resnet}
strategies: {linear_probe: }
"""


class Noted(Cluster):
    """A cluster that notes what it is given, and what its bundle held."""

    def __init__(self, *jobs: Job, token: str | None = "token") -> None:
        self.endpoint = ClusterEndpoint("http://cluster", token)
        self.listed = list(jobs)
        self.given: list[dict[str, Any]] = []
        self.files: dict[str, str] = {}

    def jobs(self) -> list[Job]:
        return self.listed

    def submit(
        self, job_id: str, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]
    ) -> None:
        root = Path(runtime_env["working_dir"])
        files = [path for path in root.rglob("*") if path.is_file()]
        self.files = {str(f.relative_to(root)): f.read_text() for f in files}
        reported = {
            "id": job_id,
            "entrypoint": entrypoint,
            "env": runtime_env,
            "metadata": metadata,
        }
        self.given.append(reported)
        self.listed.append(Job(job_id, "RUNNING", metadata=metadata))


def ended(cluster: Noted, state: str) -> None:
    cluster.listed[-1] = replace(cluster.listed[-1], state=state)


def spec(*overrides: str) -> Spec:
    return parse(SWEEP, overrides)


@pytest.fixture
def coded(tmp_path: Path) -> Spec:
    """The sweep with a code file beside one that nobody named."""
    (tmp_path / "mine.py").write_text("x = 1\n")
    (tmp_path / "private.py").write_text("password = 1\n")
    sweep = spec(f"code_files=[{tmp_path}/mine.py]")
    return located(sweep, read(sweep.listed_code, Path()))


def test_the_bundle_is_the_sweep_file_and_its_code_alone(coded: Spec) -> None:
    cluster = Noted()
    submit(cluster, coded, SubmitOptions())
    assert set(cluster.files) == {"sweep.yaml", "code/mine.py"}
    assert parse(cluster.files["sweep.yaml"]).listed_code[0].path == "code/mine.py"


def test_files_that_are_included_keep_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.txt").write_text("meow")
    assert bundle(spec(), [Path("photos")]).sizes()["photos/cat/1.txt"] == 4
    with pytest.raises(UserError, match="there is no"):
        bundle(spec(), [Path("none")])
    with pytest.raises(UserError, match="below this folder"):
        bundle(spec(), [Path("/etc/hostname")])


def test_what_is_too_large_is_refused_with_the_ten_largest() -> None:
    sizes = {f"file{index:02}": index * 2**20 for index in range(20)}
    with pytest.raises(UserError) as refused:
        check_size(sizes)
    reported = str(refused.value)
    assert "190.0 MiB" in reported and "90.0" in reported
    assert (
        all(f"file{index:02}" in reported for index in range(10, 20)) and "file09" not in reported
    )
    check_size({"a": 90 * 2**20})


def test_raysel_itself_is_small_and_goes_along_unless_it_is_there() -> None:
    assert sum(package_sizes().values()) < 5 * 2**20
    first, second = Noted(), Noted()
    submit(first, spec(), SubmitOptions())
    submit(second, spec(), SubmitOptions(installed=True))
    assert Path(first.given[0]["env"]["py_modules"][0]).name == "raysel"
    assert "py_modules" not in second.given[0]["env"]


def id_of(*overrides: str) -> str:
    return sent_id(SentFile.of_sweep(spec(*overrides)))


def test_the_id_is_of_name_and_file() -> None:
    one = id_of()
    assert one.startswith("digits-") and one == id_of()
    assert len({one, id_of("name=other"), id_of("training.epochs=7")}) == 3


def test_what_was_stopped_goes_on_under_the_next_number() -> None:
    cluster = Noted()
    assert submit(cluster, spec(), SubmitOptions()).job.id.endswith("-r1")
    ended(cluster, "STOPPED")
    answer = submit(cluster, spec(), SubmitOptions())
    assert answer.new and answer.job.id.endswith("-r2")
    assert "--resume-if-exists" in cluster.given[1]["entrypoint"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_what_runs_is_answered(state: str) -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions())
    ended(cluster, state)
    answer = submit(cluster, spec(), SubmitOptions())
    assert not answer.new and "runs already" in answer.words and len(cluster.given) == 1


def test_what_is_complete_is_answered_and_resumed_if_asked() -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions())
    ended(cluster, "SUCCEEDED")
    assert "is complete" in submit(cluster, spec(), SubmitOptions()).words
    assert resume(cluster, "digits", [], SubmitOptions()).job.id.endswith("-r2")


def test_another_file_under_the_name_of_a_running_sweep_is_refused() -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions())
    with pytest.raises(UserError, match="--set name=digits-2"):
        submit(cluster, spec("training.epochs=7"), SubmitOptions())


def test_it_is_resumed_from_any_machine(coded: Spec) -> None:
    cluster = Noted()
    submit(cluster, coded, SubmitOptions())
    ended(cluster, "STOPPED")
    before = cluster.files
    (Path(coded.listed_code[0].path)).unlink()
    resume(cluster, "digits", [], SubmitOptions())
    assert cluster.files == before


def test_a_resumed_sweep_may_be_extended_and_not_changed() -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions())
    ended(cluster, "STOPPED")
    with pytest.raises(UserError, match="another"):
        resume(cluster, "digits", ["training.epochs=7"], SubmitOptions())
    resume(cluster, "digits", ["search.num_trials=60"], SubmitOptions())
    assert parse(cluster.files["sweep.yaml"]).search.num_trials == 60


def test_files_that_are_not_kept_are_not_resumed_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_text("0")
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions(), [Path("w.bin")])
    ended(cluster, "STOPPED")
    with pytest.raises(UserError, match="raysel submit FILE"):
        resume(cluster, "digits", [], SubmitOptions())


def test_a_cluster_without_a_token_is_refused() -> None:
    with pytest.raises(OperationalError, match="--open-cluster"):
        submit(Noted(token=None), spec(), SubmitOptions())
    assert submit(Noted(token=None), spec(), SubmitOptions(open_cluster=True)).new


def test_secrets_travel_sealed_and_only_to_a_cluster_with_a_token() -> None:
    order = SubmitOptions(secrets={"PGPASSWORD": "planted"}, open_cluster=True)
    requires_token, open_one = Noted(), Noted(token=None)
    submit(requires_token, spec(), order)
    submit(open_one, spec(), order)
    assert "planted" not in json.dumps(requires_token.given) + json.dumps(open_one.given) + repr(
        order
    )
    sealed = requires_token.given[0]["env"]["env_vars"][credentials.VARIABLE]
    assert credentials.unseal(sealed, "token") == {"PGPASSWORD": "planted"}
    assert credentials.VARIABLE not in open_one.given[0]["env"]["env_vars"]


def test_the_job_has_time_to_end_in_order() -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions(grace=77))
    variables = cluster.given[0]["env"]["env_vars"]
    assert variables["RAY_JOB_STOP_WAIT_TIME_S"] == "77"
    assert variables["RAY_JOB_STOP_SIGNAL"] == "SIGINT"


def test_the_metadata_say_what_runs() -> None:
    cluster = Noted()
    submit(cluster, spec(), SubmitOptions())
    metadata = cluster.given[0]["metadata"]
    assert parse(metadata["raysel.spec"]) == spec()
    assert {"raysel.git_sha", "raysel.version", "raysel.sweep"} <= set(metadata)
    sent_as = cluster.given[0]["env"]["env_vars"][SENT_AS]
    assert sent_as == metadata["raysel.sweep"]
    assert all(isinstance(value, str) for value in metadata.values())


@pytest.mark.parametrize(
    ("storage", "reported"),
    [
        ("runs", ' --set storage="$HOME/raysel"/runs'),
        ("my runs; rm x", " --set storage=\"$HOME/raysel\"/'my runs; rm x'"),
        ("/mnt/shared", ""),
        ("s3://bucket/runs", ""),
    ],
)
def test_a_relative_storage_lies_in_a_place_that_stays(storage: str, reported: str) -> None:
    assert entrypoint(storage).endswith("exists" + reported)


def suite(tmp_path: Path, *overrides: str) -> Suite:
    text = SWEEP + "axes: {training.shots: [5, 10]}\n"
    return read_suite(SweepFile("suite.yaml", text, overrides))


def test_a_suite_is_one_job_whose_file_is_the_suites(tmp_path: Path) -> None:
    cluster = Noted()
    result = submit_suite(cluster, suite(tmp_path, "training.epochs=7"), SubmitOptions())
    assert result.job.name == "digits"
    sent = read_suite(SweepFile("sweep.yaml", cluster.files["sweep.yaml"]))
    assert [cell.spec.training.epochs for cell in sent.cells] == [7, 7]
    assert [cell.name for cell in sent.cells] == ["shots5", "shots10"]
    again = submit_suite(cluster, suite(tmp_path, "training.epochs=7"), SubmitOptions())
    assert not again.new


def test_a_suite_goes_on_with_more_cells_but_not_with_other_ones(tmp_path: Path) -> None:
    cluster = Noted()
    submit_suite(cluster, suite(tmp_path), SubmitOptions())
    ended(cluster, "STOPPED")
    more = ["axes.training.shots=[5, 10, 15]"]
    assert resume(cluster, "digits", more, SubmitOptions()).new
    assert "- 15" in cluster.files["sweep.yaml"]
    ended(cluster, "STOPPED")
    with pytest.raises(UserError, match="axes: the cell shots10 is not there any more"):
        resume(cluster, "digits", ["axes.training.shots=[5]"], SubmitOptions())
    with pytest.raises(UserError, match=r"training\.epochs"):
        resume(cluster, "digits", ["training.epochs=3"], SubmitOptions())

"""Where results are fetched from, and what is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raysel.common.errors import OperationalError, UserError
from raysel.service import fetch as fetching
from raysel.service.fetch import fetch
from raysel.service.jobs import Cluster, Job
from raysel.spec.reader import parse

SWEEP = """
name: digits
task: {data: digits}
model: {name: test_resnet}
strategies: {linear_probe: }
"""


def job(storage: str) -> Job:
    text = parse(SWEEP, [f"storage={storage}"]).to_yaml()
    reported = {"raysel.name": "digits", "raysel.sweep": "digits-1a", "raysel.spec": text}
    return Job("digits-1a-r1", "SUCCEEDED", metadata=reported)


class Unasked(Cluster):
    """A cluster that must not be asked."""

    def __init__(self) -> None: ...


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared" / "digits"
    (folder / "best").mkdir(parents=True)
    (folder / "spec.yaml").write_text("name: digits")
    (folder / "manifest.json").write_text('{"sent_as": "digits-1a"}')
    (folder / "best" / "model.safetensors").write_bytes(b"weights")
    (folder / "sweep.db").write_bytes(b"stays")
    return folder.parent


def test_a_storage_that_this_machine_sees_is_copied(shared: Path, tmp_path: Path) -> None:
    to = fetch(Unasked(), job(str(shared)), tmp_path / "new" / "digits")
    there = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
    assert there == {"spec.yaml", "manifest.json", "best/model.safetensors"}
    assert [path.name for path in to.parent.iterdir()] == ["digits"]


@pytest.mark.parametrize("manifest", ['{"sent_as": "digits-2b"}', "{}", "damaged"])
def test_another_sweep_of_that_name_on_this_machine_is_not_the_jobs(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str
) -> None:
    def sent(cluster: Cluster, job: Job, storage: str, folder: Path) -> None:
        (folder / "spec.yaml").write_text("of the cluster")

    monkeypatch.setattr(fetching, "_send_for", sent)
    (shared / "digits" / "manifest.json").write_text(manifest)
    to = fetch(Unasked(), job(str(shared)), tmp_path / "digits")
    assert (to / "spec.yaml").read_text() == "of the cluster"


def test_a_folder_that_holds_something_is_left_alone(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds something"):
        fetch(Unasked(), job(str(shared)), tmp_path / "mine")


def test_a_folder_below_what_is_copied_is_refused(shared: Path) -> None:
    to = shared / "digits" / "best" / "in"
    with pytest.raises(UserError, match=r"--to: .* lies in"):
        fetch(Unasked(), job(str(shared)), to)
    assert [path.name for path in (shared / "digits" / "best").iterdir()] == ["model.safetensors"]


def test_a_link_that_leads_nowhere_is_no_place(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "to").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"to is a link to .*gone, which is not there"):
        fetch(Unasked(), job(str(shared)), tmp_path / "to")


@pytest.mark.parametrize("what", ["link", "pipe", "file"])
def test_a_file_that_cannot_be_copied_is_named_and_nothing_is_left(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    odd = shared / "digits" / "best" / "odd"
    if what == "link":
        odd.symlink_to(tmp_path / "gone")
    elif what == "pipe":
        os.mkfifo(odd)
    else:
        odd = shared / "digits" / "spec.yaml"

        def refuse(source: Path, to: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(source))

        monkeypatch.setattr(fetching.shutil, "copy2", refuse)
    with pytest.raises(OperationalError, match=rf"{odd}: cannot be copied: "):
        fetch(Unasked(), job(str(shared)), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_an_empty_folder_is_filled(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (fetch(Unasked(), job(str(shared)), tmp_path / "empty") / "best").is_dir()


def test_a_bucket_is_asked_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, uri: str) -> None:
            self.uri = uri

        def below(self, name: str) -> Fake:
            return Fake(f"{self.uri}/{name}")

        def sizes(self) -> dict[str, int]:
            return {"spec.yaml": 1, "report/index.html": 1, "trials/0000/trace/1.parquet": 1}

        def get(self, name: str, file: Path) -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{self.uri}/{name}")

    monkeypatch.setattr(fetching, "Bucket", Fake)
    to = fetch(Unasked(), job("s3://bucket/runs"), tmp_path / "digits")
    assert (to / "report/index.html").read_text() == "s3://bucket/runs/digits/report/index.html"
    assert not (to / "trials").exists()


def test_a_bucket_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def __init__(self, uri: str) -> None: ...

        def below(self, name: str) -> Away:
            return self

        def sizes(self) -> dict[str, int]:
            raise OSError("no answer\nfrom the store")

    monkeypatch.setattr(fetching, "Bucket", Away)
    with pytest.raises(OperationalError, match="no answer from the store"):
        fetch(Unasked(), job("s3://bucket/runs"), tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


def test_a_job_of_another_command_has_nothing_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="raysel submit"):
        fetch(Unasked(), Job("raysubmit_1", "SUCCEEDED"), tmp_path / "x")


def test_of_a_suite_the_cells_come_with_its_page(tmp_path: Path) -> None:
    suite = tmp_path / "shared" / "digits"
    for cell in ("shots5", "shots10"):
        (suite / cell / "report").mkdir(parents=True)
        (suite / cell / "spec.yaml").write_text("name: x")
        (suite / cell / "report" / "index.html").write_text("page")
        (suite / cell / "sweep.db").write_bytes(b"stays")
    (suite / "report").mkdir()
    (suite / "report" / "index.html").write_text("table")
    (suite / "suite.json").write_text('{"sent_as": "digits-1a"}')
    text = parse(SWEEP, [f"storage={suite.parent}"]).to_yaml() + "axes: {training.shots: [5, 10]}\n"
    reported = {"raysel.name": "digits", "raysel.sweep": "digits-1a", "raysel.spec": text}
    sent = Job("digits-1a-r1", "SUCCEEDED", metadata=reported)
    to = fetch(Unasked(), sent, tmp_path / "new")
    there = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
    pages = {f"{cell}/{file}" for cell in ("shots5", "shots10") for file in
             ("spec.yaml", "report/index.html")}  # fmt: skip
    assert there == {"suite.json", "report/index.html", *pages}

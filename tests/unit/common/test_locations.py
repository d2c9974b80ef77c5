"""Commands as a message gives them: they act on the sweep that the message is about."""

import shlex
from pathlib import Path

import pytest

from raysel.common.locations import resume_command, sweep_command, way_back


@pytest.mark.parametrize("verb", ["rm", "reconcile", "show", "stop"])
def test_a_sweep_that_is_not_in_the_default_storage_is_named_with_its_own(
    verb, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for default in ("runs", "./runs/", str(tmp_path / "runs")):
        assert sweep_command(verb, "a", default) == f"raysel {verb} a"
    for other in ("old runs", str(tmp_path / "x"), "s3://bucket/runs"):
        typed = shlex.split(sweep_command(verb, "suite/a", other, "--yes"))
        assert typed == ["raysel", verb, "suite/a", "--yes", "--storage", other]
    assert resume_command("a", "x") == sweep_command("resume", "a", "x")


def test_so_is_one_whose_record_is_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "x" / "a"
    folder.mkdir(parents=True)
    assert way_back(folder, "x").endswith("; raysel rm a --storage x removes it")
    (folder / "sweep.backup.db").write_bytes(b"")
    assert way_back(Path(folder), "x").endswith("raysel resume a --from-backup --storage x")

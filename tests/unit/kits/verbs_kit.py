"""The verbs that take a sweep, and a finished sweep as its driver leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest
from view_kit import FINISHED, make, started

from raysel.cli.main import main
from raysel.record.layout import SweepFolder, write_json
from raysel.sweep.backup import copy

VERBS = {
    "show": ("show", "a"),
    "report": ("report", "a"),
    "export": ("export", "a", "--to", "out"),
    "reproduce": ("reproduce", "a", "0"),
    "reconcile": ("reconcile", "a"),
    "dry": ("reconcile", "a", "--dry-run"),
    "resume": ("resume", "a"),
    "list": ("list",),
}
OTHERS = {"stop": ("stop", "a"), "run": ("run", "a.yaml"), "rm": ("rm", "a", "--yes")}


def swept(storage: Path, name: str) -> SweepFolder:
    folder = make(storage, name, started("0000", 0), FINISHED, sweep_id=f"{name}-1")
    copy(folder.record, folder.backup)
    write_json(folder.manifest, {"sweep_id": f"{name}-1"})
    write_json(folder.results, {"sweep_id": f"{name}-1", "name": name})
    return folder


def line_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a verb says, in one line; it fails but for `list`."""
    capsys.readouterr()
    code = main((VERBS | OTHERS)[verb])
    out, err = capsys.readouterr()
    if verb == "list":
        assert code == 0
        return next(line for line in out.splitlines() if line.startswith("a:"))
    assert code == 1, out + err
    (line,) = err.splitlines()
    return line

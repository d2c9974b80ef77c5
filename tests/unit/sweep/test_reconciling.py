"""`raysel reconcile` as its user meets it, without MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from view_kit import ended, make, started

from raysel.common.errors import OperationalError
from raysel.mlflow_sync.process import FILES_CURSOR
from raysel.record.events import Record, sqlite_url
from raysel.record.ownership import FileOwner
from raysel.spec.reader import parse
from raysel.strategies import registry
from raysel.sweep import reconcile
from raysel.sweep.reconcile import Reconciled, reconcile_sweep

MINE = """\
import torch
from raysel.strategies.base import Decision, Strategy
from raysel.strategies.registry import register

@register
class OfReconcile(Strategy):
    name = "of_reconcile"
    summary = "everything moves"
    paper = "none"

    def decide(self, step):
        return Decision(torch.ones(len(self.partition)))
"""
OWN = """\
name: own
task: {data: digits}
model: {name: test_resnet}
code_files: [code/of_reconcile.py]
strategies: {of_reconcile: }
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a sweep with a strategy of the user's; what it registers is forgotten."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))

    @contextmanager
    def away(*_: object) -> Iterator[tuple[str, str]]:
        raise OperationalError("mlflow", "is away")
        yield "", ""

    monkeypatch.setattr(reconcile, "_mlflow", away)
    events = [started("0000", 0, "of_reconcile")]
    folder = make(tmp_path, "own", *events, spec=parse(OWN).to_yaml())
    folder.code.mkdir()
    (folder.code / "of_reconcile.py").write_text(MINE)
    yield folder.path
    sys.modules.pop("raysel_code_of_reconcile", None)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("gone", [True, False])
def test_a_sweep_is_compared_without_the_code_of_its_user(
    own: Path, dry_run: bool, gone: bool
) -> None:
    if gone:
        (own / "code/of_reconcile.py").unlink()
    found = reconcile_sweep(str(own.parent), "own", dry_run, close=False)
    assert found.record[0] == "0000: RUNNING, but nobody runs it"
    assert "is away" in str(found.mlflow_away)
    assert "raysel_code_of_reconcile" not in sys.modules


@pytest.mark.parametrize(
    ("words", "reported"),
    [(["you may not write there"], "you may not write there"), ([], "in 0 s")],
)
def test_what_mlflow_refuses_with_is_reported_and_no_time_that_did_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reported: str
) -> None:
    class Refused:
        def __init__(self, *_: object, notify: Callable[[str], None], **__: object) -> None:
            self.notify = notify

        def start(self) -> None:
            for line in words:
                self.notify(line)

        def drain(self, seconds: float) -> bool:
            return False

        def stop(self) -> None:
            pass

    monkeypatch.setattr(reconcile, "WriterProcess", Refused)
    folder = make(tmp_path, "a")
    record = Record(sqlite_url(folder.record))
    owner = FileOwner(folder.lock, "a")
    mending = reconcile._Mending(folder, parse(folder.spec.read_text()), record, owner)
    with pytest.raises(OperationalError, match=reported):
        mending._send("http://mlflow", "a")
    owner.release()
    record.close()


@pytest.mark.parametrize(("sent", "again"), [(5, 3), (1, 1)])
def test_files_are_sent_again_from_the_first_trial_that_lacks_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int, again: int
) -> None:
    events = [started("0000", 0), ended("0000", "COMPLETE", 0.5), started("0001", 1)]
    folder = make(tmp_path, "a", *events, ended("0001", "COMPLETE", 0.5))
    record = Record(sqlite_url(folder.record))
    record.move_cursor(FILES_CURSOR, sent)
    files = SimpleNamespace(to_mend=["0001"], lost=[])
    audit = SimpleNamespace(differences=[], file_differences=["0001: MLflow lacks x"], files=files)
    audit.restore_traces = audit.remove_surplus = lambda: None
    monkeypatch.setattr(reconcile, "_mlflow", lambda *_: nullcontext(("http://mlflow", "a")))
    monkeypatch.setattr(reconcile, "_audit", lambda *_: audit)
    monkeypatch.setattr(reconcile._Mending, "_send", lambda *_: None)
    owner = FileOwner(folder.lock, "a")
    mending = reconcile._Mending(folder, parse(folder.spec.read_text()), record, owner)
    mending.mlflow(Reconciled("a", [], [], mended=True))
    assert record.cursor(FILES_CURSOR) == again
    owner.release()
    record.close()

"""`raysel.run` and what follows it, as the documentation has them, in a thread as in a notebook."""

from __future__ import annotations

import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import raysel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

SWEEP: dict[str, Any] = {
    "name": "my-sweep",
    "task": {
        "data": "digits",
        "source": 100,
        "shift": {"kind": "gaussian_noise", "severity": 3},
        "split": {"train": 40, "validation": 40, "test": 40},
    },
    "model": {"name": "test_resnet"},
    "strategies": {"full": None, "linear_probe": None, "bvg_ls": {"ema_init": "debiased"}},
    "training": {"epochs": 3, "batch_size": 20},
    "search": {"num_trials": 3},
    "confirm": {"seeds": 2},
}

_DOCS = Path(raysel.__file__).parents[1] / "docs" / "python.md"


def _in_a_thread(code: str, names: dict[str, Any]) -> None:
    problems: list[BaseException] = []

    def cell() -> None:
        try:
            exec(code, names)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=cell)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]


def test_a_sweep_from_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(json.dumps(SWEEP), encoding="utf-8")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    names: dict[str, Any] = {}
    block = re.findall(r"^```python\n(.*?)^```", _DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    _in_a_thread(block[-1], names)

    results: raysel.Results = names["results"]
    assert results.complete and results.best is not None and results.best.model is not None
    assert results.data == json.loads((tmp_path / "runs/my-sweep/results.json").read_text())
    frame = results.trials()
    assert list(frame["number"]) == [0, 1, 2]
    assert set(frame["strategy"]) == {"full", "linear_probe", "bvg_ls"}
    for trial in frame["id"]:
        trace = results.trace(trial)
        assert set(trace["layer"]) == set(results.layers)
        assert trace["epoch"].max() == len(results.epochs(trial))
    assert len(results.confirm()) == 2 * len(results.data["confirm"])
    assert names["tuned"].failure is None
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    out = capsys.readouterr().out
    assert results.verdict.sentence in out and "\x1b" not in out
    with pytest.raises(raysel.UserError, match='a sweep named "my-sweep" exists'):
        raysel.run(SWEEP, progress=False)
    again = raysel.run(
        SWEEP, overrides=["training.epochs=2"], resume_if_exists=True, progress=False
    )
    assert again.verdict == results.verdict
    assert capsys.readouterr().out == ""

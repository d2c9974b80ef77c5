"""A strategy of one's own in one file: swept, recorded, resumed from the copy."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysel.cli import main
from raysel.common.errors import UserError
from raysel.record.events import SWEEP, Kind, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.search.validate import read
from raysel.spec import reader
from raysel.strategies import registered, registry
from raysel.sweep.start import resume, start

from .helpers import Silent, publish_nothing, states

pytestmark = pytest.mark.usefixtures("ray_cluster")

EXAMPLE = Path(__file__).with_name("example_strategy.py")
PAGE = Path(__file__).parents[2] / "docs" / "write-a-strategy.md"

FILE = """
name: own
task:
  data: digits
  source: 300
  split: {train: 60, validation: 60, test: 60, seed: 3}
model: {name: test_resnet}
code_files: [my_strategy.py]
strategies:
  fair_share: {share: {categorical: [0.25, 0.75]}}
training: {epochs: 2, batch_size: 20, learning_rate: 0.01}
search: {baselines: false}
pruner: {kind: none}
confirm: {seeds: 1}
trace: {diagnostics: [bias_variance_ratio, relative_gradient_norm, parameter_change]}
"""


class Deletes(Silent):
    """Removes the user's file once the sweep has begun: no worker may need it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def began(self, *_: Any) -> None:
        self.file.unlink()


@pytest.fixture(scope="module", autouse=True)
def restored_registry() -> Iterator[None]:
    """The registry is as before after this module."""
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    sys.modules.pop("raysel_code_my_strategy", None)


@pytest.fixture(scope="module")
def swept(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """The example of the documentation, swept."""
    here = tmp_path_factory.mktemp("own")
    shutil.copy(EXAMPLE, here / "my_strategy.py")
    (here / "sweep.yaml").write_text(FILE, encoding="utf-8")
    spec = read(here / "sweep.yaml", [f"storage={here / 'runs'}"])
    return start(spec, Deletes(here / "my_strategy.py"), publish_nothing).folder


def test_the_documentation_shows_the_very_example() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown = [block for block in blocks if "@register" in block]
    assert [block.strip() for block in shown] == [text.strip()]


def test_workers_run_it_without_the_file(swept: SweepFolder) -> None:
    trials = states(swept.path).values()
    assert {(t.strategy, t.status, t.cause) for t in trials} == {("fair_share", "COMPLETE", None)}
    assert sorted(t.phase for t in trials) == ["confirm", "search", "search"]
    moved = {n: v for n, v in next(iter(trials)).epochs[0].items() if n.startswith("select/")}
    assert sum(v or 0.0 for v in moved.values()) == pytest.approx(1)  # one layer a step


def test_its_text_and_hash_are_kept_with_the_sweep(swept: SweepFolder) -> None:
    digest = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert (swept.path / "code" / "my_strategy.py").read_bytes() == EXAMPLE.read_bytes()
    resolved = yaml.safe_load(swept.spec.read_text())
    assert resolved["code_files"] == [{"path": "code/my_strategy.py", "sha256": digest}]
    assert json.loads(swept.manifest.read_text())["code"] == {"my_strategy.py": digest}
    record = Record(sqlite_url(swept.record))
    stored = [s.event for s in record.events() if s.event.trial == SWEEP]
    record.close()
    (sweep,) = [event for event in stored if event.kind == Kind.SWEEP]
    assert sweep.payload["manifest"]["code"] == {"my_strategy.py": digest}


def test_diagnostics_are_recorded_of_every_layer(swept: SweepFolder) -> None:
    results = json.loads(swept.results.read_text())
    for trial in results["trials"]:
        for epoch in trial["epochs"]:
            for name in results["layers"]:
                assert epoch[f"ratio/{name}"] > 0
                assert epoch[f"rgn/{name}"] > 0
                assert epoch[f"change/{name}"] >= 0


def test_the_resolved_file_is_sound_as_it_is(swept: SweepFolder) -> None:
    assert main.main(["validate", str(swept.spec), "--set", "name=own-2"]) == 0


@pytest.mark.slow
def test_resume_uses_the_copy_and_no_other(swept: SweepFolder) -> None:
    del registry._REGISTRY["fair_share"]
    sys.modules.pop("raysel_code_my_strategy")
    storage = str(swept.path.parent)
    outcome = resume(storage, "own", Silent(), publish_nothing)
    assert outcome.complete
    assert "fair_share" in registered()
    copy = swept.code / "my_strategy.py"
    text = copy.read_text()
    copy.write_text(text + "\n")
    with pytest.raises(UserError, match=r"^code_files.0: .*my_strategy.py has changed since"):
        resume(storage, "own", Silent(), publish_nothing)
    copy.write_text(text)
    assert reader.load(swept.spec).listed_code[0].path == "code/my_strategy.py"

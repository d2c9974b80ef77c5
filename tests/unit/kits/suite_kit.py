"""A suite's folder with cells of which some have begun."""

from __future__ import annotations

from pathlib import Path

from view_kit import make

from raysel.record.events import Event
from raysel.record.layout import SweepFolder
from raysel.spec.reader import SweepFile
from raysel.spec.suite import read_suite
from raysel.sweep.start_suite import stored
from raysel.sweep.suite_folder import StoredSuite, write_suite

FILE = """\
name: {name}
task: {{data: digits}}
model: {{name: resnet10t}}
strategies: {{full: }}
axes: {{training.shots: [3, 5]}}
"""


def suite_of(name: str = "table") -> StoredSuite:
    """The cells `shots3` and `shots5`."""
    suite = read_suite(SweepFile("suite.yaml", FILE.format(name=name)))
    return stored(suite, [cell.spec for cell in suite.cells])


def make_suite(storage: Path, name: str = "table") -> SweepFolder:
    """A suite of which no cell has begun."""
    folder = SweepFolder.of(str(storage), name)
    folder.path.mkdir(parents=True)
    write_suite(folder, suite_of(name))
    return folder


def begin(storage: Path, cell: str, *events: Event) -> SweepFolder:
    """A cell with a record of these events."""
    return make(storage, f"table/{cell}", *events)

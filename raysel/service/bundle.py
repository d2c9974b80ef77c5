"""The files that a job sends to the cluster: named files and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import raysel
from raysel.common.errors import user_error
from raysel.common.user_files import irregular
from raysel.record.layout import CODE
from raysel.service.sent_file import SentFile
from raysel.spec import user_code
from raysel.spec.suite import Suite
from raysel.spec.sweep import Spec

SWEEP_FILE = "sweep.yaml"
LIMIT = 90 * 2**20
"""Bytes. Ray's dashboard refuses a request of more than 100 MiB."""

_LEFT_OUT = ("__pycache__",)


@dataclass(frozen=True)
class Bundle:
    """The job's working folder.

    Attributes:
        texts: path -> content of the sweep file and of the user's code.
        included: path -> the file on this machine, for files given by --include.
    """

    texts: Mapping[str, str]
    included: Mapping[str, Path]

    def write(self, folder: Path) -> None:
        """Lay the files out below an empty folder."""
        for path, text in self.texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        for path, file in self.included.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.read_bytes())

    def sizes(self) -> dict[str, int]:
        """Path -> bytes."""
        texts = {path: len(text.encode()) for path, text in self.texts.items()}
        return texts | {path: file.stat().st_size for path, file in self.included.items()}


def bundle(spec: Spec, include: Sequence[Path] = ()) -> Bundle:
    """The files of a sweep.

    Args:
        spec: its code files by a path that is valid here.
        include: files and folders below the present folder, which keep their place.

    Raises:
        UserError: a file is not there or lies elsewhere.
    """
    sources = user_code.read(spec.listed_code, Path())
    there = user_code.located(spec, sources, CODE)
    return _bundle(SentFile.of_sweep(there), sources, include)


def suite_bundle(suite: Suite, include: Sequence[Path] = ()) -> Bundle:
    """The files of a suite whose code files have a path that is valid here; as in `bundle`."""
    sources = user_code.read(suite.cells[0].spec.listed_code, Path())
    return _bundle(SentFile.of_suite(suite, sources), sources, include)


def _bundle(file: SentFile, sources: Sequence[user_code.Source], include: Sequence[Path]) -> Bundle:
    texts = {SWEEP_FILE: file.text} | {f"{CODE}/{s.name}": s.text for s in sources}
    return Bundle(texts, dict(_named(include)))


def _named(include: Iterable[Path]) -> Iterable[tuple[str, Path]]:
    here = Path.cwd()
    for path in include:
        if not path.exists():
            raise user_error("--include", f"there is no {path}")
        if not path.resolve().is_relative_to(here.resolve()):
            raise user_error("--include", f"{path} is not below this folder; go to one above it")
        if not path.is_dir() and (kind := irregular(path)):
            raise user_error("--include", f"{path} is {kind} and no file or folder")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                yield str(file.absolute().relative_to(here)), file


def package_folder() -> Path:
    """The folder of raysel itself on this machine."""
    return Path(raysel.__file__).parent


def package_sizes() -> dict[str, int]:
    """Path -> bytes of raysel itself."""
    root = package_folder()
    return {
        str(file.relative_to(root.parent)): file.stat().st_size
        for file in root.rglob("*")
        if file.is_file() and not any(part in _LEFT_OUT for part in file.parts)
    }


def check_size(sizes: Mapping[str, int]) -> None:
    """Refuse a bundle that the cluster would refuse.

    Raises:
        UserError: the files are too large together; the ten largest are named.
    """
    total = sum(sizes.values())
    if total <= LIMIT:
        return
    largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:10]
    listed = ", ".join(f"{path} {_mib(sizes[path])}" for path in largest)
    raise user_error(
        "the bundle",
        f"has {_mib(total)} MiB, more than {_mib(LIMIT)}; the largest: {listed}. "
        "Put data where every node reads them",
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f}"

"""A place in an object store, `s3://…` or `gs://…`, by pyarrow's file systems.

A bucket has no rename and no lock, but an object is written whole or not at all. Credentials
are the machine's own (environment, configuration file, role); an address never holds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pyarrow import ArrowException, fs


@dataclass(frozen=True)
class Bucket:
    """A folder in a bucket. It travels to workers as its address; every call may raise
    OSError: the store does not answer, or refuses.

    Attributes:
        uri: `s3://bucket/folder`; Arrow's `?endpoint_override=…&scheme=…&region=…` may follow.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri.partition("?")[0]

    def below(self, name: str) -> Bucket:
        """A folder in this one."""
        parts = _parts(self.uri)
        return Bucket(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    @property
    def above(self) -> Bucket:
        """The folder that this one is in."""
        parts = _parts(self.uri)
        return Bucket(urlunsplit(parts._replace(path=parts.path.rpartition("/")[0])))

    def put(self, file: Path, name: str) -> None:
        """Write an object from a file."""
        store, path = self._opened
        with file.open("rb"):  # pyarrow does not report that it is missing
            pass
        _copy(str(file), f"{path}/{name}", fs.LocalFileSystem(), store)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write an object."""
        store, path = self._opened
        stream = store.open_output_stream(f"{path}/{name}")
        stream.write(content)
        stream.close()  # not where writing failed: closing would finish half an object

    def get(self, name: str, file: Path) -> None:
        """Read an object into a file, which is written whole or not at all.

        Raises:
            FileNotFoundError: there is no such object.
        """
        store, path = self._opened
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        try:
            _copy(f"{path}/{name}", str(partial), store, fs.LocalFileSystem())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def get_bytes(self, name: str) -> bytes | None:
        """An object's content; None if there is no such object."""
        store, path = self._opened
        try:
            with store.open_input_stream(f"{path}/{name}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def sizes(self) -> dict[str, int]:
        """The objects below this place, by their names from it: bytes."""
        store, path = self._opened
        chosen = fs.FileSelector(path, recursive=True, allow_not_found=True)
        return {
            info.path[len(path) + 1 :]: info.size or 0
            for info in store.get_file_info(chosen)
            if info.type == fs.FileType.File
        }

    def holding(self, name: str) -> list[str]:
        """The folders in this place that hold an object of that name, in alphabetical order."""
        store, path = self._opened
        folders = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        wanted = [f"{folder.path}/{name}" for folder in folders]
        found = store.get_file_info(wanted) if wanted else []
        there = [info.path for info in found if info.type == fs.FileType.File]
        return sorted(at.removesuffix(f"/{name}").rpartition("/")[2] for at in there)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        store, path = self._opened
        for name in names:
            try:
                store.delete_file(f"{path}/{name}")
            except FileNotFoundError:
                continue

    @property
    def _opened(self) -> tuple[Any, str]:
        parts = _parts(self.uri)
        # one connection for all folders of a bucket
        store = _opened(urlunsplit(parts._replace(path="")))
        return store, f"{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _parts(uri: str) -> SplitResult:
    """An object's name may hold a #: it begins nothing."""
    return urlsplit(uri, allow_fragments=False)


@lru_cache(maxsize=8)
def _opened(uri: str) -> Any:
    try:
        return fs.FileSystem.from_uri(uri)[0]
    except ArrowException as error:
        raise OSError(str(error)) from error


def _copy(source: str, target: str, origin: Any, store: Any) -> None:
    fs.copy_files(source, target, source_filesystem=origin, destination_filesystem=store)


def said(error: Exception) -> str:
    """What an object store says, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"

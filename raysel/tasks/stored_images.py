"""Pictures that lie within a larger file: members of an archive, rows of a table of bytes.

A picture is read when it is decoded, by its place in the file, from several threads at once;
nothing is unpacked.
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any


@dataclass(frozen=True)
class StoredImage(ABC):
    """One picture in a file.

    Attributes:
        file: the file that holds it.
        name: of the picture in it: a member's path, or a row's number.
    """

    file: Path
    name: str

    def __str__(self) -> str:
        return f"{self.file}/{self.name}"

    @property
    def suffix(self) -> str:
        """The ending of its name, where it has one."""
        return PurePosixPath(self.name).suffix

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The encoded picture.

        Raises:
            Exception: whatever its library raises where the file is damaged or gone.
        """

    def fingerprint(self) -> tuple[object, ...]:
        """What changes when the picture does, without reading it: the file's path, size and time,
        and its own name."""
        try:
            facts = self.file.stat()
        except OSError:
            return (str(self.file.absolute()), self.name, None, None)
        return (str(self.file.absolute()), self.name, facts.st_size, facts.st_mtime_ns)


@dataclass(frozen=True)
class ZipMember(StoredImage):
    """A member of a zip archive."""

    def read_bytes(self) -> bytes:
        """The member, unpacked; its checksum is verified."""
        return _zip(self.file, _stamp(self.file)).read(self.name)


@dataclass(frozen=True)
class FileSlice(StoredImage):
    """Bytes that lie in one piece in a file: a member of a tar archive that is not compressed, the
    picture of a record.

    Attributes:
        offset, size: where its bytes are.
    """

    offset: int = 0
    size: int = 0

    def read_bytes(self) -> bytes:
        """The piece."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise ValueError(f"{self.file.name} is truncated")
        return content


@dataclass(frozen=True)
class ParquetRow(StoredImage):
    """A row of a Parquet file, whose pictures are read a row group at a time.

    Attributes:
        group, row: number of its row group, and its place there.
        column: that of the pictures: bytes, or an object with `bytes`.
    """

    group: int = 0
    row: int = 0
    column: str = field(default="image")

    def read_bytes(self) -> bytes:
        """The picture's bytes."""
        with _ARROW:  # of several threads one reads, the others find it read
            values = _row_group(self.file, _stamp(self.file), self.group, self.column)
        return _bytes_of(values[self.row].as_py())


@dataclass(frozen=True)
class ArrowRow(StoredImage):
    """A row of an Arrow stream, as the library `datasets` keeps them, which is mapped into memory.

    Attributes:
        row: its number.
        column: that of the pictures: bytes, or an object with `bytes`.
    """

    row: int = 0
    column: str = field(default="image")

    def read_bytes(self) -> bytes:
        """The picture's bytes."""
        with _ARROW:
            table = arrow_stream(self.file)
        return _bytes_of(table.column(self.column)[self.row].as_py())


def _bytes_of(cell: Any) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None:
        raise ValueError("the row holds no bytes")
    return bytes(content)


_ARROW = Lock()


@lru_cache(maxsize=4)
def _zip(file: Path, stamp: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(file)


@lru_cache(maxsize=2)
def _row_group(file: Path, stamp: int, group: int, column: str) -> Any:
    """The pictures of a row group, as Arrow has them."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow)

    with pq.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(0).combine_chunks()


def arrow_stream(file: Path) -> Any:
    """The table of an Arrow stream, whose memory is the file's."""
    return _arrow_stream(file, _stamp(file))


@lru_cache(maxsize=64)
def _arrow_stream(file: Path, stamp: int) -> Any:
    import pyarrow as pa  # noqa: PLC0415  (slow)

    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def _stamp(file: Path) -> int:
    """A file that is written anew is opened anew."""
    return file.stat().st_mtime_ns

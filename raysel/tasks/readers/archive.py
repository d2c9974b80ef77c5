"""Class folders, or samples, in a zip or tar archive, which is read where it lies: nothing is
unpacked. Samples are webdataset's: files of one name, `0001.jpg` with `0001.cls` or `0001.json`.
"""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from raysel.common.errors import user_error
from raysel.common.text import quoted
from raysel.common.user_files import any_error_as
from raysel.tasks.class_names import check_count, check_names, listed, normalised
from raysel.tasks.folder_hints import no_picture, refuse_masks
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import (
    BESIDE,
    LeftOutFiles,
    reason_to_leave_out,
    reason_to_skip_folder,
)
from raysel.tasks.readers.samples import has_samples, refuse_dotted, samples
from raysel.tasks.splits import POOL_OF_FOLDER, Pool
from raysel.tasks.stored_images import FileSlice, StoredImage, ZipMember

ENDINGS = (".zip", ".tar")
_UNPACK = "unpack it, and give the folder: task.data: {folder: PATH}"
_LINK = "a link to no file of the archive; unpack it, and give the folder"
_EARLIER = "an earlier member of the same name"
_Stored = TypeVar("_Stored", bound=StoredImage)


class _Picture(NamedTuple):
    """A picture of an archive and the parts of its path in it."""

    parts: tuple[str, ...]
    source: StoredImage


def archives(
    files: Sequence[Path], name: str, classes: Sequence[str] | None = None
) -> ImageDataset:
    """Read the names in archives of one data set; no picture is decoded.

    Args:
        files: zip and plain tar archives.
        name: of the data set.
        classes: names of the classes of samples, in the order of their numbers.

    Raises:
        UserError: one cannot be read, holds no picture, or they are not laid out in one way.
    """
    left_out = LeftOutFiles(files[0].parent)
    members = [member for file in files for member in _members(file, left_out)]
    if has_samples(members):
        return samples(files, members, name, classes)
    refuse_dotted(members)
    if classes is not None:
        message = f"{files[0]} holds class folders, which have names; leave it out"
        raise user_error("task.data.classes", message)
    found = [_Picture(_parts(m.name), m) for m in members if _is_picture(m, left_out)]
    where = str(files[0])
    if not found:
        what = no_picture(left_out) if members else "is empty"
        raise user_error("task.data", f"{where} {what}")
    return _class_folders(_below_common(found), where, name, left_out)


def _members(file: Path, left_out: LeftOutFiles) -> Iterable[StoredImage]:
    """Every file in an archive, by the head of a tar's members or the directory of a zip; of those
    of one name the last, as unpacking leaves it."""
    refused = any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}"))
    with refused:
        if file.suffix.lower() == ".zip":
            return _of_zip(file, left_out)
        with file.open("rb") as content:
            if content.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
                message = "is compressed: pictures are read by their places in a plain tar"
                raise user_error("task.data", f"{file} {message}; {_UNPACK}")
        return _of_tar(file, left_out)


def _of_zip(file: Path, left_out: LeftOutFiles) -> Iterable[StoredImage]:
    found: dict[str, StoredImage] = {}
    with zipfile.ZipFile(file) as opened:
        for entry in opened.infolist():
            if entry.flag_bits & 1:
                raise user_error("task.data", f"{file} is encrypted; {_UNPACK}")
            if not entry.is_dir():
                _place(found, ZipMember(file, entry.filename), left_out)
    return found.values()


def _of_tar(file: Path, left_out: LeftOutFiles) -> Iterable[StoredImage]:
    """A link is the file of the archive that it leads to."""
    found: dict[str, FileSlice] = {}
    links = []
    with tarfile.open(file, "r:") as tar:
        for member in tar:
            if member.isfile():
                here = FileSlice(file, member.name, member.offset_data, member.size)
                _place(found, here, left_out)
            elif member.issym() or member.islnk():
                links.append(member)
    by_place = {posixpath.normpath(name): member for name, member in found.items()}
    for link in links:
        beside = "" if link.islnk() else posixpath.dirname(link.name)
        target = by_place.get(posixpath.normpath(posixpath.join(beside, link.linkname)))
        if target is None:
            left_out.add(_LINK, Path(f"{file}/{link.name}"))
        else:
            here = FileSlice(file, link.name, target.offset, target.size)
            _place(found, here, left_out)
    return found.values()


def _place(found: dict[str, _Stored], member: _Stored, left_out: LeftOutFiles) -> None:
    """Take a member; an earlier one of its name goes."""
    if found.pop(member.name, None) is not None:
        left_out.add(_EARLIER, Path(str(member)))
    found[member.name] = member


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name.replace("\\", "/"))
    return tuple(part for part in path.parts if part not in ("/", "."))


def _is_picture(member: StoredImage, left_out: LeftOutFiles) -> bool:
    *folders, name = _parts(member.name)
    skipped = next((why for folder in folders if (why := reason_to_skip_folder(folder))), None)
    reason = skipped or reason_to_leave_out(Path(name))
    if reason:
        left_out.add(reason, Path(str(member)))
    return not reason


def _below_common(found: Sequence[_Picture]) -> list[_Picture]:
    """Without the folders that all pictures lie in, as long as folders are left below them."""
    pictures = list(found)
    while len({p.parts[0] for p in pictures}) == 1 and any(len(p.parts) > 2 for p in pictures):
        pictures = [p._replace(parts=p.parts[1:]) for p in pictures if len(p.parts) > 1]
    return pictures


def _class_folders(
    found: Sequence[_Picture], where: str, name: str, left_out: LeftOutFiles
) -> ImageDataset:
    pools = _pools(found, where)
    above = 1 if pools else 0  # folders above the classes
    rows: list[tuple[StoredImage, str, Pool]] = []
    inner: dict[str, set[str]] = {}
    for picture in found:
        if len(picture.parts) < above + 2:
            left_out.add(BESIDE, Path(str(picture.source)))
            continue
        label, *below = picture.parts[above:]
        rows.append((picture.source, normalised(label), pools.get(picture.parts[0], "train")))
        inner.setdefault(label, set()).update(below[:-1][:1])
    classes = sorted({label for _, label, pool in rows if pool == "train"})
    check_names(classes)
    if len(classes) < 2:
        check_count(where, classes, "Expected a folder a class, with pictures in each")
    refuse_masks(Path(where), classes)
    _refuse_nested(where, inner)
    if unknown := sorted({label for _, label, _ in rows} - set(classes)):
        message = f"{where}: {listed(unknown)} is in another part and not in the training part"
        raise user_error("task.data", message)
    rows.sort(key=lambda row: (row[2] != "train", row[2], row[1], row[0].name))
    return ImageDataset(
        name=name,
        classes=tuple(classes),
        labels=np.array([classes.index(label) for _, label, _ in rows], np.int64),
        sources=[source for source, _, _ in rows],
        official_splits=np.array([pool for _, _, pool in rows]) if pools else None,
        left_out=left_out.by_reason(),
    )


def _pools(found: Sequence[_Picture], where: str) -> dict[str, Pool]:
    """The part that each folder at the top is; empty where they are classes."""
    tops = sorted({picture.parts[0] for picture in found if len(picture.parts) > 1})
    pools = {top: POOL_OF_FOLDER[top.lower()] for top in tops if top.lower() in POOL_OF_FOLDER}
    deep = {picture.parts[0] for picture in found if len(picture.parts) > 2}
    if not set(pools) & deep:
        return {}
    if len(pools) < len(tops) or "train" not in pools.values():
        others = [top for top in tops if top not in pools]
        beside = f" beside {listed(others)}" if others else " and no train"
        message = f"{where} holds the parts {listed(list(pools))}{beside}: a part, or a class?"
        raise user_error(
            "task.data", f"{message} Name parts train, val and test, above the classes"
        )
    if len(set(pools.values())) < len(pools):
        raise user_error("task.data", f"{where}: {listed(list(pools))} name one part twice")
    return pools


def _refuse_nested(where: str, inner: dict[str, set[str]]) -> None:
    for label, folders in inner.items():
        if len(folders) > 1:
            message = f"{where}: class {quoted(label)} holds {len(folders)} folders of pictures"
            hint = "unpack it, and say what they are: task.data: {folder: PATH, nested: merge}"
            raise user_error(
                "task.data", f"{message}, {listed(sorted(folders))}; {hint} or nested: classes"
            )

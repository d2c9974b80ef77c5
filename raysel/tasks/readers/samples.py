"""webdataset's samples: the members of a tar whose names are alike up to the first dot.

A sample is a picture (`0001.jpg`) with its class: `0001.cls`, a number or a name, or `0001.json`,
an object with a key `label`, `class` or the like.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from raysel.common.errors import user_error
from raysel.common.text import and_more, quoted
from raysel.common.user_files import any_error_as
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import LeftOutFiles, is_image_name, reason_to_leave_out
from raysel.tasks.readers.file_patterns import pools_of_files
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.stored_images import StoredImage
from raysel.tasks.table_columns import other_task, usual_label

CLASS, OBJECT = "cls", "json"
_MOST_BYTES = 1_000_000


class _Sample(NamedTuple):
    """What belongs together, by its ending: `jpg`, `cls`."""

    key: str
    members: dict[str, StoredImage]

    @property
    def pictures(self) -> list[str]:
        """The endings of its pictures."""
        return [ending for ending in self.members if is_image_name(f"x.{ending}")]


def has_samples(members: Sequence[StoredImage]) -> bool:
    """Whether members are samples: a class lies beside a picture of its name. Objects beside the
    pictures of class folders are annotations of another kind."""
    found = [sample for sample in _samples(members) if sample.pictures]
    if any(CLASS in sample.members for sample in found):
        return True
    folders = {PurePosixPath(sample.key).parent for sample in found}
    return len(folders) == 1 and any(OBJECT in sample.members for sample in found)


def refuse_dotted(members: Sequence[StoredImage]) -> None:
    """Refuse classes whose names have further dots, `a.1.cls` beside `a.1.jpg`: webdataset's
    samples end at the first one.

    Raises:
        UserError: there is one.
    """
    for member in members:
        stem, _, ending = PurePosixPath(member.name).name.partition(".")
        if stem and ending.endswith(f".{CLASS}"):
            message = f"{quoted(member.name)}: a sample's name ends at its first dot"
            own = f"{stem}.{ending}".removesuffix(f".{CLASS}").replace(".", "_")
            hint = f"write no other dots, {own}.{CLASS} beside its picture"
            raise _refused(member.file, f"{message}, so that all of {quoted(stem)} are one; {hint}")


def samples(
    files: Sequence[Path],
    members: Sequence[StoredImage],
    name: str,
    classes: Sequence[str] | None = None,
) -> ImageDataset:
    """Read the classes of samples; no picture is decoded.

    Args:
        files: the archives, in their order.
        members: of all archives, in their order.
        name: of the data set.
        classes: their names, in the order of their numbers; those that occur, if nothing is given.

    Raises:
        UserError: a picture has no class or several pictures, or a class cannot be read.
    """
    left_out = LeftOutFiles(files[0].parent)
    found: list[StoredImage] = []
    labels: list[str] = []
    for sample in _samples(members):
        pictures = sample.pictures
        if not pictures:
            for member in sample.members.values():
                reason = reason_to_leave_out(Path(member.name)) or "without a picture"
                left_out.add(reason, Path(str(member)))
            continue
        if len(pictures) > 1:
            message = f"sample {sample.key} has several pictures ({and_more(pictures)})"
            hint = "masks and pairs are no single-label classification, one picture and its class"
            raise _refused(files[0], f"{message}; {hint}")
        found.append(sample.members[pictures[0]])
        labels.append(_label(sample.members[pictures[0]].file, sample, pictures[0]))
    pools = pools_of_files(files)
    of_file = dict(zip(files, pools or (), strict=bool(pools)))
    return labelled(
        name,
        str(files[0]),
        found,
        labels,
        classes,
        pools=[of_file[source.file] for source in found] if pools else None,
        notes=(f"classes are those of the samples of {and_more([f.name for f in files])}",),
        left_out=left_out.by_reason(),
    )


def _samples(members: Sequence[StoredImage]) -> list[_Sample]:
    by_key: dict[tuple[Path, str], dict[str, StoredImage]] = defaultdict(dict)
    for member in members:
        path = PurePosixPath(member.name)
        stem, _, ending = path.name.partition(".")
        if stem and ending:
            by_key[member.file, str(path.with_name(stem))][ending.lower()] = member
    return [_Sample(key, found) for (_, key), found in by_key.items()]


def _label(where: Path, sample: _Sample, picture: str) -> str:
    kind = next((kind for kind in (CLASS, OBJECT) if kind in sample.members), None)
    if kind is None:
        name = f"{sample.key}.{picture}"
        if "/" in sample.key:
            folder = sample.key.split("/")[0]
            message = "holds samples (a picture with a .cls or .json) beside a folder of pictures"
            raise _refused(where, f"{message}, {quoted(folder)}: two layouts; make two archives")
        raise _refused(where, f"{quoted(name)} has no {sample.key}.cls and no {sample.key}.json")
    member = sample.members[kind]
    with any_error_as(lambda why: _refused(where, f"{quoted(member.name)} cannot be read: {why}")):
        text = member.read_bytes()[:_MOST_BYTES].decode("utf-8").strip()
        if kind == CLASS:
            return text
        value = json.loads(text)
    if not isinstance(value, dict):
        value = {"label": value}
    key = usual_label(list(value))
    if key is None:
        message = f"{quoted(member.name)} has no key label"
        raise _refused(where, f"{message}; {other_task(list(value))}")
    given = value[key]
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _refused(where: Path, message: str) -> Exception:
    return user_error("task.data", f"{where}: {message}")

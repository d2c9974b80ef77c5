"""What is wrong with a folder that holds no classes of pictures, or other than it seems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from raysel.common.errors import user_error
from raysel.common.text import quoted
from raysel.tasks.class_names import listed
from raysel.tasks.file_kinds import is_table_name, remedy
from raysel.tasks.image_files import LeftOutFiles, images_below, images_in, subfolders
from raysel.tasks.splits import POOL_OF_FOLDER

_ANNOTATIONS = frozenset({".json", ".xml"})
_IMAGES = frozenset({"image", "images", "img", "imgs", "jpegimages", "photos"})
_MASKS = frozenset(
    {"mask", "masks", "annotation", "annotations", "annots", "segmentation", "segmentationclass"}
)
_SHOWN = 3


def no_picture(there: LeftOutFiles) -> str:
    """What is in a class folder that holds no picture."""
    endings = there.endings()
    if not endings:
        out = next(iter(there.by_reason()), None)
        if out is None:
            return "is empty"
        files = f"{out.count:,} file{'s' * (out.count > 1)} {out.reason}"
        return f"holds no picture but {files}, {out.examples[0]}"
    todo = remedy(endings)
    return f"holds no picture but {_counted(endings)}{f' ({todo})' if todo else ''}"


def what_lies_in(folder: Path) -> str:
    """What is in a folder that should hold classes, and how it is read; else nothing."""
    if tables := _tables(folder):
        return f"; a table is given as task.data: {{csv: {tables[0]}}}"
    there = LeftOutFiles(folder)
    pictures = images_in([folder], there)
    endings = there.endings() + Counter(path.suffix.lower() for path in pictures)
    if not endings:
        return ""
    if boxes := _boxes(folder.parent):
        return f". {boxes}"
    todo = remedy(endings)
    return f". It contains {_counted(endings)}{f' ({todo})' if todo else ''}"


def one_class_hint(root: Path, part: Path, only: Path) -> str:
    """What may have been meant by a folder with a single class."""
    below = [path for path in subfolders(only) if _holds_pictures(path)]
    if len(below) > 1 or any(path.name.lower() in POOL_OF_FOLDER for path in below):
        return f"Did you mean task.data: {{folder: {only}}}?"
    if tables := [*_tables(root), *_tables(part), *_tables(only)]:
        return f"A table is given as task.data: {{csv: {tables[0]}, root: {only}}}"
    beside = [*root.iterdir(), *only.iterdir()]
    notes = sorted(path.name for path in beside if path.suffix.lower() in _ANNOTATIONS)
    if notes:
        message = f"Annotations such as {quoted(notes[0])} are not read"
        return f"{message}; write a table with the columns file and label: task.data: {{csv: PATH}}"
    return ""


def refuse_nested(part: Path, folder: Path, pictures: Sequence[Path]) -> list[str]:
    """Refuse a class folder with several folders of pictures, which may be classes or parts.

    Returns:
        A note where there is one alone, whose pictures are the class's.

    Raises:
        UserError: there are several.
    """
    inner = sorted(
        {path.relative_to(folder).parts[0] for path in pictures if path.parent != folder}
    )
    parts = [name for name in inner if name.lower() in POOL_OF_FOLDER]
    if len(parts) > 1:
        wanted = f"{part}/{parts[0]}/{folder.name}"
        message = f"class folder {folder} holds the parts {listed(parts)}"
        if boxes := _boxes(folder):
            raise user_error("task.data", f"{message}. {boxes}")
        raise user_error("task.data", f"{message}; parts must be above the classes: {wanted}")
    if len(inner) > 1:
        example = f"{folder.name}/{inner[0]}"
        message = f"class folder {folder} holds {len(inner)} folders of pictures: {listed(inner)}"
        hint = (
            f"write task.data: {{folder: …, nested: merge}} if all are pictures of"
            f" {quoted(folder.name)}, nested: classes if each is a class ({quoted(example)})"
        )
        raise user_error("task.data", f"{message}; {hint}")
    if not inner:
        return []
    return [f"pictures in {folder / inner[0]} are taken for pictures of {quoted(folder.name)}"]


def refuse_masks(root: Path, classes: Sequence[str]) -> None:
    """Refuse a folder of images and a folder of masks, which are no classes.

    Raises:
        UserError: it is that.
    """
    names = {name.casefold() for name in classes}
    if len(names) == 2 and names & _IMAGES and names & _MASKS:
        message = f"{root} holds {listed(classes)}, which look like images and their annotations"
        raise user_error("task.data", f"{message}; raysel does single-label classification only")


def _boxes(images: Path) -> str:
    """That the folder `labels` beside a folder of pictures holds a detector's boxes (YOLO's
    layout, a text file a picture); else nothing."""
    labels = images.parent / "labels"
    if images.name.casefold() not in _IMAGES or not labels.is_dir():
        return ""
    there = LeftOutFiles(labels)
    if images_below(labels, there) or set(there.endings()) != {".txt"}:
        return ""
    todo = "cut the objects out into a folder a class"
    return f"{labels} holds boxes for a detector; raysel does single-label classification: {todo}"


def _counted(endings: Counter[str]) -> str:
    """Files by their endings: `12 files ".heic"`."""
    counted = [
        f"{count} {'file' if count == 1 else 'files'} {quoted(end) if end else 'of no ending'}"
        for end, count in endings.most_common(_SHOWN)
    ]
    return ", ".join(counted) + (" and others" if len(endings) > _SHOWN else "")


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_table_name(path))


def _holds_pictures(folder: Path) -> bool:
    """Whether there is a picture in it or one folder below, which may be a class's."""
    return bool(images_in([folder, *subfolders(folder)], LeftOutFiles(folder)))

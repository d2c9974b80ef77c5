"""Data sets of the Hugging Face hub (`hfds/OWNER/NAME`), read through its library `datasets` (the
extra `hub`), which fetches them once and keeps them as Arrow files. Pictures are decoded from these
where they lie; nothing of the library is needed for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.common.user_files import any_error_as
from raysel.spec.data_choice import HubData
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.byte_columns import Cells, asked_columns, byte_columns, features_of
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.readers.published_parts import pools_of_splits
from raysel.tasks.splits import Pool
from raysel.tasks.stored_images import ArrowRow, StoredImage, arrow_stream

_INSTALL = 'pip install "raysel[hub]" brings the library that reads the hub\'s data sets'


def missing(data: HubData) -> str | None:
    """Why the data set cannot be read without fetching it; None where it is in the cache."""
    if not _is_installed():
        return f"hfds/{data.hub}: {_INSTALL}"
    cached, folder = _cached(data), _cache()
    if not cached:
        return f"hfds/{data.hub} is not in the cache {folder}; {_how_to_fetch()}"
    if data.subset is not None and data.subset not in cached:
        there = f"{folder} has {and_more(cached)} of hfds/{data.hub}, not {data.subset}"
        return f"{there}; {_how_to_fetch()}"
    return None


def download_note(data: HubData) -> str | None:
    """What will be fetched at the start of a sweep; None where it is here, or cannot be."""
    if missing(data) is None or not _is_installed() or _is_offline():
        return None
    return f"hfds/{data.hub} will be downloaded into {_cache()} when the sweep starts"


def hub_pictures(data: HubData, download: bool) -> ImageDataset:
    """Read the labels of a data set of the hub; no picture is decoded.

    Args:
        download: fetch it where it is not in the cache.

    Raises:
        UserError: it is not there, no network reaches the hub, it has several subsets, no column
            of pictures or of labels, or a label is not one class (path `task.data`).
    """
    absent = missing(data)
    if absent is not None and (not download or not _is_installed()):
        raise user_error("task.data", absent)
    splits = _load(data, offline=absent is None)
    where = f"hfds/{data.hub}"
    pools, notes = pools_of_splits(where, list(splits))
    cells: Cells | None = None
    sources: list[Path | StoredImage] = []
    parts: list[Pool] = []
    for name, pool in pools.items():
        for file in splits[name]:
            found, rows = _read(where, file, data)
            if cells is None:
                cells = found
            else:
                cells.extend(found)
            sources += rows
            parts += [pool] * len(rows)
    assert cells is not None
    columns = cells.columns
    return labelled(
        *(data.hub.rpartition("/")[2], where, sources, cells.labels),
        data.classes or columns.classes,
        pools=parts if len(set(parts)) > 1 else None,
        notes=(columns.note, *notes),
        groups=cells.groups(),
    )


def _read(where: str, file: Path, data: HubData) -> tuple[Cells, list[Path | StoredImage]]:
    """The rows of one Arrow file. A picture that the library keeps as a file is that file."""
    with any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}")):
        table = arrow_stream(file)
        columns = byte_columns(where, table.schema, features_of(table.schema), asked_columns(data))
        cells = Cells(columns)
        cells.add(where, {name: table.column(name).to_pylist() for name in columns.read})
        paths = _paths(table.column(columns.image))
    rows: list[Path | StoredImage] = [
        Path(paths[row]) if row in paths else ArrowRow(file, f"{row}", row, columns.image)
        for row in range(table.num_rows)
    ]
    return cells, rows


def _paths(pictures: Any) -> Mapping[int, str]:
    """Row -> file, of the rows that have no bytes and name one."""
    import pyarrow as pa  # noqa: PLC0415  (slow)
    import pyarrow.compute as pc  # noqa: PLC0415

    if not pa.types.is_struct(pictures.type) or pictures.type.get_field_index("path") < 0:
        return {}
    without = pc.is_null(pc.struct_field(pictures, "bytes")).to_pylist()
    if not any(without):
        return {}
    paths = pc.struct_field(pictures, "path").to_pylist()
    return {row: paths[row] for row, is_empty in enumerate(without) if is_empty and paths[row]}


# --- the library -----------------------------------------------------------------------------


def _load(data: HubData, offline: bool) -> dict[str, list[Path]]:
    """The Arrow files of each split."""
    import datasets  # noqa: PLC0415  (the extra `hub`; slow)

    where = f"hfds/{data.hub}"
    if offline and data.subset is None and len(several := _cached(data)) > 1:
        message = f"{where} has several subsets, {and_more(several)}"
        raise user_error("task.data", f"{message}; write task.data: {{hub: {data.hub}, subset: …}}")
    with any_error_as(lambda why: user_error("task.data", f"{where} cannot be read: {why}")):
        try:
            with _quiet_and(offline or _is_offline()):
                # by its address: a folder of that name in the working folder is none of it
                found = datasets.load_dataset(f"hf://datasets/{data.hub}", data.subset)
        except ConnectionError:
            why = "HF_HUB_OFFLINE is set" if _is_offline() else "no network reaches the hub"
            hint = f"fetch it where there is one and bring its cache, {_cache()}"
            raise user_error("task.data", f"{where} is not here, and {why}; {hint}") from None
    files = {
        str(name): [Path(file["filename"]) for file in split.cache_files]
        for name, split in found.items()
        if len(split)
    }
    if not any(files.values()):
        raise user_error("task.data", f"{where} has no rows")
    return files


@contextmanager
def _quiet_and(offline: bool) -> Iterator[None]:
    """Without the library's warnings and bars, and, if wanted, without asking the hub for a newer
    version of what is here: a sweep reads the same data set each time."""
    import datasets  # noqa: PLC0415
    from huggingface_hub.utils import logging  # noqa: PLC0415

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline
    datasets.logging.set_verbosity(datasets.logging.ERROR)
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _is_installed() -> bool:
    """Whether the library is there, and not a folder `datasets` in the working folder alone."""
    with suppress(ModuleNotFoundError):
        return find_spec("datasets.config") is not None
    return False


def _cache() -> Path:
    import datasets  # noqa: PLC0415

    return Path(datasets.config.HF_DATASETS_CACHE).expanduser()


def _cached(data: HubData) -> list[str]:
    """The subsets of the data set that are in the cache, as the library names its folders."""
    from datasets.naming import camelcase_to_snakecase  # noqa: PLC0415

    *owner, name = data.hub.split("/")
    folder = _cache() / "___".join([*owner, camelcase_to_snakecase(name)])
    return sorted({path.parts[-4] for path in folder.glob("*/*/*/dataset_info.json")})


def _is_offline() -> bool:
    import datasets  # noqa: PLC0415

    return bool(datasets.config.HF_HUB_OFFLINE)


def _how_to_fetch() -> str:
    if _is_offline():
        return "HF_HUB_OFFLINE is set, so that it cannot be fetched either"
    return "task.download: true fetches it"

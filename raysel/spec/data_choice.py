"""The `data` of a task: by name, or the folder, table, file or function that has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)

from raysel.spec.values import (
    A_CUE,
    A_DATA_FILE,
    A_FOLDER,
    A_FUNCTION,
    A_HUB_ID,
    A_TABLE,
    A_TFDS_NAME,
    A_VALUE,
    FrozenModel,
    LocalPath,
    OneLine,
    StrictFloat,
    not_empty,
)

Nested = Literal["merge", "classes"]
"""What folders within class folders are."""


ClassNames = Annotated[tuple[OneLine, ...], AfterValidator(not_empty)]


def _listed(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


GroupColumns = Annotated[tuple[OneLine, ...], BeforeValidator(_listed), AfterValidator(not_empty)]


def _groups() -> Any:
    return Field(
        default=None,
        description="the column of groups whose errors are measured apart, or a list of columns"
        " whose combinations are the groups: [label, background]",
    )


class _Grouped(FrozenModel):
    """Data that had no groups before: without one, a file is written as it always was."""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        return {k: v for k, v in written.items() if k != "group_column" or v is not None}


class FolderData(_Grouped):
    """`{folder: PATH}`: image folders, a class each, with or without train and test folders."""

    folder: LocalPath = Field(
        description="PATH/<class>/*.jpg or PATH/{train,val,test,source}/<class>/*.jpg"
    )
    nested: Nested | None = Field(
        default=None,
        description="folders within class folders: merge (pictures of the class above) or classes"
        " (a class each, such as animals/cat); several are refused, if nothing is given",
    )
    group_column: GroupColumns | None = _groups()


class TableData(FrozenModel):
    """`{csv: PATH}`: a table with a column of files and one of labels, perhaps one of parts."""

    csv: LocalPath = Field(
        description="the table: CSV with commas, semicolons, tabs or bars, or JSON lines"
    )
    file_column: OneLine | None = Field(
        default=None,
        description="the column of files; by its name (file, file_name, path, image, id …), if"
        " nothing is given",
    )
    label_column: OneLine | None = Field(
        default=None,
        description="the column of labels; by its name (label, class, category …), or columns of 0"
        " and 1 with a single 1 a row, if nothing is given",
    )
    group_column: GroupColumns | None = _groups()
    ending: OneLine | None = Field(
        default=None, description="of the files, such as .jpg, where the table leaves it out"
    )
    root: LocalPath | None = Field(
        default=None,
        description="the folder that its files are relative to; the table's, if nothing is given",
    )
    classes: ClassNames | None = Field(
        default=None,
        description="names of the classes, in the order of their numbers; labels that look like"
        " several are names where they are listed here",
    )


class FileData(_Grouped):
    """`{file: PATH}`: pictures within a file, or within several that a pattern names."""

    file: LocalPath = Field(
        description="an archive (.zip, .tar) of class folders or of webdataset's samples, Parquet"
        " with bytes of pictures, or .npz of arrays; several: train-*.parquet, shard-{000..009}.tar"
    )
    image_column: OneLine | None = Field(
        default=None, description="of Parquet: the pictures' column; found, if nothing is given"
    )
    label_column: OneLine | None = Field(
        default=None, description="of Parquet: the labels' column; found, if nothing is given"
    )
    group_column: GroupColumns | None = _groups()
    classes: ClassNames | None = Field(
        default=None,
        description="names of the classes, in the order of their numbers; not of class folders",
    )


class _LibraryData(FrozenModel):
    """Pictures and labels in the columns of a data set that is kept by another library."""

    image_column: OneLine | None = Field(
        default=None, description="the pictures' column; found, if nothing is given"
    )
    label_column: OneLine | None = Field(
        default=None, description="the labels' column; found, if nothing is given"
    )
    group_column: GroupColumns | None = _groups()
    classes: ClassNames | None = Field(
        default=None, description="names of the classes, in the order of their numbers"
    )


def _hub_id(text: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", text, re.ASCII):
        raise ValueError("give OWNER/NAME, the end of the data set's address on the hub")
    return text


class HubData(_LibraryData):
    """`hfds/OWNER/NAME` or `{hub: OWNER/NAME}`: a data set of the Hugging Face hub."""

    hub: Annotated[OneLine, AfterValidator(_hub_id)] = Field(
        description="OWNER/NAME; read from the cache of the library datasets, and fetched into it"
        " with task.download: true"
    )
    subset: OneLine | None = Field(
        default=None, description="which one of a data set in several (its configuration)"
    )


def _tfds_name(text: str) -> str:
    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", text, re.ASCII):
        raise ValueError("give NAME, NAME/CONFIG or NAME/CONFIG:1.0.0, as TensorFlow Datasets does")
    return text


class TfdsData(_LibraryData):
    """`tfds/NAME` or `{tfds: NAME}`: a data set that TensorFlow Datasets has prepared here."""

    tfds: Annotated[OneLine, AfterValidator(_tfds_name)] = Field(
        description="NAME, NAME/CONFIG or NAME/CONFIG:1.0.0, below $TFDS_DATA_DIR or"
        " ~/tensorflow_datasets; TensorFlow is not needed to read it"
    )


class FunctionData(FrozenModel):
    """`{function: NAME}`: what a function of one of `code_files` returns."""

    function: OneLine = Field(
        description="a function without arguments in a file of code_files; it returns the pictures'"
        " paths, their labels, and perhaps the part of each (train, val, test)"
    )
    classes: ClassNames | None = Field(
        default=None, description="names of the classes, in the order of their numbers"
    )


_FILE_ENDINGS = (".zip", ".tar", ".parquet", ".npz")
_TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")


def _by_string(value: Any) -> Any:
    """A path in the place of a data set's name, by its ending or its slash."""
    if not isinstance(value, str) or not value:
        return value
    lower = value.lower()
    if lower.endswith(_FILE_ENDINGS):
        return {"file": value}
    if lower.endswith(_TABLE_ENDINGS):
        return {"csv": value}
    for prefix, key in (("hfds/", "hub"), ("tfds/", "tfds")):  # timm's names of such data sets
        if value.startswith(prefix):
            return {key: value.removeprefix(prefix)}
    if "/" in value:
        return {"folder": value}
    return value


class ColouredDigits(FrozenModel):
    """`{coloured_digits: SHARE}`: digits whose colour gives the class away in the source."""

    coloured_digits: Annotated[StrictFloat, Field(ge=0.5, le=1)] = Field(
        description="share of the source's digits that have their class's colour: 0.5 no cue, 1 a"
        " cue without exception; the target has every combination alike"
    )


def _kind_of_data(value: Any) -> str:
    """Which member of the union is meant, so that a mistake in it is reported once."""
    for model, key, tag in (
        (FolderData, "folder", A_FOLDER),
        (TableData, "csv", A_TABLE),
        (ColouredDigits, "coloured_digits", A_CUE),
        (FileData, "file", A_DATA_FILE),
        (FunctionData, "function", A_FUNCTION),
        (HubData, "hub", A_HUB_ID),
        (TfdsData, "tfds", A_TFDS_NAME),
    ):
        if isinstance(value, model) or (isinstance(value, Mapping) and key in value):
            return tag
    return "an unknown source of data" if isinstance(value, Mapping) else A_VALUE


DataChoice = Annotated[
    Annotated[OneLine, Tag(A_VALUE)]
    | Annotated[FolderData, Tag(A_FOLDER)]
    | Annotated[TableData, Tag(A_TABLE)]
    | Annotated[ColouredDigits, Tag(A_CUE)]
    | Annotated[FileData, Tag(A_DATA_FILE)]
    | Annotated[FunctionData, Tag(A_FUNCTION)]
    | Annotated[HubData, Tag(A_HUB_ID)]
    | Annotated[TfdsData, Tag(A_TFDS_NAME)],
    Discriminator(_kind_of_data),
    BeforeValidator(_by_string),
]

LibraryData = HubData | TfdsData
"""Published pictures that another library keeps on this machine."""

PictureData = FolderData | TableData | FileData | FunctionData | LibraryData
"""Pictures of one's own, or that another library keeps."""


def name_of(data: DataChoice) -> str:
    """The data set as one word: its name, or that of its folder or table."""
    if isinstance(data, FolderData):
        return Path(data.folder).name
    if isinstance(data, TableData):
        return Path(data.csv).name
    if isinstance(data, FileData):
        return Path(data.file).name
    if isinstance(data, HubData):
        return data.hub.rpartition("/")[2]
    if isinstance(data, TfdsData):
        return re.split("[/:]", data.tfds)[0]
    if isinstance(data, FunctionData):
        return data.function
    return "coloured_digits" if isinstance(data, ColouredDigits) else data

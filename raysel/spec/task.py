"""The `task` of a sweep file: which data, which shift, which examples belong to which part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from raysel.spec.data_choice import DataChoice, LibraryData, PictureData, name_of
from raysel.spec.values import (
    LARGEST_WHOLE,
    FrozenModel,
    LocalPath,
    OneLine,
    PositiveWhole,
    Seed,
    StrictBool,
    StrictFloat,
    StrictInt,
)


class ShiftSpec(FrozenModel):
    """How the target differs from the source."""

    kind: OneLine = Field(default="none", description="name of the shift: none, gaussian_noise, …")
    severity: Annotated[StrictInt, Field(ge=1, le=5)] = Field(
        default=5,
        description="1 mild … 5 strong, as published; 1 to 4 of some corruptions are raysel's",
    )


ALL = "all"
"""Every example of the pool that the other parts leave."""


def _one_for_all(value: Any) -> Any:
    """Refuse a distribution: the parts are decoded once for all trials of a node."""
    if isinstance(value, Mapping):
        raise ValueError(
            "the parts are the same for every trial; trials that train on fewer examples of"
            " each class: training.shots"
        )
    return value


def _size(value: Any) -> Any:
    if value is None or _one_for_all(value) == ALL:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int) and 0 < value <= LARGEST_WHOLE:
            return value
        if isinstance(value, float) and 0 < value < 1:
            return value
    raise ValueError("give a number of examples, a share between 0 and 1, or all")


PartSize = Annotated[int | float | Literal["all"] | None, BeforeValidator(_size)]
"""Examples of a part: a number, a share of the pool that it is drawn from, or `all`; None
where the file says nothing."""

DEFAULT_SIZES: dict[str, int] = {"train": 200, "validation": 200, "test": 400}
"""Examples of a part that the file leaves out and the data set does not have of its own."""


def _part(name: str) -> Any:
    return Field(
        default=None,
        description=f"a number, a share (0.2), or all; left out: the data set's own {name} part as"
        f" a whole, {DEFAULT_SIZES[name]} where it has none",
    )


class SplitSpec(FrozenModel):
    """How many target examples each part gets; stratified and disjoint."""

    train: PartSize = _part("train")
    shots: Annotated[PositiveWhole | None, BeforeValidator(_one_for_all)] = Field(
        default=None, description="so many training examples of each class, in place of train"
    )
    validation: PartSize = _part("validation")
    test: PartSize = _part("test")
    seed: Seed = 0
    official: StrictBool = Field(
        default=True,
        description="the parts that the data set has of its own are kept: validation and test are"
        " taken whole unless a number is given, a share is one of the training part; false merges"
        " them before splitting",
    )
    indices: LocalPath | None = Field(
        default=None, description="a split.json of another run: its very examples, no sizes"
    )

    @model_validator(mode="after")
    def _check(self) -> SplitSpec:
        if self.shots is not None and self.train is not None:
            raise ValueError("give train or shots, not both")
        return self

    @model_serializer(mode="wrap")
    def _to_file(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the sizes that something else stands for, so that the file can be read back."""
        file: dict[str, Any] = handler(self)
        if self.shots is not None:
            del file["train"]
        return file


Duplicates = Literal["error", "drop", "keep"]
PUBLISHED_NAMES = (
    *("flowers102", "flowers102_all", "pets", "dtd", "aircraft", "food101", "sun397"),
    *("cifar10", "cifar100", "caltech101"),
)
"""Published data sets of pictures that carry no shift of their own."""

Augmentation = Literal["none", "flip", "random_crop", "random_resized_crop"]
AutoAugment = Literal["none", "rand_augment", "trivial_augment"]
Preprocess = Literal["model", "unit", "data"]


class TaskSpec(FrozenModel):
    """What is learnt."""

    data: DataChoice = Field(
        description="name of a data set, {folder: PATH}, {csv: PATH}, {file: PATH}, or the path"
        " alone; hfds/OWNER/NAME, tfds/NAME, {function: NAME} or {coloured_digits: SHARE}"
    )
    root: LocalPath = Field(default="data", description="the folder of the published data sets")
    download: StrictBool = Field(
        default=False,
        description="fetch a published data set into root, one of the hub into its cache",
    )
    image_size: Annotated[StrictInt, Field(gt=0, le=8192)] | None = Field(
        default=None, description="pixels a side; the model's own, if nothing is given"
    )
    augmentation: Augmentation = Field(
        default="none",
        description="of the training images, again in every epoch: flip, random_crop (padded by an"
        " eighth, and flip), random_resized_crop (and flip)",
    )
    auto_augment: AutoAugment = Field(
        default="none",
        description="of the target's training images, after augmentation: torchvision's"
        " RandAugment (two operations of magnitude 9) or TrivialAugmentWide (one of any)",
    )
    preprocess: Preprocess | None = Field(
        default=None,
        description="model: the mean and deviation in timm's data config; unit: plain [0, 1];"
        " data: those of the source's training part. Pictures: model; embedded data: data",
    )
    max_unreadable_fraction: Annotated[StrictFloat, Field(ge=0, lt=1)] = Field(
        default=0.01, description="share of unreadable images above which nothing is started"
    )
    duplicates: Duplicates | None = Field(
        default=None,
        description="one picture in several places, found by the hash of its decoded pixels."
        " error: refused across parts or with two labels, reported within one; drop: kept once, in"
        " test before validation before train before source; keep: reported. Left out: keep for a"
        " data set known by name, whose published parts are compared by; else error",
    )
    cache: LocalPath | None = Field(
        default=None,
        description="folder of the decoded images on each node; below the user's cache folder,"
        " if nothing is given",
    )
    source: PositiveWhole | None = Field(
        default=None, description="examples of the source part; all that the target leaves"
    )
    shift: ShiftSpec = ShiftSpec()
    split: SplitSpec = SplitSpec()

    @property
    def default_weights(self) -> Literal["source", "pretrained"]:
        """What the model starts from where the file does not say: timm's weights on pictures
        without a shift; else what is trained on the source part, from which the target differs."""
        pictures = isinstance(self.data, PictureData) or self.data in PUBLISHED_NAMES
        return "pretrained" if pictures and self.shift.kind == "none" else "source"

    @property
    def duplicates_policy(self) -> Duplicates:
        """What is done where one picture is found in several places."""
        if self.duplicates is not None:
            return self.duplicates
        return "keep" if isinstance(self.data, str | LibraryData) else "error"

    @property
    def name(self) -> str:
        """The data set as one word: its name, or that of its folder or table."""
        return name_of(self.data)

"""The values of a sweep file: plain ones, distributions to search, and either.

A union reports an error once for every member that does not match, so for each union here a
function says which member is meant, and a mistake is reported once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)

from raysel.common.paths import path_problem, plain
from raysel.spec import yaml_core


class FrozenModel(BaseModel):
    """A value object of the sweep file: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


# --- plain values -------------------------------------------------------------------------
# Strict, because pydantic would read `true` as 1 and "3" as 3.

LARGEST_REAL = 1e30
LARGEST_WHOLE = 2**31 - 1
LARGEST_SEED = 2**32 - 1
"""The largest that NumPy's older generators, and so Optuna's samplers, take."""

MOST_STEPS = 1_000_000
"""From one end of a range of real numbers to the other."""

StrictFloat = Annotated[
    float, Strict(), Field(allow_inf_nan=False, ge=-LARGEST_REAL, le=LARGEST_REAL)
]
PositiveReal = Annotated[StrictFloat, Field(gt=0)]
NonNegativeReal = Annotated[StrictFloat, Field(ge=0)]
Fraction = Annotated[StrictFloat, Field(ge=0, lt=1)]
StrictInt = Annotated[int, Strict(), Field(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
PositiveWhole = Annotated[StrictInt, Field(gt=0)]
Seed = Annotated[int, Strict(), Field(ge=0, le=LARGEST_SEED)]
Epochs = Annotated[StrictInt, Field(gt=0, le=100_000)]
Batch = Annotated[StrictInt, Field(gt=0, le=1_000_000)]
"""Examples, or batches, at a time."""
StrictBool = Annotated[bool, Strict()]


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("give one line without control characters")
    return text


def _local_path(text: str) -> str:
    if wrong := path_problem(text):
        raise ValueError(wrong)
    return plain(text)


LocalPath = Annotated[str, AfterValidator(_local_path)]
"""The path of a file or folder on this machine."""


OneLine = Annotated[str, Field(max_length=1000), AfterValidator(_one_line)]
"""A name, or whatever is on one line."""


def _plain(value: Any) -> Any:
    if isinstance(value, int | float) and not abs(value) <= LARGEST_REAL:
        raise ValueError(f"give a finite number, at most {LARGEST_REAL:g}")
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        each = yaml_core.in_a_line({"categorical": list(value)})
        raise ValueError(f"{each} tries each of them; layers that move together are joined by +")
    raise ValueError("give a number, a word, true or false")


def _two(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    raise ValueError("give [low, high]")


def not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator for lists."""
    if value:
        return value
    raise ValueError("give at least one")


def distinct(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator for lists without a value twice, of at least one."""
    for index, option in enumerate(not_empty(options)):
        if option in options[:index]:  # the search distinguishes options by ==, where 1 is true
            raise ValueError("an option is listed twice")
    return options


Scalar = Annotated[OneLine | bool | int | float, BeforeValidator(_plain)]


# --- values that may be searched -------------------------------------------------------


class FloatRange(FrozenModel):
    """`{float: [low, high], log: true}`: a real number, both ends included; `first` is the one to
    try first, in place of the strategy's published value."""

    bounds: Annotated[tuple[StrictFloat, StrictFloat], BeforeValidator(_two)] = Field(alias="float")
    log: StrictBool = False
    step: PositiveReal | None = None
    first: StrictFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_bounds(self.bounds, self.log, self.first)
        if self.log and self.step is not None:
            raise ValueError("log and step cannot be combined")
        low, high = self.bounds
        if self.step is not None and (high - low) / self.step > MOST_STEPS:
            raise ValueError(f"step: {self.step:g} makes more than {MOST_STEPS:,} values")
        return self


class IntRange(FrozenModel):
    """`{int: [low, high], step: 2}`: a whole number, both ends included; `first` as above."""

    bounds: Annotated[tuple[StrictInt, StrictInt], BeforeValidator(_two)] = Field(alias="int")
    log: StrictBool = False
    step: PositiveWhole = 1
    first: StrictInt | None = None

    @model_validator(mode="after")
    def _check(self) -> IntRange:
        _check_bounds(self.bounds, self.log, self.first)
        if self.log and self.step != 1:
            raise ValueError("log and step cannot be combined")
        return self


class Choice(FrozenModel):
    """`{categorical: [a, b]}`: one of the listed values."""

    options: Annotated[tuple[Scalar, ...], AfterValidator(distinct)] = Field(alias="categorical")


def _check_bounds(bounds: tuple[float, float], log: bool, first: float | None) -> None:
    low, high = bounds
    if not low <= high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs a positive lower bound, not {low:g}")
    if first is not None and not low <= first <= high:
        raise ValueError(f"first: {first:g} is outside [{low:g}, {high:g}]")


Distribution = FloatRange | IntRange | Choice
"""What a searched value is drawn from."""

# The tags name the members of every union below, for the messages of `reader`.
A_VALUE = "a value"
A_FLOAT_RANGE = "{float: [low, high]}"
AN_INT_RANGE = "{int: [low, high]}"
A_CHOICE = "{categorical: [a, b]}"
KEYS_BELOW = "keys below"
A_LIST = "a list"
A_FILE = "{path: FILE}"
A_FOLDER = "{folder: PATH}"
A_TABLE = "{csv: PATH}"
A_CUE = "{coloured_digits: SHARE}"
A_DATA_FILE = "{file: PATH}"
A_FUNCTION = "{function: NAME}"
A_HUB_ID = "{hub: OWNER/NAME}"
A_TFDS_NAME = "{tfds: NAME}"
A_PACKAGE = "{package: NAME}"
BY_VALUES = "{by: [NAME]}"

_TAG_OF_KEY = {"float": A_FLOAT_RANGE, "int": AN_INT_RANGE, "categorical": A_CHOICE}
_TAG_OF_TYPE: dict[type, str] = {
    FloatRange: A_FLOAT_RANGE,
    IntRange: AN_INT_RANGE,
    Choice: A_CHOICE,
}


def _arm(value: Any) -> str:
    """Which member of a union is meant, so that a mistake in it is reported once."""
    if isinstance(value, Mapping):
        named = (tag for key, tag in _TAG_OF_KEY.items() if key in value)
        return next(named, "an unknown distribution")
    return _TAG_OF_TYPE.get(type(value), A_VALUE)


_Value = TypeVar("_Value")
_FloatRange = Annotated[FloatRange, Tag(A_FLOAT_RANGE)]
_IntRange = Annotated[IntRange, Tag(AN_INT_RANGE)]
_Choice = Annotated[Choice, Tag(A_CHOICE)]

Searchable = Annotated[Annotated[_Value, Tag(A_VALUE)] | _Choice, Discriminator(_arm)]
"""A word of a fixed set, or a choice among several."""

SearchableReal = Annotated[
    Annotated[_Value, Tag(A_VALUE)] | _FloatRange | _Choice, Discriminator(_arm)
]
SearchableWhole = Annotated[
    Annotated[_Value, Tag(A_VALUE)] | _IntRange | _Choice, Discriminator(_arm)
]
ParameterValue = Annotated[
    Annotated[Scalar | None, Tag(A_VALUE)] | _FloatRange | _IntRange | _Choice,
    Discriminator(_arm),
]
"""A strategy's parameter: a constant, a distribution, or the word `search`."""

SEARCH = "search"
"""Stands for the range that the strategy itself declares."""

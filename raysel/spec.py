"""One YAML file is one sweep: the file as frozen types.

This module knows types only. Whether a strategy, a model or a layer exists is asked in
`raysel.validate`; what the distributions mean is said in `raysel.space`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_serializer,
    model_validator,
)

from raysel.errors import Problem, UserError, nearest, user_error


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


# --- values that may be searched -------------------------------------------------------


class FloatRange(_Frozen):
    """`{float: [low, high], log: true}`: a real number, both ends included."""

    bounds: tuple[float, float] = Field(alias="float")
    log: bool = False
    step: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_bounds(self.bounds, self.log)
        if self.log and self.step is not None:
            raise ValueError("log and step cannot be combined")
        return self


class IntRange(_Frozen):
    """`{int: [low, high], step: 2}`: a whole number, both ends included."""

    bounds: tuple[int, int] = Field(alias="int")
    log: bool = False
    step: PositiveInt = 1

    @model_validator(mode="after")
    def _check(self) -> IntRange:
        _check_bounds(self.bounds, self.log)
        if self.log and self.step != 1:
            raise ValueError("log and step cannot be combined")
        return self


class Choice(_Frozen):
    """`{categorical: [a, b]}`: one of the listed values."""

    options: tuple[str | bool | int | float, ...] = Field(alias="categorical", min_length=1)


def _check_bounds(bounds: tuple[float, float], log: bool) -> None:
    low, high = bounds
    if not low <= high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs a positive lower bound, not {low:g}")


Distribution = FloatRange | IntRange | Choice
"""What a searched value is drawn from."""

ParameterValue = FloatRange | IntRange | Choice | bool | int | float | str | list[str] | None
"""A strategy's parameter: a constant, a distribution, or the word `search`."""

SEARCH = "search"
"""Stands for the range that the strategy itself declares."""


# --- the parts of the file ----------------------------------------------------------------


class ShiftSpec(_Frozen):
    """How the target differs from the source."""

    kind: str = Field(default="none", description="name of the shift: none, gaussian_noise, …")
    severity: Annotated[int, Field(ge=1, le=5)] = Field(default=5, description="1 mild … 5 strong")


class SplitSpec(_Frozen):
    """How many target examples each part gets; stratified and disjoint."""

    train: PositiveInt = 200
    validation: PositiveInt = 200
    test: PositiveInt = 400
    seed: NonNegativeInt = 0


class TaskSpec(_Frozen):
    """What is learnt."""

    data: str = Field(description="name of a data set")
    source: PositiveInt | None = Field(
        default=None, description="examples of the source part; all that the target leaves"
    )
    shift: ShiftSpec = ShiftSpec()
    split: SplitSpec = SplitSpec()


class ModelSpec(_Frozen):
    """What is tuned."""

    name: str = Field(description="any timm model")
    weights: str = Field(
        default="source",
        description="source (train on the source part), pretrained (timm's), or a safetensors file",
    )
    partition: Literal["coarse", "fine"] | tuple[str, ...] = Field(
        default="coarse",
        description="timm's coarse or fine layers, or a list of name patterns, one a layer",
    )


Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "cosine"]
BatchNorm = Literal["train", "eval", "frozen_eval"]
Precision = Literal["float32", "bfloat16"]


class TrainingSettings(_Frozen):
    """How one trial trains: every value settled."""

    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Optimizer
    learning_rate: PositiveFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NonNegativeFloat
    schedule: Schedule
    warmup_epochs: NonNegativeFloat
    batch_norm: BatchNorm
    precision: Precision
    clip_norm: PositiveFloat | None
    accumulate: PositiveInt
    deterministic: bool


class TrainingSpec(_Frozen):
    """How every trial trains: each value a constant or a distribution."""

    epochs: PositiveInt | IntRange | Choice = 15
    batch_size: PositiveInt | IntRange | Choice = 32
    optimizer: Optimizer | Choice = Field(default="sgd", description="sgd is Nesterov's")
    learning_rate: PositiveFloat | FloatRange | Choice = FloatRange.model_validate(
        {"float": (1e-4, 1e-1), "log": True}
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] | FloatRange | Choice = 0.9
    weight_decay: NonNegativeFloat | FloatRange | Choice = 0.0
    schedule: Schedule | Choice = "constant"
    warmup_epochs: NonNegativeFloat | FloatRange | Choice = 0.0
    batch_norm: BatchNorm | Literal["published"] = Field(
        default="train",
        description="one mode for every strategy compared; published: each paper's own",
    )
    precision: Precision = "float32"
    clip_norm: PositiveFloat | FloatRange | Choice | None = None
    accumulate: PositiveInt = 1
    deterministic: bool = False


class TrainingOverride(_Frozen):
    """`strategies.<name>.training`: what stands here replaces the common `training`."""

    epochs: PositiveInt | IntRange | Choice | None = None
    batch_size: PositiveInt | IntRange | Choice | None = None
    optimizer: Optimizer | Choice | None = None
    learning_rate: PositiveFloat | FloatRange | Choice | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | FloatRange | Choice | None = None
    weight_decay: NonNegativeFloat | FloatRange | Choice | None = None
    schedule: Schedule | Choice | None = None
    warmup_epochs: NonNegativeFloat | FloatRange | Choice | None = None
    batch_norm: BatchNorm | None = None
    precision: Precision | None = None
    clip_norm: PositiveFloat | FloatRange | Choice | None = None
    accumulate: PositiveInt | None = None


class StrategySpec(_Frozen):
    """One strategy of the comparison: its parameters, and how it trains if differently."""

    parameters: dict[str, ParameterValue] = {}
    training: TrainingOverride | Literal["published"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        """In the file the parameters stand beside `training`, not under a key of their own."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ValueError("give the strategy's parameters below its name, or nothing")
        rest = {key: item for key, item in value.items() if key != "training"}
        return {"parameters": rest, "training": value.get("training")}

    @model_serializer
    def _to_file(self) -> dict[str, Any]:
        file: dict[str, Any] = {
            name: value.model_dump(mode="json", by_alias=True)
            if isinstance(value, BaseModel)
            else value
            for name, value in self.parameters.items()
        }
        if isinstance(self.training, TrainingOverride):
            file["training"] = self.training.model_dump(
                mode="json", by_alias=True, exclude_none=True
            )
        elif self.training:
            file["training"] = self.training
        return file


class SearchSpec(_Frozen):
    """How the next trial is chosen."""

    sampler: Literal["tpe", "random", "qmc", "grid"] = Field(
        default="tpe", description="grid walks every point of a space without real numbers"
    )
    num_trials: PositiveInt = 40
    seed: NonNegativeInt = 0
    baselines: bool = Field(
        default=True, description="full and linear_probe are added where the file omits them"
    )


class PrunerSpec(_Frozen):
    """Which hopeless trials end early: Optuna's pruners."""

    kind: Literal["asha", "hyperband", "median", "none"] = "asha"
    grace_epochs: PositiveInt = 3
    reduction_factor: Annotated[int, Field(ge=2)] = 2


class ObjectiveSpec(_Frozen):
    """What the search makes small or large; always measured on the validation split."""

    metric: Literal["val/error", "val/loss"] = "val/error"
    mode: Literal["min", "max"] = "min"


class ConfirmSpec(_Frozen):
    """The best of each strategy, trained again with several seeds; the test set is read here."""

    seeds: PositiveInt = 5
    epoch: Literal["best", "last"] = Field(
        default="best", description="the tested epoch: best by validation, or the last"
    )


class ResourcesSpec(_Frozen):
    """What one trial gets."""

    cpus: PositiveInt = 1
    gpus: NonNegativeFloat = 0
    max_concurrent_trials: PositiveInt | None = Field(
        default=None, description="as many as fit, where nothing is given"
    )


class TraceSpec(_Frozen):
    """How much of the selection trace is kept."""

    every: PositiveInt = Field(default=1, description="every this many steps a row a layer")


class TrackingSpec(_Frozen):
    """Where MLflow keeps its record."""

    uri: str | None = Field(default=None, description="sqlite beside the runs, if nothing is given")
    experiment: str | None = Field(default=None, description="the sweep's name, if not given")


class Spec(_Frozen):
    """A sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")] = Field(
        description="names the folder and the MLflow experiment"
    )
    description: str = ""
    task: TaskSpec
    model: ModelSpec
    strategies: dict[str, StrategySpec] = Field(min_length=1)
    training: TrainingSpec = TrainingSpec()
    search: SearchSpec = SearchSpec()
    pruner: PrunerSpec = PrunerSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    confirm: ConfirmSpec = ConfirmSpec()
    resources: ResourcesSpec = ResourcesSpec()
    trace: TraceSpec = TraceSpec()
    tracking: TrackingSpec = TrackingSpec()
    storage: str = Field(default="runs", description="the folder that holds the sweeps")

    def to_yaml(self) -> str:
        """The resolved file, every default written out; `parse` reads it back unchanged."""
        return yaml.safe_dump(
            self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True
        )


class TrialConfig(_Frozen):
    """One trial, every value settled: what a worker needs to know beside model and data."""

    strategy: str
    parameters: dict[str, Any]
    training: TrainingSettings
    seed: NonNegativeInt

    def label(self, searched: Iterable[str] = ()) -> str:
        """The trial in a few words: `bvg_ls lr=0.021 ema_decay=0.93`.

        Args:
            searched: names of the values to show, without the strategy's scope.
        """
        training = self.training.model_dump()
        shown = {name: self.parameters.get(name, training.get(name)) for name in searched}
        return " ".join(
            [self.strategy]
            + [f"{_SHORT.get(name, name)}={_short(value)}" for name, value in shown.items()]
        )


_SHORT = {"learning_rate": "lr"}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- reading ------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-4` as a number (YAML 1.1 wants `1.0e-4`) and refuses
    a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise UserError(Problem(str(key.value), "stands twice in one place", line))
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def load(path: Path, overrides: Iterable[str] = ()) -> Spec:
    """Read a sweep file.

    Args:
        path: the YAML file.
        overrides: `a.b=c` strings, applied on top; `c` is read as YAML.

    Raises:
        UserError: the file is missing, empty, not YAML, builds objects, or does not
            match the grammar; all mistakes of the last kind are told together.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise user_error(str(path), "there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise user_error(str(path), f"cannot be read: {error}") from None
    return parse(text, overrides, str(path))


def parse(text: str, overrides: Iterable[str] = (), name: str = "sweep file") -> Spec:
    """Read a sweep from the text of its file; arguments and errors as in `load`."""
    root, data = _read_yaml(text, name)
    for override in overrides:
        _apply_override(data, override)
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        problems = [_problem(detail, root) for detail in error.errors()]
        raise UserError(*_distinct(problems)) from None


def line_of(text: str, path: str) -> int | None:
    """The line (from 1) on which the dotted `path` stands in the YAML `text`."""
    return _line(yaml.compose(text, Loader=_Loader), path.split("."))


def _read_yaml(text: str, name: str) -> tuple[yaml.Node | None, dict[str, Any]]:
    try:
        root = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        message = "only plain YAML values are read; tags that build objects are refused"
        raise UserError(Problem(name, message, line)) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise UserError(Problem(name, f"is not YAML: {error.problem}", line)) from None
    except yaml.YAMLError as error:
        raise user_error(name, f"is not YAML: {str(error).splitlines()[0]}") from None
    if data is None:
        raise user_error(name, "is empty; `raysel init` writes a commented example")
    if not isinstance(data, dict):
        raise user_error(name, f"must hold keys and values, not a {type(data).__name__}")
    return root, data


def _apply_override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise user_error("--set", f'"{override}" is not of the form key.subkey=value')
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise user_error("--set", f'"{text}" is not a YAML value') from None
    place = data
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise user_error("--set", f'"{path}": there is nothing below {key}')
    place[keys[-1]] = value


def _problem(detail: Mapping[str, Any], root: yaml.Node | None) -> Problem:
    """A pydantic complaint in our words."""
    keys = [str(part) for part in detail["loc"]]
    keys = [key for key in keys if key not in _UNION_ARMS]
    if detail["type"] == "extra_forbidden":
        parent = _model_at(keys[:-1])
        known = [field.alias or name for name, field in parent.model_fields.items()]
        message = f"unknown key; {nearest(keys[-1], known)}"
    elif detail["type"] == "missing":
        message = "is missing"
    else:
        message = _lower_first(detail["msg"].removeprefix("Value error, "))
        given = detail.get("input")
        if isinstance(given, str | int | float | bool):
            shown = f'"{given}"' if isinstance(given, str) else f"{given}"
            message = f"{shown} is not accepted: {message}"
    return Problem(".".join(keys), message, _line(root, keys))


_UNION_ARMS = {
    *("FloatRange", "IntRange", "Choice", "int", "float", "bool", "str", "constrained-int"),
    *("constrained-float", "TrainingOverride", "list[str]", "tuple[str, ...]"),
}


def _model_at(keys: list[str]) -> type[BaseModel]:
    """The model whose keys stand below the path `keys`."""
    if len(keys) >= 2 and keys[0] == "strategies":
        return TrainingOverride
    model: type[BaseModel] = Spec
    for key in keys:
        field = model.model_fields.get(key)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model


def _distinct(problems: list[Problem]) -> list[Problem]:
    """The first complaint of each field: a union complains once an arm."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return list(first.values())


def _line(node: yaml.Node | None, keys: list[str]) -> int | None:
    """The line (from 1) of the deepest key on the path that stands in the file."""
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

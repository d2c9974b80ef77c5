"""An arm of the comparison as the sweep file has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from raysel.spec.training import AfterSpec, TrainingOverride
from raysel.spec.values import A_VALUE, KEYS_BELOW, FrozenModel, OneLine, ParameterValue


def _keys_or_word(value: Any) -> str:
    return KEYS_BELOW if isinstance(value, Mapping | BaseModel) else A_VALUE


Override = Annotated[
    Annotated[TrainingOverride, Tag(KEYS_BELOW)] | Annotated[Literal["published"], Tag(A_VALUE)],
    Discriminator(_keys_or_word),
]


_KEYS = ("strategy", "model", "training", "after")
"""Beside the strategy's parameters in the file."""


class StrategySpec(FrozenModel):
    """One arm of the comparison: its strategy, that one's parameters, and how it trains if
    differently."""

    strategy: OneLine | None = Field(
        default=None, description="a registered strategy; if not given, the one it is named like"
    )
    model: OneLine | None = Field(
        default=None,
        description="the one of several models that it is tried with; if not given, with each",
    )
    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    training: Override | None = None
    after: AfterSpec | None = Field(
        default=None, description="{kind: wise_ft}: what is made of the tuned weights"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        """In the file the parameters are beside `training`, not under a key of their own."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ValueError("give the strategy's parameters below its name, or nothing")
        own = {key: value.get(key) for key in _KEYS}
        return own | {"parameters": {key: v for key, v in value.items() if key not in own}}

    @model_serializer
    def _to_file(self) -> dict[str, Any]:
        file: dict[str, Any] = {"strategy": self.strategy} if self.strategy else {}
        file |= {"model": self.model} if self.model else {}
        file |= {
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
        if self.after is not None:
            file["after"] = self.after.model_dump(mode="json")
        return file

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of the file, where `_from_file` has not yet turned it."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        fields = schema["properties"]
        schema["type"] = ["object", "null"]
        schema["additionalProperties"] = fields["parameters"]["additionalProperties"]
        schema["properties"] = {key: fields[key] for key in _KEYS}
        return schema

"""The JSON Schema of sweep files: the grammar, and what the registered strategies declare."""

from __future__ import annotations

from typing import Any

from raysel.spec.sweep import Spec
from raysel.strategies import Strategy, registered


def sweep_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that editors complete and check sweep files with."""
    schema = Spec.model_json_schema()
    any_strategy = schema["$defs"].pop("StrategySpec")
    schema["properties"]["strategies"] |= {
        "properties": {
            name: _strategy_schema(any_strategy, strategy)
            for name, strategy in registered().items()
        },
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _strategy_schema(any_strategy: dict[str, Any], strategy: type[Strategy]) -> dict[str, Any]:
    """The schema of strategies in general, narrowed to one strategy's own parameters."""
    value = any_strategy["additionalProperties"]
    parameters = {
        parameter.name: {**value, "description": parameter.help}
        for parameter in strategy.parameters
    }
    return {
        **any_strategy,
        "description": strategy.summary,
        "properties": any_strategy["properties"] | parameters,
        "additionalProperties": False,
    }

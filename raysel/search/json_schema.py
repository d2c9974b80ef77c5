"""The JSON Schema of sweep files: the grammar, and what the registered strategies declare."""

from __future__ import annotations

from typing import Any

from raysel.common.paths import A_NAME
from raysel.spec.axes import AXES, EXCLUDE, ZIP
from raysel.spec.sweep import Spec
from raysel.strategies import Strategy, registered
from raysel.tasks.shifts import SHIFTS


def sweep_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that editors complete and check sweep files with."""
    schema = Spec.model_json_schema()
    any_strategy = schema["$defs"].pop("StrategySpec")
    schema["properties"]["strategies"] |= {
        "properties": {
            name: _strategy_schema(any_strategy, strategy)
            for name, strategy in registered().items()
        },
        "additionalProperties": _arm_schema(any_strategy),
    }
    kind = schema["$defs"]["ShiftSpec"]["properties"]["kind"]
    kind["description"] = f"name of the shift: {', '.join(SHIFTS)}"
    kind["examples"] = list(SHIFTS)
    schema["properties"]["name"]["pattern"] = A_NAME.pattern  # a cell's is not written by hand
    schema["properties"][AXES] = _axes_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _axes_schema() -> dict[str, Any]:
    """What makes a file a suite; the keys are those of the sweep file, `training.shots`."""
    lists = {"type": ["array", "object"]}
    return {
        "type": "object",
        "description": "makes the file a suite: each combination of values is a sweep. A key of"
        " the file with a list of its values, or with names for them: training.shots: [5, 20]",
        "properties": {
            ZIP: {
                "type": ["array", "object"],
                "description": "keys whose lists, of one length, are walked together",
            },
            EXCLUDE: {
                "type": ["array", "object"],
                "description": "combinations that are left out, each by some of its values",
            },
        },
        "additionalProperties": lists,
        "minProperties": 1,
    }


def _arm_schema(any_strategy: dict[str, Any]) -> dict[str, Any]:
    """An entry under a name of the user's: it says its strategy, whose keys it then takes."""
    choice = any_strategy["properties"]["strategy"]
    return {
        "type": "object",
        "description": "an arm: a registered strategy under a name of your own",
        "properties": {
            "strategy": {"enum": list(registered()), "description": choice["description"]}
        },
        "required": ["strategy"],
        "allOf": [
            {
                "if": {"properties": {"strategy": {"const": name}}, "required": ["strategy"]},
                "then": {"$ref": f"#/properties/strategies/properties/{name}"},
            }
            for name in registered()
        ],
    }


def _strategy_schema(any_strategy: dict[str, Any], strategy: type[Strategy]) -> dict[str, Any]:
    """The schema of strategies in general, narrowed to one strategy's own parameters."""
    value = any_strategy["additionalProperties"]
    parameters = {
        parameter.name: {**value, "description": parameter.help}
        for parameter in strategy.parameters
    }
    own = {"strategy": {"const": strategy.name}}
    return {
        **any_strategy,
        "description": strategy.summary,
        "properties": any_strategy["properties"] | own | parameters,
        "additionalProperties": False,
    }

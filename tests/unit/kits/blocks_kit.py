"""Made-up results of a sweep that tuned single blocks."""

from __future__ import annotations

from typing import Any

LAYERS = ["stem", *(f"blocks.{n}" for n in range(8)), "head"]


def trial(
    number: int, strategy: str, error: float, block: str | None = None, status: str = "COMPLETE"
) -> dict[str, Any]:
    """A trial whose second epoch is its best."""
    return {
        "id": f"{number:04d}",
        "number": number,
        "strategy": strategy,
        "status": status,
        "value": error,
        "best_epoch": 2,
        "config": {"parameters": {} if block is None else {"block": block}, "training": {}},
        "epochs": [
            {"epoch": 1, "val/error": 0.9, "val/loss": 2.0},
            {"epoch": 2, "val/error": error, "val/loss": 1.0},
        ],
    }


def sweep(*trials: dict[str, Any]) -> dict[str, Any]:
    """Results with these trials, nothing confirmed."""
    objective = {"metric": "val/error", "mode": "min"}
    return {
        "name": "blocks",
        "layers": LAYERS,
        "objective": objective,
        "trials": list(trials),
        "confirm": [],
    }


def confirmed(strategy: str, trial_id: str, *errors: float) -> dict[str, Any]:
    """A configuration's confirm runs, with these test errors."""
    mean = sum(errors) / len(errors)
    return {
        "strategy": strategy,
        "trial": trial_id,
        "runs": [{"seed": n, "test/error": error} for n, error in enumerate(errors)],
        "validation": mean,
        "test_error": {"mean": mean, "low": None, "high": None, "n": len(errors)},
    }

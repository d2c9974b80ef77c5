"""A made-up sweep in the shape of results.json: five strategies on a six-layer model."""

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from results_kit import typed, verdict_of

from raysel.sweep.verdict import interval

LAYERS = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
SIZES = [29_000, 18_500, 230_000, 919_000, 3_673_000, 5_130]
OBJECTIVE = {"metric": "val/error", "mode": "min", "secondary": ["cost/seconds"]}

SHOTS = (5, 20, 80)

# what each strategy can reach, and how often its layers move
FLOOR = {
    "full": 0.26,
    "linear_probe": 0.40,
    "surgical": 0.25,
    "bvg_ls": 0.235,
    "bvg_ls_threshold": 0.245,
}

# rise of the source's error, and bytes: full fine-tuning is worse than surgical in everything
FORGOTTEN = {
    "full": 0.5,
    "linear_probe": 0.01,
    "surgical": 0.05,
    "bvg_ls": 0.3,
    "bvg_ls_threshold": 0.4,
}
MEMORY = {
    "full": 90e6,
    "linear_probe": 30e6,
    "surgical": 60e6,
    "bvg_ls": 80e6,
    "bvg_ls_threshold": 95e6,
}


def moved(
    strategy: str, rng: np.random.Generator, progress: float = 0.5, block: str = "stem"
) -> dict[str, float]:
    """Layer -> share of an epoch's steps in which it moved."""
    if strategy == "full":
        shares = np.ones(6)
    elif strategy == "linear_probe":
        shares = np.eye(6)[5]
    elif strategy == "surgical":
        shares = np.eye(6)[LAYERS.index(block)]
    else:
        towards = np.array([3.0, 1.2, 0.8, 0.6, 0.4, 1.5]) * (1 - progress) + progress * np.array(
            [0.8, 0.9, 1.4, 1.2, 0.7, 0.3]
        )
        shares = rng.dirichlet(8 * towards)
        if strategy == "bvg_ls_threshold":
            shares = np.clip(shares * 2.4, 0, 1)
    return {name: float(share) for name, share in zip(LAYERS, shares, strict=True)}


def diagnostics(index: int, length: int) -> dict[str, float]:
    """What `trace.diagnostics` measures: signal fades, late layers first; all drift away."""
    time = index / length
    return {
        f"{kind}/{name}": value
        for place, name in enumerate(LAYERS)
        for kind, value in {
            "ratio": 0.056 + 2.0 * math.exp(-(1 + place) * time * 2),
            "rgn": 0.4 * math.exp(-3 * time) / (1 + place),
            "change": 0.02 * index * (1 + place),
        }.items()
    }


def curve(
    strategy: str, learning_rate: float, length: int, rng: np.random.Generator
) -> list[float]:
    """Validation error by epoch; best near a learning rate of 0.02, as whole mistakes of 200."""
    off = math.log10(learning_rate / 0.02)
    floor = min(0.9, FLOOR[strategy] + 0.09 * off**2 + abs(rng.normal(0, 0.01)))
    pace = 2.0 + 2.0 * max(0.0, -off)
    epochs = np.arange(1, length + 1)
    errors = floor + (0.61 - floor) * np.exp(-epochs / pace) + rng.normal(0, 0.008, length)
    return [round(float(error) * 200) / 200 for error in np.clip(errors, 0.02, 0.9)]


def trial(number: int, strategy: str, rng: np.random.Generator, length: int = 15) -> dict:
    """One trial of the search; a hopeless one is pruned, number 11 fails."""
    learning_rate = float(10 ** rng.uniform(-4, -1))
    parameters: dict = {}
    if strategy.startswith("bvg"):
        parameters["ema_decay"] = float(rng.uniform(0.5, 0.99))
    if strategy == "surgical":
        rng.choice(LAYERS)
        parameters["block"] = LAYERS[number // 5 % 6]
    errors = curve(strategy, learning_rate, length, rng)
    shots = SHOTS[number // 5 % 3]
    errors = [round(error * 200 + 10 / shots) / 200 for error in errors]
    status, cause = "COMPLETE", None
    if number == 11:
        status, cause, errors = "FAILED", "the loss is not finite since epoch 2", errors[:2]
    elif errors[2] > 0.48 or errors[min(5, length - 1)] > 0.45:
        status, errors = "PRUNED", errors[: 3 if errors[2] > 0.48 else 6]
    epochs = []
    for index, error in enumerate(errors):
        epoch = {
            "epoch": index + 1,
            "train/loss": 2.2 * math.exp(-index / 5),
            "val/error": error,
            "val/loss": 3 * error,
            "cost/seconds": 0.2,
            "cost/updated_params": 4.9e6,
        }
        shares = moved(strategy, rng, index / length, parameters.get("block", "stem"))
        epoch |= {f"select/{name}": share for name, share in shares.items()}
        epoch |= diagnostics(index, length)
        if strategy.startswith("bvg"):
            epoch["select/transient_share"] = 0.62 * math.exp(-index / 6)
        epochs.append(epoch)
    value = None if status == "FAILED" else min(errors) if status == "COMPLETE" else errors[-1]
    searched = {"learning_rate": learning_rate, **parameters}
    return {
        "id": f"{number:04d}",
        "number": number,
        "strategy": strategy,
        "label": f"{strategy} lr={learning_rate:.3g}",
        "status": status,
        "cause": cause,
        "config": {
            "strategy": strategy,
            "parameters": parameters,
            "training": {"learning_rate": learning_rate, "epochs": length, "shots": shots},
            "seed": number,
        },
        "searched": searched,
        "value": value,
        "best_epoch": int(np.argmin(errors)) + 1 if status == "COMPLETE" else None,
        "seconds": 0.21 * len(errors),
        "epochs": epochs,
    }


def confirmed(best: dict, seeds: int, rng: np.random.Generator) -> dict:
    """The best trial of a strategy, trained again with some seeds."""
    strategy = best["strategy"]
    block = best["config"]["parameters"].get("block", "head")
    share = SIZES[LAYERS.index(block)] / sum(SIZES)
    shares = {"linear_probe": share, "surgical": share}
    runs = []
    for seed in range(seeds):
        luck = np.random.default_rng(seed).normal(0, 0.012)  # a seed is hard for all alike
        val = round((FLOOR[strategy] + luck + rng.normal(0, 0.008)) * 200) / 200
        test = round((FLOOR[strategy] + 0.012 + luck + rng.normal(0, 0.011)) * 400) / 400
        runs.append(
            {
                "id": f"confirm-{strategy}-s{seed}",
                "seed": 1000 + seed,
                "split": seed + 1 if seeds > 1 else 0,
                "epoch": 12,
                "val/error": val,
                "val/loss": 3 * val,
                "test/error": test,
                "test/loss": 3 * test,
                "test/balanced_error": test + 0.01,
                "test/top5_error": test / 4,
                "seconds": 3.1,
                "moved": moved(strategy, rng, 0.5, block),
                "updated_share": shares.get(strategy, 1.0),
                "source_error_before": 0.02,
                "source_error": 0.02 + FORGOTTEN[strategy] + 0.01 * seed,
                "distance": distance(strategy, block),
                "peak_memory_bytes": MEMORY[strategy],
                "test_curve": [
                    {"epoch": epoch, "error": test, "loss": 3 * test + 1 / epoch}
                    for epoch in range(1, 16)
                ],
            }
        )
    mean, low, high = interval([run["test/error"] for run in runs])
    return {
        "strategy": strategy,
        "trial": best["id"],
        "label": best["label"],
        "runs": runs,
        "validation": float(np.mean([run["val/error"] for run in runs])),
        "test_error": {"mean": mean, "low": low, "high": high, "n": len(runs)},
        "moved": {name: float(np.mean([run["moved"][name] for run in runs])) for name in LAYERS},
        "updated_share": runs[0]["updated_share"],
        "seconds": 3.1 if strategy != "linear_probe" else 0.4,
        "forgetting": rise(runs),
        "distance": distance(strategy, block),
        "peak_memory_bytes": MEMORY[strategy],
    }


def rise(runs: list[dict]) -> dict:
    """Of the source's error, over the runs."""
    mean, low, high = interval([run["source_error"] - 0.02 for run in runs])
    return {"mean": mean, "low": low, "high": high, "n": len(runs)}


def distance(strategy: str, block: str) -> dict[str, float]:
    """Layer -> how far it went."""
    alone = strategy in ("linear_probe", "surgical")
    return {name: 0.1 * (name == block or not alone) for name in LAYERS}


def effort(strategy: str, trials: list[dict]) -> dict:
    """The tuning of a strategy."""
    own = [item for item in trials if item["strategy"] == strategy]
    values = [item["value"] for item in own if item["status"] == "COMPLETE"]
    best = np.minimum.accumulate(values).tolist()
    return {
        "strategy": strategy,
        "trials": len(own),
        "complete": len(values),
        "pruned": len(own) - len(values),
        "epochs": sum(len(item["epochs"]) for item in own),
        "at_edge": ["learning_rate=0.1"] if strategy == "full" else [],
        "searched": 1,
        "curve": {"estimator": "best_so_far", "best": best, "low": best, "high": best},
    }


def confusion(entry: dict, rng: np.random.Generator) -> dict:
    """Ten classes with 40 test examples each; 3 is often taken for 8."""
    wrong = rng.multinomial(12, np.full(10, 0.1), size=10)
    matrix = np.diag(np.full(10, 40)) - np.diag(wrong.sum(axis=1)) + wrong
    matrix[3, 8] += matrix[3, 3] // 2
    matrix[3, 3] -= matrix[3, 3] // 2
    return {"classes": [f"digit {n}" for n in range(10)], "matrix": matrix.tolist()}


def front_of(trials: list[dict]) -> list[str]:
    """Adds the objectives of what is complete; ids of those that no other dominates, the best by
    error first."""
    complete = [item for item in trials if item["status"] == "COMPLETE"]
    for item in complete:
        seconds = MEMORY[item["strategy"]] / 30e6 * len(item["epochs"])
        item["values"] = {"val/error": item["value"], "cost/seconds": seconds}
    points = {item["id"]: tuple(item["values"].values()) for item in complete}
    front = [
        name
        for name, (error, cost) in points.items()
        if not any(e <= error and c <= cost and (e, c) != (error, cost) for e, c in points.values())
    ]
    return sorted(front, key=lambda name: points[name])


def make_results(trials: int = 40, seeds: int = 5, seed: int = 0, length: int = 15) -> dict:
    """A whole sweep."""
    rng = np.random.default_rng(seed)
    names = list(FLOOR)
    found = [trial(number, names[number % 5], rng, length) for number in range(trials)]
    complete = [item for item in found if item["status"] == "COMPLETE"]
    best = [
        min((item for item in complete if item["strategy"] == name), key=lambda t: t["value"])
        for name in names
        if any(item["strategy"] == name for item in complete)
    ]
    confirm = [confirmed(item, seeds, rng) for item in best]
    return {
        "name": "digits",
        "description": "Which layers should move when the camera gets noisy?",
        "sweep_id": "digits-3f2a",
        "status": "complete",
        "objective": dict(OBJECTIVE),
        "importance": [
            {"strategy": None, "trials": 25, "of": {"learning_rate": 0.7, "strategy": 0.3}},
            {"strategy": "bvg_ls", "trials": 20, "of": {"ema_decay": 0.9, "learning_rate": 0.1}},
        ],
        "layers": list(LAYERS),
        "layer_sizes": list(SIZES),
        "source": {"validation_accuracy": 0.982, "seconds": 9.1},
        "trials": found,
        "pareto_front": front_of(found),
        "confirm": confirm,
        "verdict": verdict_of(confirm),
        "effort": [effort(item["strategy"], found) for item in best],
        "improvement": [
            {"ours": "bvg_ls", "theirs": "full", "probability": 0.8, "low": 0.5, "high": 1.0}
        ],
        "confusion": {entry["strategy"]: confusion(entry, rng) for entry in confirm},
        "spent": {
            "seconds": 171.3,
            "trials": trials,
            "epochs": sum(len(item["epochs"]) for item in found),
        },
        "versions": {"raysel": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0"},
    }


@pytest.fixture(scope="session")
def _results() -> dict:
    return make_results()


@pytest.fixture
def results(_results: dict) -> dict:
    """A fresh copy of a complete sweep, free to be changed."""
    return copy.deepcopy(_results)


@pytest.fixture(scope="session")
def figure_of(_results: dict) -> Callable[[str], Any]:
    """The figure of a name, of the unchanged sweep: drawn at most once."""
    from raysel.report import figures
    from raysel.report.drawing import draw_styled

    return cache(lambda name: draw_styled(figures.FIGURES[name], typed(_results)))

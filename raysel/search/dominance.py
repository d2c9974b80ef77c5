"""Several objectives, each the better the smaller it is: which configurations no other one
dominates, and in what order they are kept (docs/algorithms.md, D75).

One point dominates another where it is as good in every objective and better in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysel.spec.objective import SECONDS, UPDATED


def is_dominated(points: np.ndarray) -> np.ndarray:
    """Which points another one dominates.

    Args:
        points: [points, objectives], finite.

    Returns:
        [points], true where dominated; of equal points none dominates the other.
    """
    dominated = np.zeros(len(points), dtype=bool)
    left = np.lexsort(points.T[::-1])  # what is dominated comes after whatever dominates it
    while len(left):
        first, rest = points[left[0]], points[left]
        worse = (rest >= first).all(axis=1) & (rest > first).any(axis=1)
        dominated[left[worse]] = True
        left = left[1:][~worse[1:]]
    return dominated


def order_of(points: np.ndarray, most: int | None = None) -> list[int]:
    """The indices of points, [points, objectives], in the order in which they are kept; no more
    than `most`.

    Front after front (non-dominated sorting); within a front first the point that is the best in
    the first objective, then whichever is farthest from those before (an epsilon net), so that
    few points stand for the whole front. Distances are taken with each objective scaled to 0..1
    over the front. Among equals the earlier one comes first.
    """
    left, order = np.arange(len(points)), list[int]()
    while len(left) and (most is None or len(order) < most):
        dominated = is_dominated(points[left])
        front = left[~dominated]
        order += [int(front[index]) for index in _spread(points[front])]
        left = left[dominated]
    return order[:most]


def _spread(front: np.ndarray) -> list[int]:
    """The indices of a front's points as an epsilon net: each the farthest from those before."""
    width = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(width > 0, width, 1.0)
    order = [int(np.argmin(front[:, 0]))]
    nearest = np.full(len(front), np.inf)
    while len(order) < len(front):
        distance = np.linalg.norm(scaled - scaled[order[-1]], axis=1)
        nearest = np.minimum(nearest, distance)
        nearest[order] = -1.0  # they are placed
        order.append(int(np.argmax(nearest)))
    return order


def objectives_of(
    metrics: Sequence[str], epochs: Mapping[int, Mapping[str, Any]], chosen: int
) -> dict[str, float | None]:
    """What a trial has reached in each objective; None where it is not known.

    Args:
        metrics: the objectives.
        epochs: its metrics by epoch, all that it has trained.
        chosen: the epoch whose weights are kept: measures are taken there, while the seconds are
            those of all epochs and the parameters moved a step are their mean.
    """
    rows = list(epochs.values())
    found: dict[str, float | None] = {}
    for metric in metrics:
        if metric not in (SECONDS, UPDATED):
            found[metric] = epochs[chosen].get(metric)
            continue
        known = [value for row in rows if (value := row.get(metric)) is not None]
        whole = float(np.sum(known)) if len(known) == len(rows) else None
        found[metric] = whole if whole is None or metric == SECONDS else whole / len(rows)
    return found

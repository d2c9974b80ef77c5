"""The selection trace: which layers moved at which step, with what weight and score.

While an epoch runs, decisions are kept as they are, on their device. At its end they are
read once, summed up, and written as one Parquet part, so that a checkpoint stores no
history.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from raysel.models.layers import Layer, Partition
from raysel.strategies.base import Decision


@dataclass
class EpochTrace:
    """The decisions of one epoch."""

    layers: Sequence[str]
    epoch: int
    every: int = 1
    _steps: list[int] = field(default_factory=list)
    _weights: list[Tensor] = field(default_factory=list)
    _scores: list[Tensor | None] = field(default_factory=list)
    _transients: list[Tensor | None] = field(default_factory=list)
    _finite: list[Tensor | None] = field(default_factory=list)

    def add(self, step: int, decision: Decision, finite: Tensor | None = None) -> None:
        """Keep a step's decision, without reading it.

        Args:
            finite: 0-dim bool on the device, whether the step was taken; None where the host
                knows that it was.
        """
        self._steps.append(step)
        self._weights.append(decision.weights)
        self._scores.append(decision.scores)
        self._transients.append(decision.transient)
        self._finite.append(finite)

    def drop_nonfinite(self) -> None:
        """Drop the steps that the device did not take; called at the epoch's end."""
        flags = [flag for flag in self._finite if flag is not None]
        if not flags or bool(torch.stack(flags).all()):
            return
        taken = [flag is None or bool(flag) for flag in self._finite]
        self._steps = list(compress(self._steps, taken))
        self._weights = list(compress(self._weights, taken))
        self._scores = list(compress(self._scores, taken))
        self._transients = list(compress(self._transients, taken))
        self._finite = list(compress(self._finite, taken))

    def check_weights(self) -> None:
        """Refuse weights that are none, which the optimizer would take for 0.

        Raises:
            ValueError: a weight of a step that was taken is not finite or is negative.
        """
        weights = _read(self._weights) if self._weights else np.zeros((0, len(self.layers)))
        wrong = np.argwhere(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            row, layer = wrong[0]
            raise ValueError(
                f"the strategy gave layer {self.layers[layer]} the weight {weights[row, layer]:g} "
                f"at step {self._steps[row]}; a weight is a finite number of at least 0"
            )

    def summary(self) -> dict[str, float]:
        """`select/<layer>`, the mean weight; `score/<layer>`, the mean of the finite scores."""
        if not self._weights:
            return {}
        weights = _read(self._weights).mean(axis=0)
        metrics = {f"select/{n}": float(w) for n, w in zip(self.layers, weights, strict=True)}
        scores = self._score_rows(range(len(self._steps)))
        for index, name in enumerate(self.layers):
            finite = scores[:, index][np.isfinite(scores[:, index])]
            if finite.size:
                metrics[f"score/{name}"] = float(finite.mean())
        transients = [transient for transient in self._transients if transient is not None]
        if transients:
            metrics["select/transient_share"] = float(_read(transients).mean())
        return metrics

    def moved(self) -> list[bool]:
        """Whether each layer moved at least once."""
        if not self._weights:
            return [False] * len(self.layers)
        return [bool(share > 0) for share in (_read(self._weights) > 0).mean(axis=0)]

    def mean_moved(self, sizes: Tensor) -> float:
        """How many parameters moved at a step, in the mean; `sizes` [L] counts a layer's."""
        if not self._weights:
            return 0.0
        return float((_read(self._weights) > 0).mean(axis=0) @ sizes.double().numpy())

    def write(self, folder: Path) -> None:
        """Write the part of this epoch atomically; every `every`-th step."""
        kept = [i for i, step in enumerate(self._steps) if step % self.every == 0]
        count = len(self.layers)
        weights = _read([self._weights[i] for i in kept]) if kept else np.zeros((0, count))
        scores = self._score_rows(kept)
        steps = np.repeat(np.array([self._steps[i] for i in kept], dtype=np.int32), count)
        table = pa.table(
            {
                "step": steps,
                "epoch": np.full(len(steps), self.epoch, dtype=np.int32),
                "layer": pa.array(list(self.layers) * len(kept), pa.string()).dictionary_encode(),
                "weight": weights.astype(np.float32).reshape(-1),
                "score": scores.astype(np.float32).reshape(-1),
            }
        )
        for one in (folder.parent, folder):  # not those above: they would have been moved away
            one.mkdir(exist_ok=True)
        partial = folder / f".epoch-{self.epoch:04d}.parquet"
        pq.write_table(table, partial)
        partial.replace(folder / f"epoch-{self.epoch:04d}.parquet")

    def _score_rows(self, kept: Sequence[int]) -> np.ndarray:
        """The scores of some steps, [n, L]; NaN where the strategy gave none."""
        rows = np.full((len(kept), len(self.layers)), math.nan)
        given = [(row, s) for row, i in enumerate(kept) if (s := self._scores[i]) is not None]
        if given:
            rows[[row for row, _ in given]] = _read([scores for _, scores in given])
        return rows


def _read(tensors: Sequence[Tensor]) -> np.ndarray:
    """[n, ...] float64 on the host: the one synchronisation of an epoch's trace."""
    return torch.stack(list(tensors)).double().cpu().numpy()


def by_layer(metrics: Mapping[str, float], fine: Partition, layers: Partition) -> dict[str, float]:
    """The metrics of a strategy with a finer partition, merged into the sweep's layers.

    A layer's weight is the mean over its numbers, its score the mean over the parts that
    have one. The trace itself keeps the parts.
    """
    merged = {n: v for n, v in metrics.items() if not n.startswith(("select/", "score/"))}
    merged |= {n: v for n, v in metrics.items() if n == "select/transient_share"}
    layer_of = layers.layer_of
    parts: dict[str, list[Layer]] = {name: [] for name in layers.names}
    for part in fine.layers:
        parts[layers.names[layer_of[part.parameters[0]]]].append(part)
    for name, own in parts.items():
        moved = sum(metrics.get(f"select/{part.name}", 0.0) * part.size for part in own)
        merged[f"select/{name}"] = moved / sum(part.size for part in own)
        scores = [metrics[f"score/{p.name}"] for p in own if f"score/{p.name}" in metrics]
        if scores:
            merged[f"score/{name}"] = sum(scores) / len(scores)
    return merged

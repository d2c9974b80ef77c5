"""What draws a trial's weights to where they began, beside the loss (`training.pull`).

L2-SP (Li, Grandvalet and Davoine, 2018): strength / 2 times the squared distance from the starting
weights is added to the loss. A head that begins with random weights has no start to go back to
(docs/algorithms.md, D64).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from raysel.common import fused


class Pull:
    """The gradient of the pull.

    Args:
        parameters: what may move, with the weights that it begins with.
        names: of these parameters.
        strength: 0 is off.
        fresh: names of parameters that are not pulled.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        names: Sequence[str],
        strength: float,
        fresh: Collection[str] = (),
    ) -> None:
        self._strength, self._parameters = strength, parameters
        pulled = [i for i, name in enumerate(names) if strength and name not in fresh]
        self._start = {i: parameters[i].detach().clone() for i in pulled}

    def added(self, gradients: list[Tensor | None]) -> list[Tensor | None]:
        """The gradients with that of the pull, as new tensors; a parameter without one stays so."""
        index = [i for i in self._start if gradients[i] is not None]
        if not index:
            return gradients
        own = [gradient for i in index if (gradient := gradients[i]) is not None]
        away = fused.sums(own, [self._parameters[i] for i in index], self._strength)
        found = fused.sums(away, [self._start[i] for i in index], -self._strength)
        pulled = dict(zip(index, found, strict=True))
        return [pulled.get(i, gradient) for i, gradient in enumerate(gradients)]

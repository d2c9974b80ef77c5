"""The layer that moved least often so far moves, if its gradient is large enough."""

import torch

from raysel.strategies.base import Decision, Parameter, Step, Strategy, register


@register
class FairShare(Strategy):
    name = "fair_share"
    summary = "among the layers with a large gradient, the one that moved least so far moves"
    paper = "our own"
    parameters = (
        Parameter("share", "float", 0.5, "of the largest gradient norm", low=0.0, high=1.0),
    )

    def __init__(self, partition, values):
        super().__init__(partition, values)
        self.counts = torch.zeros(len(partition))

    def decide(self, step: Step) -> Decision:
        norms = step.by_layer(step.squared_norms).sqrt().float()
        counts = self.counts.to(norms.device)
        large = norms >= self.values["share"] * norms.max()
        chosen = torch.where(large, counts, torch.inf).argmin()
        weights = torch.zeros_like(norms).index_fill_(0, chosen, 1.0)
        sound = 1.0 if step.finite is None else step.finite  # a non-finite step teaches nothing
        self.counts = counts + weights * sound
        return Decision(weights, scores=norms)

    def state_dict(self):
        return {"counts": self.counts}

    def load_state_dict(self, state):
        self.counts = state["counts"]

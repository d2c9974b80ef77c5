"""One layer at random: the control that a guided choice of layers must beat.

Like bias-variance guidance it moves one layer a step and advances the optimizer's state for
all; only the choice is blind: l_t ~ Uniform{1..L}, independently at every step. (Random
blocks are the natural baseline of Tomita et al., who do not run it; BAdam and LISA draw
theirs for many steps at once.)

The layer of a step is a function of the trial's seed, the strategy's own and the step's
number alone. So there is no state to save, a resumed trial draws as one that never stopped,
and no other random number changes.
"""

from __future__ import annotations

from raysel.common.deferred_torch import torch
from raysel.strategies.base import Cost, Decision, Parameter, Step, Strategy, TrainingOverride
from raysel.strategies.registry import register


def random_layer(layers: int, number: int, *seeds: int) -> int:
    """The layer of step `number`, uniform in 0..L-1."""
    import numpy as np  # noqa: PLC0415  (declaring the strategy needs none)

    return int(np.random.default_rng((*seeds, number)).integers(layers))


@register
class RandomLayer(Strategy):
    """At each step one uniformly random layer moves."""

    name = "random_layer"
    summary = "at each step one layer at random moves: the control for guided choices"
    paper = "a control, of no paper: one layer a step as in Tomita et al., Algorithm 1, but blind"
    parameters = (Parameter("seed", "int", 0, "draws other layers in the same trial", low=0),)
    published = TrainingOverride(
        optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128, epochs=50
    )

    cost = Cost()

    def decide(self, step: Step) -> Decision:
        """Weight 1 for the layer of this step."""
        weights = torch.zeros(len(self.partition))
        weights[random_layer(len(self.partition), step.number, step.seed, self.values["seed"])] = 1
        return Decision(weights)

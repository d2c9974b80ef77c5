"""The path that all learning-rate-weight strategies share: guard, normalise, apply, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rates_kit import (
    DATA,
    FAMILY,
    a_step,
    decided,
    measured,
    probe_of,
    same,
    small,
    state_of,
    strategy,
    timm_model,
    trial,
)
from torch import Tensor

from raysel.models.layers import Partition, partition
from raysel.strategies.base import Parameter, Probe
from raysel.strategies.rates import (
    NORMALISE,
    REFRESH_EACH_EPOCH,
    LayerRates,
    weights_from_scores,
)
from raysel.training.batches import Batch
from raysel.training.loop import TrialData
from raysel.training.optimizer import OPTIMIZERS

NAN, INF = float("nan"), float("inf")
ANY_SCORE = st.floats(allow_nan=True, allow_infinity=True, width=64)


# --- scores to weights ------------------------------------------------------------------------


def test_scores_over_their_maximum():
    assert weights_from_scores(torch.tensor([0.2, 0.1, 0.05])).tolist() == [1.0, 0.5, 0.25]


def test_scores_as_they_are_without_normalisation():
    given_scores = torch.tensor([0.5, 0.25, 4.0])
    assert weights_from_scores(given_scores, "none").tolist() == [0.5, 0.25, 4.0]


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -3.0, 0.0])
def test_what_is_not_a_positive_number_counts_as_nothing(bad):
    assert weights_from_scores(torch.tensor([bad, 2.0, 1.0])).tolist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize("scores", [[0.0, 0.0], [NAN, -1.0], [INF, 0.0], [0.0]])
def test_nothing_to_tell_the_layers_apart_means_equal_weights(scores):
    assert weights_from_scores(torch.tensor(scores)).tolist() == [1.0] * len(scores)


def test_a_free_layer_moves_fully_and_is_out_of_the_maximum():
    free = torch.tensor([False, True, False])
    assert weights_from_scores(torch.tensor([1.0, 8.0, 2.0]), free=free).tolist() == [0.5, 1, 1]


@given(st.lists(ANY_SCORE, min_size=1, max_size=12), st.sampled_from(["max", "none"]))
def test_weights_are_finite_and_not_negative(scores, normalise):
    tensor = torch.tensor([min(max(s, -1e30), 1e30) if s == s else s for s in scores]).double()
    weights = weights_from_scores(tensor, normalise)
    assert weights.shape == (len(scores),) and weights.dtype == torch.float32
    assert bool(torch.isfinite(weights).all()) and bool((weights >= 0).all())
    if normalise == "max":
        assert float(weights.max()) == 1.0


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.sampled_from([2.0**-20, 8.0]))
def test_a_common_factor_of_the_scores_changes_nothing(scores, factor):
    tensor = torch.tensor(scores, dtype=torch.float64)
    assert torch.equal(weights_from_scores(tensor), weights_from_scores(factor * tensor))


# --- when it is measured ----------------------------------------------------------------------


class Given(LayerRates):
    """Scores that a test hands in, one row a measurement."""

    name = "given"
    parameters = (NORMALISE, REFRESH_EACH_EPOCH)

    def __init__(self, layers: Partition, values: Mapping[str, Any], rows: list[Any]) -> None:
        super().__init__(layers, values)
        self.rows = iter(rows)

    def scores(self, probe: Probe) -> Tensor:
        return torch.tensor(next(self.rows))


class GivenOnce(Given):
    """One that declares no choice of when."""

    parameters: tuple[Parameter, ...] = (NORMALISE,)


def weights_by_epoch(chosen: LayerRates) -> list[list[float]]:
    probe = probe_of(small())
    chosen.prepare(probe)
    found = []
    for epoch in (1, 2):
        chosen.epoch_start(epoch, 2, probe)
        found.append(decided(chosen)[0].tolist())
    return found


ROWS = [[1.0, 2.0, 4.0], [2.0, 1.0, 0.5]]
FIRST, SECOND = [0.25, 0.5, 1.0], [1.0, 0.5, 0.25]


def test_measured_before_every_epoch_or_once():
    layers = partition(small())
    assert weights_by_epoch(Given(layers, {}, ROWS)) == [FIRST, SECOND]
    assert weights_by_epoch(Given(layers, {"refresh": "once"}, ROWS)) == [FIRST, FIRST]
    assert weights_by_epoch(GivenOnce(layers, {}, ROWS)) == [FIRST, FIRST]


def test_an_undefined_score_is_a_layer_that_moves_fully():
    chosen = Given(partition(small()), {}, [[1.0, NAN, 4.0]] * 2)
    assert weights_by_epoch(chosen)[0] == [0.25, 1.0, 1.0]


def test_before_anything_was_measured_all_layers_move():
    decision = Given(partition(small()), {}, []).decide(a_step(3))
    assert decision.weights.tolist() == [1.0, 1.0, 1.0] and decision.scores is None


# --- weights in the optimizer -----------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_weight_scales_an_adam_step_where_scaling_the_gradient_would_not(weight_decay):
    """Adam divides by the gradient's own size, so a gradient times 1/4 gives the same step."""
    model = small()
    settings = trial("full", model, weight_decay=weight_decay).settings
    gradients = [torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) for i, p in
                 enumerate(model.parameters())]  # fmt: skip

    def moved(weight: float, scale: float) -> Tensor:
        parameters = [p.detach().clone() for p in model.parameters()]
        optimizer = OPTIMIZERS["adam"](parameters, [0] * len(parameters), settings)
        with torch.no_grad():
            optimizer.advance([g * scale for g in gradients], None)
            optimizer.apply(torch.tensor([weight]), 0.01, None)
        pairs = zip(parameters, model.parameters(), strict=True)
        return torch.cat([(new - old.detach()).flatten() for new, old in pairs])

    whole, quarter = moved(1.0, 1.0), moved(0.25, 1.0)
    torch.testing.assert_close(quarter, whole / 4, rtol=1e-3, atol=1e-7)
    if not weight_decay:
        torch.testing.assert_close(moved(1.0, 0.25), whole, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", FAMILY)
def test_equal_weights_are_full_fine_tuning_bit_for_bit(name):
    """L = 1: the one layer has weight 1."""
    model, other = small(), small()
    layers = partition(model, ("stem|body|head",))
    chosen = trial(name, model)
    one_layer = type(chosen)(chosen.config, model, layers, DATA)
    full = trial("full", other)
    one_layer.run_epoch()
    full.run_epoch()
    assert same(model.state_dict(), other.state_dict())


# --- what probing leaves behind ---------------------------------------------------------------


class Trap(Exception):
    """Raised in the middle of a measurement."""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        *((name, 1) for name in FAMILY),
        ("auto_rgn", 4),
        ("auto_rgn_change", 8),
        ("auto_rgn_hessian", 15),  # the copy has moved by then
        ("auto_rgn_hessian_change", 80),
        ("auto_snr", 12),
    ],
)
def test_measuring_leaves_no_trace_when_it_fails(name, call):
    model = small().train()
    run = trial(name, model)
    calls = []

    def trap(*_: Any) -> None:
        calls.append(1)
        if len(calls) == call:
            raise Trap

    # deep copies share the hook, so the copy that is measured raises
    hook = model.register_forward_hook(trap)
    before = state_of(model)
    with pytest.raises(Trap):
        run.run_epoch()
    assert same(state_of(model), before)
    hook.remove()


# --- resume -----------------------------------------------------------------------------------


def test_a_resumed_strategy_that_measures_once_does_not_measure_again():
    model = small()
    probe = probe_of(model)
    first = strategy("auto_rgn_hessian", probe.partition)
    first.prepare(probe)
    other = strategy("auto_rgn_hessian", probe.partition)
    other.load_state_dict(first.state_dict())
    with torch.no_grad():
        model.head.weight.mul_(9)
    other.epoch_start(2, 3, probe)
    assert same(decided(other), decided(first))


# --- models, data -----------------------------------------------------------------------------


def images(count: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(count)
    return Batch(torch.randn(count, 1, size, size, generator=generator), torch.arange(count) % 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    ("model", "size"), [("test_resnet", 16), ("test_vit", 16), ("test_convnext", 32)]
)
def test_timms_small_models_train(name, model, size):
    data = TrialData(images(12, size), images(8, size), images(14, size))
    parameters = {"history": 3} if "hessian" in name else {}
    run = trial(
        name, timm_model(model, size), {"batches": 2, **parameters}, data, epochs=1, batch_size=6
    )
    metrics = run.run_epoch().metrics
    scores = [v for k, v in metrics.items() if k.startswith("score/")]
    weights = [v for k, v in metrics.items() if k.startswith("select/")]
    assert len(scores) == len(weights) == len(run.partition)
    assert max(weights) == 1.0 and min(weights) >= 0.0 and min(scores) >= 0.0
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("name", ["auto_rgn_change", "auto_rgn_hessian_change"])
def test_source_data_is_declared_and_needed(name):
    probe = probe_of(small(), source=None)
    assert strategy(name, probe.partition).needs == {"source_inputs", "source_labels"}
    with pytest.raises(LookupError, match="source"):
        measured(name, probe)


@pytest.mark.parametrize("name", ["auto_rgn", "auto_rgn_hessian", "auto_snr"])
def test_the_others_do_without(name):
    probe = probe_of(small(), source=None)
    assert not strategy(name, probe.partition).needs
    measured(name, probe)

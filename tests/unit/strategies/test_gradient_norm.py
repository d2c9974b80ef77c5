"""Relative gradient norm and its extensions: hand cases, reductions, invariants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ordered_probe import OrderedProbe
from rates_kit import DATA, Linear, batch, begun, decided, measured, probe_of, same, small, strategy
from torch import Tensor, nn
from torch.nn import functional

from raysel.models.layers import partition
from raysel.strategies import gradient_norm, registered
from raysel.strategies.gradient_norm import relative_norm
from raysel.strategies.gradients import layer_norms, ordered_parameters
from raysel.training.batches import Batch

RGN = ("auto_rgn", "auto_rgn_hessian", "auto_rgn_change", "auto_rgn_hessian_change")
SHARED_MEAN = {"aggregate": "norm_of_mean"}


def close(found: Tensor, expected: Any, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(found.double().numpy(), np.asarray(expected), rtol=rtol)


def no_pairs(*_: Any) -> tuple[list[Tensor], list[Tensor]]:
    return [], []


# --- the equation ------------------------------------------------------------------------------


def test_the_ratio_by_hand():
    """theta_1 = [3, 4], g_1 = [.6, .8]: 1/5; theta_2 = [1], g_2 = [.1]: 1/10."""
    lengths, norms = torch.tensor([1.0, 0.1]), torch.tensor([5.0, 1.0])
    close(relative_norm(lengths, norms, torch.tensor([2, 1])), [0.2, 0.1])


@pytest.mark.parametrize(("norm", "undefined"), [(0.0, True), (1e-11, True), (3e-11, False)])
def test_a_layer_of_no_length_has_no_score(norm, undefined):
    """400 parameters: the bound is 1e-12 sqrt(400) = 2e-11."""
    score = relative_norm(torch.tensor([1.0]), torch.tensor([norm]).double(), torch.tensor([400]))
    assert bool(score.isnan()) is undefined


def test_no_gradient_and_no_length_is_no_score_either():
    assert relative_norm(torch.zeros(1), torch.zeros(1), torch.ones(1)).isnan().all()


# --- auto_rgn ----------------------------------------------------------------------------------


def test_auto_rgn_by_hand():
    net = Linear([3.0, 4.0], [1.0])
    weights, scores = measured("auto_rgn", net.probe([[0.6, 0.8, 0.1]]))
    close(scores, [0.2, 0.1])
    close(weights, [1.0, 0.5])


def test_norm_of_mean_weighs_examples_alike():
    """20 examples in batches of 8, 8 and 4: the gradient of the mean loss over all 20."""
    model, layers = small().double(), partition(small())
    data = batch(20, 4)
    data = Batch(data.images.double(), data.labels)
    probe = probe_of(model, data)
    scores = measured("auto_rgn", probe, **SHARED_MEAN)[1]
    model.eval()
    functional.cross_entropy(model(data.images), data.labels).backward()
    parameters = ordered_parameters(model, layers)
    gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    theta = torch.cat([p.detach().flatten() for p in parameters])
    close(scores, (layer_norms(gradient, layers) / layer_norms(theta, layers)).numpy(), 1e-10)


def test_a_batch_that_is_not_finite_is_left_out():
    rows = [[[1.0, 1.0]], [[math.nan, 1.0]], [[3.0, 1.0]]]
    net = Linear([1.0], [1.0])
    close(measured("auto_rgn", net.probe(*rows))[1], [2.0, 1.0])
    close(measured("auto_rgn", net.probe(*rows), **SHARED_MEAN)[1], [2.0, 1.0])


@pytest.mark.parametrize("name", RGN)
def test_where_no_batch_is_finite_the_last_weights_stay(name):
    probe = probe_of(small())
    chosen = strategy(name, probe.partition, refresh="epoch")
    before = decided(begun(chosen, probe))
    assert len(set(before[0].tolist())) == 3
    broken = Batch(torch.full_like(DATA.train.images, math.inf), DATA.train.labels)
    chosen.epoch_start(2, 3, probe_of(small(), broken))
    assert same(decided(chosen), before)


@pytest.mark.parametrize("name", RGN)
def test_where_none_ever_was_all_layers_move(name):
    broken = Batch(torch.full_like(DATA.train.images, math.inf), DATA.train.labels)
    assert measured(name, probe_of(small(), broken))[0].tolist() == [1.0, 1.0, 1.0]


# --- change ------------------------------------------------------------------------------------


def test_the_change_is_measured_on_the_model_as_it_is_now():
    model = small()
    probe = probe_of(model)
    chosen = begun(strategy("auto_rgn_change", probe.partition), probe)
    first = decided(chosen)[1]
    with torch.no_grad():
        model.head.weight.mul_(3)
    chosen.epoch_start(2, 3, probe)
    assert not torch.allclose(decided(chosen)[1], first)
    close(decided(chosen)[1], measured("auto_rgn_change", probe)[1], 1e-12)


# --- Hessian -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hessian", "plain"),
    [("auto_rgn_hessian", "auto_rgn"), ("auto_rgn_hessian_change", "auto_rgn_change")],
)
def test_without_curvature_it_is_the_plain_variant(monkeypatch, hessian, plain):
    """No pair left: H^-1 = I (D36: with the norm of the mean)."""
    probe = probe_of(small())
    with_curvature = measured(hessian, probe)[1]
    monkeypatch.setattr(gradient_norm, "curvature_pairs", no_pairs)
    found = measured(hessian, probe)[1]
    values = SHARED_MEAN if plain == "auto_rgn" else {}
    torch.testing.assert_close(found, measured(plain, probe, **values)[1], rtol=1e-6, atol=0)
    assert not torch.allclose(with_curvature, found, rtol=0.01)


class Logistic(nn.Module):
    """Two classes, logits (0, x . (one, two)), two layers of one parameter each."""

    def __init__(self, one: float = 0.02, two: float = 0.02) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor([one]).double())
        self.two = nn.Parameter(torch.tensor([two]).double())

    def forward(self, x: Tensor) -> Tensor:
        z = x @ torch.cat([self.one, self.two])
        return torch.stack([torch.zeros_like(z), z], dim=1)

    def probe(self, target: Batch, source: Batch | None = None) -> OrderedProbe:
        return OrderedProbe(self, partition(self, ("one", "two")), target, source, 100)


def logistic_data(seed: int, *scale: float, slope: float = 0.1) -> Batch:
    """400 examples; the log-odds of label 1 are `slope` times the sum of the unit inputs."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    labels = (torch.rand(400, generator=generator) < torch.sigmoid(slope * unit.sum(1))).long()
    return Batch(unit * torch.tensor(scale).double(), labels)


def test_hessian_change_is_hessian_where_the_source_has_no_gradient():
    """Source inputs are 0, so no parameter reaches the loss."""
    target = logistic_data(1, 1.0, 2.0)
    source = Batch(torch.zeros_like(target.images), target.labels)
    change = measured("auto_rgn_hessian_change", Logistic().probe(target, source))[1]
    plain = measured("auto_rgn_hessian", Logistic().probe(target))[1]
    assert torch.equal(change, plain) and bool((plain > 0).all())


def test_hessian_variants_measure_once_unless_asked():
    for name in ("auto_rgn_hessian", "auto_rgn_hessian_change"):
        assert strategy(name, partition(small())).values["refresh"] == "once"
        assert strategy(name, partition(small())).values["history"] == 10


def test_a_longer_history_sees_more_curvature():
    probe = probe_of(small())
    one, ten = (measured("auto_rgn_hessian", probe, history=k)[1] for k in (1, 10))
    assert not torch.allclose(one, ten, rtol=0.01)


# --- all four ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RGN)
def test_a_layer_of_zeros_moves_fully_and_gives_no_nan(name):
    model = small()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    weights, scores = measured(name, probe_of(model))
    assert scores[2].isnan() and weights[2] == 1.0
    assert bool(torch.isfinite(weights).all()) and weights[:2].max() == 1.0
    if name in ("auto_rgn_change",):
        assert weights[:2].tolist() == [1.0, 1.0]  # nothing flows below a head of zeros


@pytest.mark.parametrize("name", ["auto_rgn", "auto_rgn_hessian"])
def test_a_fresh_head_can_stay_out_of_the_normalisation(name):
    model = small()
    with torch.no_grad():
        model.head.weight.mul_(0.01)
        model.head.bias.mul_(0.01)
    inside = measured(name, probe_of(model, fresh_head=True))
    outside = measured(name, probe_of(model, fresh_head=True), head_in_normalisation=False)
    assert inside[0][2] == 1.0 and inside[0][:2].max() < 1.0
    assert outside[0][2] == 1.0 and outside[0][:2].max() == 1.0 and outside[1][2].isnan()
    assert torch.equal(outside[1][:2], inside[1][:2])
    kept = measured(name, probe_of(model, fresh_head=False), head_in_normalisation=False)
    assert same(kept, inside)


@pytest.mark.parametrize("name", ["auto_rgn_change", "auto_rgn_hessian_change"])
def test_a_fresh_head_has_no_change_to_speak_of(name):
    weights, scores = measured(name, probe_of(small(), fresh_head=True))
    assert scores[2].isnan() and weights[2] == 1.0 and weights[:2].max() == 1.0


@pytest.mark.parametrize("name", RGN)
def test_one_class_and_one_example_are_no_failure(name):
    one = Batch(DATA.train.images[:1], DATA.train.labels[:1])
    weights, _ = measured(name, probe_of(small(), one))
    assert weights.max() == 1.0 and bool(torch.isfinite(weights).all())


@pytest.mark.parametrize("name", RGN)
def test_what_is_declared(name):
    kind = registered()[name]
    assert kind.batch_norm == "eval" and kind.cost.before != "nothing"
    assert kind.published.optimizer == "adam"
    assert (kind.published.learning_rate, kind.published.weight_decay) == (1e-5, 1e-4)

"""Module criticality: its equation, its ablations, and that they leave no trace."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from measuring_kit import (
    CLASSES,
    examples,
    fingerprint,
    measured,
    probe_of,
    scores,
    trial,
    weights,
)
from torch import nn

from raysel.models.layers import partition
from raysel.strategies import criticality as module
from raysel.strategies.ablation import (
    make_identity,
    make_random,
    restored,
    shape_keeping_layers,
    weighted_modules,
)
from raysel.strategies.criticality import criticality, mean_loss, top_k
from raysel.training.batches import Batch

IDENTITY = ["criticality_identity_source", "criticality_identity_target"]
RANDOM = ["criticality_random_source", "criticality_random_target"]
ALL = IDENTITY + RANDOM


def chain(*sizes: int, bias: bool = False, seed: int = 1) -> nn.Sequential:
    """Linear layers of these sizes on flat inputs."""
    generator = torch.Generator().manual_seed(seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flat=nn.Flatten())
    for index, (a, b) in enumerate(pairwise(sizes)):
        layers[f"l{index}"] = nn.Linear(a, b, bias=bias)
    net = nn.Sequential(layers)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.0, 1.0, generator=generator)
    return net


def solved(net: nn.Module, count: int = 50, seed: int = 0) -> Batch:
    """Inputs [count, 3, 1, 1] and the net's own answers, so that its loss is low."""
    images = examples(count, 3, 1, 1, seed=seed).images
    with torch.no_grad():
        return Batch(images, net.eval()(images).argmax(1))


def chain_probe(net: nn.Module, **options):
    return probe_of(net, solved(net), solved(net, seed=1), **options)


def tune_nothing(net: nn.Module, epochs: int) -> None:
    return None


# --- the equations -----------------------------------------------------------------------------


def test_criticality_is_the_increase_of_the_loss_and_never_negative():
    found = criticality(0.5, torch.tensor([0.75, 0.5, 0.25, 2.0]))
    assert found.tolist() == [0.25, 0, 0, 1.5]
    assert found.dtype == torch.float64


def test_a_broken_loss_counts_as_the_largest_finite_one():
    found = criticality(1.0, torch.tensor([1.5, math.inf, 3.0, math.nan, -math.inf]))
    assert found.tolist() == [0.5, 2, 2, 2, 2]
    assert criticality(1.0, torch.tensor([math.inf, math.nan])).tolist() == [0, 0]


def test_top_k_keeps_exactly_k_and_prefers_the_lower_layer_on_ties():
    given = torch.tensor([1.0, 3.0, math.nan, 3.0, 2.0, 3.0], dtype=torch.float64)
    assert top_k(given, 2).nan_to_num(-1).tolist() == [0, 3, -1, 3, 0, 0]
    assert top_k(given, 4).nan_to_num(-1).tolist() == [0, 3, -1, 3, 2, 3]
    assert torch.equal(top_k(given, 99).nan_to_num(-1), given.nan_to_num(-1))


# --- ablations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),  # depthwise
        nn.Conv2d(6, 6, 5, padding=2, groups=2),
        nn.Conv2d(5, 5, 1),
        nn.Conv1d(4, 4, 3, padding=1),
        nn.Linear(7, 7),
    ],
)
def test_an_identity_module_returns_its_input(convolution):
    flat = isinstance(convolution, nn.Linear)
    channels = convolution.in_features if flat else convolution.in_channels
    positions = {nn.Linear: (), nn.Conv1d: (8,)}.get(type(convolution), (8, 8))
    x = torch.randn(2, channels, *positions)
    make_identity(convolution)
    assert torch.equal(convolution(x), x)


def test_a_rectangular_convolution_copies_its_first_channels():
    strided = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    make_identity(strided)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(strided(x)[:, :3], x[:, :, ::2, ::2])
    assert torch.equal(strided(x)[:, 3:], torch.zeros(2, 2, 4, 4))


def test_random_modules_are_drawn_as_they_are_first_created():
    """Kaiming by fan-out: std sqrt(2 / (64 * 9)); Linear: uniform within 1 / sqrt(n_in)."""
    net = nn.ModuleList([nn.Conv2d(32, 64, 3), nn.Linear(400, 90), nn.BatchNorm2d(4)])
    net[2].weight.data.fill_(3.0)
    net[2].running_mean.fill_(2.0)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    for part in net:
        make_random(part, generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert float(net[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert net[0].bias.tolist() == [0] * 64
    assert 0.99 * 0.05 < float(net[1].weight.detach().abs().max()) <= 0.05
    assert float(net[1].weight.detach().std()) == pytest.approx(0.05 / math.sqrt(3), rel=0.02)
    assert 0 < float(net[1].bias.detach().abs().max()) <= 0.05
    assert net[2].weight.tolist() == [1] * 4
    assert net[2].running_mean.tolist() == [2] * 4


def test_a_module_is_restored_after_an_error():
    linear = nn.Linear(3, 3)
    before = fingerprint(linear)
    with pytest.raises(KeyError), restored(linear):
        make_identity(linear)
        raise KeyError
    assert fingerprint(linear) == before


def test_which_of_timms_layers_keep_their_shape():
    vit, convnext = trial(ALL[0], "test_vit", 16), trial(ALL[0], "test_convnext", 64)
    for run, size, expected in ((vit, 16, range(1, 7)), (convnext, 64, [1])):
        images = torch.zeros(1, 3, size, size)
        assert sorted(shape_keeping_layers(run.model.eval(), run.partition, images)) == [*expected]


def test_a_tied_module_stands_once():
    net = chain(3, 3, 3)
    net.l1.weight = net.l0.weight
    assert [len(m) for m in weighted_modules(net, partition(net))] == [1]


# --- the measurement ---------------------------------------------------------------------------


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("skip", ["kernel", "skip", None])
def test_a_layer_that_is_the_identity_has_criticality_zero(skip):
    net = chain(3, 3, 3, 3, bias=True)
    make_identity(net.l1)
    given = chain_probe(net, batch_size=7)
    found = scores(measured("criticality_identity_source", given, identity=skip))
    assert found[1] == 0
    assert (found[[0, 2]] > 0).any()


def test_a_layer_of_three_identities_has_criticality_zero_exactly():
    """A mean of three equal losses must be that loss, to the last bit."""
    inner = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)))
    for part in inner:
        make_identity(part)
    net = nn.Sequential(OrderedDict(a=nn.Conv2d(3, 3, 1), b=inner, c=nn.Flatten()))
    for count in (41, 47, 50):
        given = probe_of(net, examples(count, 3, 1, 1), examples(9, 3, 1, 1))
        assert scores(measured("criticality_identity_source", given))[1] == 0


def test_a_constant_on_the_loss_changes_no_ranking(monkeypatch):
    given = chain_probe(chain(3, 5, 4, 3, bias=True))
    plain = scores(measured("criticality_random_source", given))
    monkeypatch.setattr(module, "mean_loss", lambda *a: mean_loss(*a) + 10.0)
    raised = scores(measured("criticality_random_source", given))
    assert torch.equal(plain.argsort(), raised.argsort())
    assert torch.allclose(plain, raised, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("weighting", ["proportional", "binary"])
def test_k_layers_learn_and_the_others_do_not(count, weighting, trained_probe):
    given = trained_probe
    values = {"layers": count, "weighting": weighting}
    strategy = measured("criticality_random_source", given, **values)
    chosen = weights(strategy) > 0
    assert int(chosen.sum()) == count
    assert set(scores(strategy).topk(count).indices.tolist()) == set(
        chosen.nonzero()[:, 0].tolist()
    )
    assert (scores(strategy) > 0).all()  # the trace shows all of them
    if weighting == "binary":
        assert set(weights(strategy).tolist()) <= {0.0, 1.0}
    assert float(weights(strategy).max()) == 1


@pytest.fixture(scope="module")
def trained_probe():
    """A chain that has learnt its source, so that losing any layer hurts."""
    net, data = chain(3, 8, 8, 3, bias=True), examples(60, 3, 1, 1)
    data = Batch(data.images, data.images.flatten(1).argmax(1))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.images), data.labels).backward()
        optimizer.step()
    return probe_of(net, data, data)


def test_an_exploding_ablation_counts_as_the_worst_finite_one():
    net = chain(3, 3, 3, 3)
    with torch.no_grad():
        net.l0.weight.mul_(1e30)  # without the small layer after it the logits overflow
        net.l1.weight.mul_(1e-30)
        net.l2.weight.mul_(1e12)
    given = chain_probe(net)
    found = scores(measured("criticality_identity_source", given, normalise="none"))
    assert found.isfinite().all()
    assert found[1] == found.max() > 0


def test_a_layer_without_a_kernel_is_never_critical():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Sequential(nn.BatchNorm2d(3))  # a layer of its own
            self.conv = nn.Conv2d(3, CLASSES, 1)

        def forward(self, x):
            return self.conv(self.norm(x)).flatten(1)

    net = Net()
    nn.init.constant_(net.norm[0].weight, 5.0)
    for name in ("criticality_identity_source", "criticality_random_source"):
        assert scores(measured(name, chain_probe(net)))[0] == 0


def test_a_layer_of_two_kernels_scores_their_mean():
    def net(first: bool, second: bool) -> nn.Module:
        pair = chain(3, 3, 3, seed=6)
        inner = nn.Sequential(nn.Flatten(), pair.l0, pair.l1)
        for part, ablated in ((pair.l0, first), (pair.l1, second)):
            if ablated:
                make_identity(part)
        return nn.Sequential(OrderedDict(pair=inner, head=chain(3, 3, seed=2).l0))

    plain, one, two = net(False, False), net(True, False), net(False, True)
    given = chain_probe(plain)
    data = [(b.images, b.labels) for b in given.batches("source")]
    base = mean_loss(plain, data)
    expected = max(0.0, (mean_loss(one, data) + mean_loss(two, data)) / 2 - base)
    assert expected > 0
    assert float(scores(measured("criticality_identity_source", given))[0]) == pytest.approx(
        expected, rel=1e-12
    )


def test_a_vit_block_is_skipped_by_default():
    run = trial("criticality_identity_source", "test_vit", 16)
    net = run.model.eval()
    with torch.no_grad():
        net.blocks[2].attn.proj.weight.zero_()
        net.blocks[2].attn.proj.bias.zero_()
        net.blocks[2].mlp.fc2.weight.zero_()
        net.blocks[2].mlp.fc2.bias.zero_()  # the block's branches add 0: it is the identity
    index = run.partition.names.index("blocks.2")
    skipped, default, kernel = (
        scores(measured("criticality_identity_source", run.probe, identity=mode))
        for mode in ("skip", None, "kernel")
    )
    assert skipped[index] == 0
    assert torch.equal(skipped, default)
    assert not torch.equal(kernel, default)


def test_draws_are_averaged_and_differ_by_seed():
    given = chain_probe(chain(3, 5, 4, 3))
    found = {}
    for seed, draws in ((0, 1), (0, 1), (1, 1), (0, 4)):
        torch.manual_seed(seed)
        found.setdefault((seed, draws), []).append(
            scores(measured("criticality_random_source", given, draws=draws))
        )
    assert torch.equal(*found[0, 1])
    assert not torch.equal(found[0, 1][0], found[1, 1][0])
    assert not torch.equal(found[0, 1][0], found[0, 4][0])


def test_only_the_asked_number_of_examples_counts():
    net = chain(3, 4, 3)
    data = solved(net)
    whole, part = (
        probe_of(net, source, data, batch_size=20) for source in (data, data.part(slice(30)))
    )
    torch.manual_seed(0)
    asked = measured("criticality_random_source", whole, examples=30)
    assert torch.equal(scores(asked), scores(measured("criticality_random_source", part)))
    rest = scores(measured("criticality_random_source", whole))
    assert not torch.equal(scores(asked), rest)


@pytest.mark.parametrize("name", ALL)
def test_a_fresh_head_has_no_score_and_weight_one(name):
    net = chain(3, 8, 3)
    given = chain_probe(net, head=("l1.weight",), fresh_head=True, fine_tune=tune_nothing)
    strategy = measured(name, given)
    assert scores(strategy)[1].isnan()
    assert weights(strategy)[1] == 1


@pytest.mark.parametrize("name", ["criticality_identity_source", "criticality_random_source"])
def test_an_error_in_the_middle_leaves_no_trace(name, monkeypatch):
    net = chain(3, 4, 3)
    given = chain_probe(net)
    before, losses = fingerprint(net), []

    def breaks(model, data):
        losses.append(mean_loss(model, data))
        if len(losses) == 3:
            broken.append(model)
            raise MemoryError
        return losses[-1]

    broken: list[nn.Module] = []
    monkeypatch.setattr(module, "mean_loss", breaks)
    with pytest.raises(MemoryError):
        measured(name, given)
    assert fingerprint(net) == before
    for own, scratch in zip(net.parameters(), broken[0].parameters(), strict=True):
        assert torch.equal(own, scratch)  # the copy was restored too


def test_a_model_without_a_finite_loss_is_reported():
    net = chain(3, 3)
    with torch.no_grad():
        net.l0.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="loss is nan before any layer"):
        measured("criticality_random_source", chain_probe(net))


@pytest.mark.parametrize("name", ["criticality_identity_target", "criticality_random_target"])
def test_the_target_variant_scores_a_tuned_copy_on_the_chosen_data(name):
    """Tuned into `tuned`, it must score as the source variant does on that model."""
    net, tuned = chain(3, 4, 3), chain(3, 4, 3, seed=8)
    asked = []

    def tune(model, epochs):
        asked.append(epochs)
        model.load_state_dict(tuned.state_dict())

    a, b = solved(tuned, 30), solved(tuned, 40, seed=3)
    given = probe_of(net, a, b, fine_tune=tune)
    twin = name.replace("target", "source")
    for domain, data in (("target", b), ("source", a)):
        torch.manual_seed(0)
        found = scores(measured(name, given, tune_epochs=3, criticality_data=domain))
        assert torch.equal(found, scores(measured(twin, probe_of(tuned, data, data))))
    assert asked == [3, 3]
    zero = scores(measured(name, given, tune_epochs=0, criticality_data="source"))
    assert torch.equal(zero, scores(measured(twin, given)))  # Algorithm 3 (D23)


# --- in a trial --------------------------------------------------------------------------------


def test_another_trial_seed_draws_other_weights():
    found = []
    for seed in (0, 0, 1):
        run = trial("criticality_random_source", "test_resnet", 16, seed=seed)
        run.run_epoch()
        found.append(scores(run.strategy))
    assert torch.equal(found[0], found[1])
    # not the order of the examples alone, which is another too
    assert not torch.allclose(found[0], found[2], rtol=1e-3)

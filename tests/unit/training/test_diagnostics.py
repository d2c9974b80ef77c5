"""What is measured of every layer beside the strategy's own choice."""

import math

import numpy as np
import pytest
import torch
from few_kit import few
from torch.nn import functional
from trial_kit import (
    config,
    differences,
    finished,
    learnt,
    tensors,
    tiny,
    trial,
    without_seconds,
)

from raysel.models.layers import partition
from raysel.strategies.base import Step
from raysel.training import checkpoint
from raysel.training.diagnostics import Diagnostics

EVERY = ("bias_variance_ratio", "relative_gradient_norm", "parameter_change")
LAYERS = ("stem", "block", "body", "head")
KINDS = ("ratio/", "rgn/", "change/")


def own(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(KINDS)}


def step(gradients: list, parameters: list, number: int, finite=None) -> Step:
    norms = torch.tensor([float((g.double() ** 2).sum()) for g in gradients])
    return Step(
        number=number,
        parameters=parameters,
        gradients=gradients,
        squared_norms=norms.double(),
        layer_of=torch.tensor([0, 0, 1]),
        layer_count=2,
        momentum_buffers=None,
        momentum=0.0,
        finite=finite,
    )


def case(seed: int = 0, steps: int = 4):
    """Three tensors in two layers, and a gradient of each for every step."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 2), (2,), (4,)]
    parameters = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    gradients = [[torch.randn(s, generator=generator) + 1 for s in shapes] for _ in range(steps)]
    return parameters, gradients


def measured(wanted, parameters, gradients) -> dict[str, float]:
    found = Diagnostics(wanted, ["a", "b"], parameters, [0, 0, 1])
    for number, own_gradients in enumerate(gradients, 1):
        found.step(step(own_gradients, parameters, number))
    return found.end_epoch()


def test_the_ratio_is_the_papers_debiased_at_decay_0_9():
    """Oracle in numpy: Adam's corrected means of g and g^2, the first step's ratio infinite."""
    parameters, gradients = case()
    reported = measured(["bias_variance_ratio"], parameters, gradients)
    for layer, tensors_of in {"a": (0, 1), "b": (2,)}.items():
        flat = [np.concatenate([g[i].numpy().ravel() for i in tensors_of]) for g in gradients]
        b = v = np.zeros_like(flat[0], dtype=np.float64)
        ratios = []
        for t, g in enumerate(flat, 1):
            b, v = 0.9 * b + 0.1 * g, 0.9 * v + 0.1 * g.astype(np.float64) ** 2
            mean, second = b / (1 - 0.9**t), v / (1 - 0.9**t)
            if t > 1:
                ratios.append((mean**2).sum() / (second - mean**2).sum())
        assert reported[f"ratio/{layer}"] == pytest.approx(np.mean(ratios), rel=1e-5)
    assert len(reported) == 2


def test_the_relative_gradient_norm_is_a_layers_and_not_a_tensors():
    """||g|| = 5, ||theta|| = 10 over both tensors of layer a."""
    parameters = [torch.tensor([6.0]), torch.tensor([8.0]), torch.tensor([2.0])]
    gradients = [[torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor([1.0])]]
    reported = measured(["relative_gradient_norm"], parameters, gradients)
    assert reported == {"rgn/a": 0.5, "rgn/b": 0.5}


def test_a_layer_of_norm_zero_has_no_relative_gradient_norm():
    parameters = [torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([0.0])]
    gradients = [[torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([1.0])]]
    assert measured(["relative_gradient_norm"], parameters, gradients) == {"rgn/a": 2.0}


def test_an_nonfinite_step_found_on_the_device_is_not_counted():
    parameters, gradients = case()
    bad = [g * math.nan for g in gradients[0]]
    with_bad = Diagnostics(EVERY[:2], ["a", "b"], parameters, [0, 0, 1])
    without = Diagnostics(EVERY[:2], ["a", "b"], parameters, [0, 0, 1])
    for number, g in enumerate(gradients, 1):
        with_bad.step(step(g, parameters, number, torch.tensor(True)))
        without.step(step(g, parameters, number, torch.tensor(True)))
        if number == 2:
            with_bad.step(step(bad, parameters, number, torch.tensor(False)))
    assert with_bad.end_epoch() == without.end_epoch()


def test_the_change_is_measured_from_the_start_of_the_trial():
    run = trial(config(), tiny(), diagnostics=["parameter_change"])
    before = tensors(run)
    for _ in range(2):
        metrics = run.run_epoch().metrics
    after = tensors(run)
    for layer in partition(tiny()).layers:
        moved = sum(float(((after[n] - before[n]).double() ** 2).sum()) for n in layer.parameters)
        size = sum(float((before[n].double() ** 2).sum()) for n in layer.parameters)
        assert metrics[f"change/{layer.name}"] == pytest.approx((moved / size) ** 0.5, rel=1e-6)


def test_the_first_relative_gradient_norm_is_taken_before_the_update():
    model = tiny(dropout=0.0)
    run = trial(config(batch_size=40), tiny(dropout=0.0), diagnostics=["relative_gradient_norm"])
    reported = run.run_epoch().metrics  # one step: all 40 examples
    model.train()
    functional.cross_entropy(model(run.data.train.images), run.data.train.labels).backward()
    for name in LAYERS:
        parameters = list(getattr(model, name).parameters())
        g = sum(float((p.grad.double() ** 2).sum()) for p in parameters)
        size = sum(float((p.detach().double() ** 2).sum()) for p in parameters)
        assert reported[f"rgn/{name}"] == pytest.approx((g / size) ** 0.5, rel=1e-4)


def test_nothing_is_measured_unless_asked():
    assert own(trial(config()).run_epoch().metrics) == {}


@pytest.mark.parametrize("strategy", ["full", "bvg_ls", "bvg_ls_threshold"])
@pytest.mark.parametrize("training", few({}, {"momentum": 0.5}, {"optimizer": "adam"}))
def test_a_trial_is_bit_identical_with_and_without(strategy, training):
    plain = trial(config(strategy, **training))
    watched = trial(config(strategy, **training), diagnostics=EVERY)
    mine, theirs = finished(plain), finished(watched)
    for a, b in zip(mine, theirs, strict=True):
        assert without_seconds(a) == without_seconds(
            {n: v for n, v in b.items() if n not in own(b)}
        )
        assert set(own(b)) == {f"{kind}{name}" for kind in KINDS for name in LAYERS}
    state = {**learnt(watched), "diagnostics": learnt(plain)["diagnostics"]}
    assert differences(learnt(plain), state) == []


def test_layers_that_may_not_move_are_left_out():
    run = trial(config("surgical", {"block": "block"}), diagnostics=EVERY)
    assert set(own(run.run_epoch().metrics)) == {"ratio/block", "rgn/block", "change/block"}


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_a_resumed_trial_measures_the_same(tmp_path, momentum):
    chosen = config("bvg_ls", momentum=momentum)
    whole = trial(chosen, diagnostics=EVERY)
    rows = finished(whole)
    first = trial(chosen, diagnostics=EVERY)
    first.run_epoch()
    checkpoint.InFolder(tmp_path).save(first.state_dict())
    second = trial(chosen, diagnostics=EVERY)
    second.load_state_dict(checkpoint.InFolder(tmp_path).newest()[0])
    assert [own(row) for row in finished(second)] == [own(row) for row in rows[1:]]
    assert differences(learnt(whole), learnt(second)) == []

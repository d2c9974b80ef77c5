"""The optimizers: torch's own arithmetic, state that advances for every layer, and layers at
rest that stay as they are, bit for bit.

Two paths lead to the same numbers: on the host a frozen layer is skipped, on a device the
choice is made by `torch.where`. The device path runs on the CPU as well where a `finite`
flag is given, so both are compared here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trial_kit import SETTINGS

from raysel.training.optimizer import OPTIMIZERS, LayerwiseOptimizer

NAMES = ["sgd", "adam", "adamw"]
SHAPES = [(5, 3), (5,), (4, 2, 3), (7,), (3, 3), (1,)]
LAYER_OF = [0, 0, 1, 1, 2, 2]
SOUND = torch.tensor(True)
ULP = 1.2e-7  # the gap between neighbouring float32 numbers, relative


def _parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in SHAPES]


def _gradients(step: int, scale: float = 1.0) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(100 + step)
    return [scale * torch.randn(s, generator=generator) for s in SHAPES]


def _optimizer(
    name: str, parameters: list[nn.Parameter], layer_of: list[int] = LAYER_OF, **settings: Any
) -> LayerwiseOptimizer:
    return OPTIMIZERS[name](parameters, layer_of, SETTINGS.model_copy(update=settings))


def _step(
    optimizer: LayerwiseOptimizer,
    gradients: list[Tensor | None],
    weights: list[float],
    rate: float = 0.01,
    finite: Tensor | None = None,
) -> None:
    optimizer.advance(gradients, finite)
    optimizer.apply(torch.tensor(weights), rate, finite)


def _values(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


def _state(optimizer: LayerwiseOptimizer) -> list[Tensor]:
    return [tensor.clone() for tensors in optimizer.state.values() for tensor in tensors]


def _equal(left: list[Tensor], right: list[Tensor]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(left, right, strict=True)]


def _of_torch(
    name: str, parameters: list[nn.Parameter], rate: float, decay: float
) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=decay, foreach=False
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay, foreach=False)


# --- torch's arithmetic -------------------------------------------------------------------------


@pytest.mark.parametrize("finite", [None, SOUND], ids=["host path", "device path"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_with_all_weights_1_it_is_torchs_own_for_20_steps(name, decay, finite):
    ours, theirs = _parameters(), _parameters()
    optimizer = _optimizer(name, ours, weight_decay=decay)
    reference = _of_torch(name, theirs, 0.03, decay)
    for step in range(20):
        gradients = _gradients(step)
        _step(optimizer, gradients, [1.0, 1.0, 1.0], 0.03, finite)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    torch.testing.assert_close(_values(ours), _values(theirs), rtol=1e-5, atol=1e-6)
    if name == "sgd" and finite is None:  # what the papers use is equal to the last bit
        assert all(_equal(_values(ours), _values(theirs)))


@pytest.mark.parametrize("finite", [None, SOUND], ids=["host path", "device path"])
def test_sgd_without_momentum_is_plain_sgd(finite):
    ours, theirs = _parameters(), _parameters()
    optimizer = _optimizer("sgd", ours, momentum=0.0)
    reference = torch.optim.SGD(theirs, lr=0.03)
    for step in range(5):
        gradients = _gradients(step)
        _step(optimizer, gradients, [1.0, 1.0, 1.0], 0.03, finite)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    if finite is None:
        assert all(_equal(_values(ours), _values(theirs)))
    torch.testing.assert_close(_values(ours), _values(theirs), rtol=5 * ULP, atol=5 * ULP)


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_without_a_gradient_is_skipped_as_torch_skips_it(name):
    ours, theirs = _parameters(), _parameters()
    optimizer = _optimizer(name, ours, weight_decay=0.05)
    reference = _of_torch(name, theirs, 0.03, 0.05)
    for step in range(6):
        gradients = _gradients(step)
        gradients[step % 3] = None
        _step(optimizer, gradients, [1.0, 1.0, 1.0], 0.03)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    torch.testing.assert_close(_values(ours), _values(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_host_and_device_path_agree(name, decay):
    host, device = _parameters(), _parameters()
    by_host = _optimizer(name, host, weight_decay=decay)
    by_device = _optimizer(name, device, weight_decay=decay)
    before = _values(host)
    for step in range(20):
        weights = [0.0, 0.5, 1.0] if step % 2 else [0.0, 1.0, 0.0]
        _step(by_host, _gradients(step), weights)
        _step(by_device, _gradients(step), weights, finite=SOUND)
        assert all(_equal(_values(device)[:2], before[:2]))
    # gradients and weights are of size 1, and a step may round once more on one path
    near = {"rtol": 20 * ULP, "atol": 20 * ULP}
    torch.testing.assert_close(_values(host), _values(device), **near)
    torch.testing.assert_close(_state(by_host), _state(by_device), **near)


def test_the_states_of_both_paths_differ_by_one_rounding_at_most():
    """The device multiplies in double precision and rounds once, the host twice."""
    host, device = _optimizer("sgd", _parameters()), _optimizer("sgd", _parameters())
    for optimizer, finite in ((host, None), (device, SOUND)):
        for step in range(2):
            _step(optimizer, _gradients(step), [1.0] * 3, finite=finite)
    gradients = zip(_gradients(0), _gradients(1), strict=True)
    for a, b, (first, second) in zip(_state(host), _state(device), gradients, strict=True):
        largest = first.abs() + second.abs()  # type: ignore[union-attr]
        assert ((a - b).abs() <= ULP * largest).all()


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("finite", [None, SOUND], ids=["host path", "device path"])
@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_one_half_halves_the_step(name, finite):
    whole, half = _parameters(), _parameters()
    start = _values(whole)
    for parameters, weight in ((whole, 1.0), (half, 0.5)):
        _step(_optimizer(name, parameters), _gradients(0), [weight] * 3, finite=finite)
    for p, q, s in zip(whole, half, start, strict=True):
        torch.testing.assert_close(q - s, 0.5 * (p - s), rtol=1e-4, atol=3e-7)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_scaling_the_gradient_instead_would_not_halve_adams_step(name):
    """Section 2.2: the seeds write SGD, where both are the same."""
    whole, scaled = _parameters(), _parameters()
    start = _values(whole)
    _step(_optimizer(name, whole), _gradients(0), [1.0] * 3)
    _step(_optimizer(name, scaled), _gradients(0, scale=0.5), [1.0] * 3)
    for p, q, s in zip(whole, scaled, start, strict=True):
        torch.testing.assert_close(q - s, p - s, rtol=1e-4, atol=3e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_learning_rate_of_half_for_a_layer_is_the_same_as_its_weight(name):
    by_weight, by_rate = _parameters(), _parameters()
    first = _optimizer(name, by_weight, weight_decay=0.05)
    second = _optimizer(name, by_rate, weight_decay=0.05)
    for step in range(10):
        _step(first, _gradients(step), [0.25] * 3, 0.04)
        _step(second, _gradients(step), [1.0] * 3, 0.01)
    torch.testing.assert_close(_values(by_weight), _values(by_rate), rtol=1e-6, atol=1e-7)


# --- frozen layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("finite", [None, SOUND], ids=["host path", "device path"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_at_rest_stays_bit_for_bit_whatever_its_gradient(name, decay, finite, bad):
    parameters = _parameters()
    optimizer = _optimizer(name, parameters, weight_decay=decay)
    for step in range(3):
        _step(optimizer, _gradients(step), [1.0, 1.0, 1.0], finite=finite)
    before = _values(parameters)
    for step in range(3, 6):
        gradients = _gradients(step)
        if bad is not None:
            gradients[2] = torch.full(SHAPES[2], bad)
        _step(optimizer, gradients, [1.0, 0.0, 0.3], finite=finite)
    rested = _equal(_values(parameters), before)
    assert rested == [False, False, True, True, False, False]
    assert all(torch.isfinite(p).all() for p in parameters)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_a_layer_at_rest_advances_as_if_it_had_moved(name):
    """D7; without decay, so that the state depends on the gradients alone."""
    frozen, moving = _parameters(), _parameters()
    optimizers = [_optimizer(name, frozen), _optimizer(name, moving)]
    for step in range(5):
        for optimizer, weights in zip(optimizers, ([0.0] * 3, [1.0] * 3), strict=True):
            _step(optimizer, _gradients(step), weights)
    assert all(_equal(_state(optimizers[0]), _state(optimizers[1])))
    assert all(_equal(_values(frozen), _values(_parameters())))


def test_adamw_decays_a_layer_only_when_it_moves():
    """D7: with gradients of zero the decay is all that moves."""
    parameters = _parameters()
    optimizer = _optimizer("adamw", parameters, weight_decay=0.1)
    nothing: list[Tensor | None] = [torch.zeros(s) for s in SHAPES]
    before = _values(parameters)
    for _ in range(2):
        _step(optimizer, nothing, [0.0, 1.0, 0.5], rate=0.2)
    torch.testing.assert_close(
        _values(parameters),
        [
            *before[:2],
            *(p * (1 - 0.2 * 0.1) ** 2 for p in before[2:4]),
            *(p * (1 - 0.5 * 0.2 * 0.1) ** 2 for p in before[4:]),
        ],
        rtol=1e-6,
        atol=1e-7,
    )


def test_hand_case_b_buffers_of_unselected_layers_advance():
    """Section 3.4 (6): alpha = mu = 0.5, eta = 0.1. Layer A moves at step 1, B at step 2;
    B's step is -0.475 only if its buffer took in the gradient of step 1."""
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = _optimizer("sgd", [a, b], [0, 1], momentum=0.5)
    _step(optimizer, [torch.tensor([2.0]), torch.tensor([1.0])], [1.0, 0.0], 0.1)
    assert a.item() == pytest.approx(-0.3, abs=1e-7)
    assert b.item() == 0.0
    _step(optimizer, [torch.tensor([0.2]), torch.tensor([3.0])], [0.0, 1.0], 0.1)
    assert a.item() == pytest.approx(-0.3, abs=1e-7)
    assert b.item() == pytest.approx(-0.475, abs=1e-7)


# --- non-finite steps ---------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["at the first step", "later"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_the_device_finds_nonfinite_changes_nothing(name, decay, bad, first):
    parameters = _parameters()
    optimizer = _optimizer(name, parameters, weight_decay=decay)
    if not first:
        _step(optimizer, _gradients(0), [1.0] * 3, finite=SOUND)
    before, state = _values(parameters), _state(optimizer)
    gradients = _gradients(1)
    gradients[0] = torch.full(SHAPES[0], bad)
    _step(optimizer, gradients, [1.0, 0.0, 0.5], finite=torch.tensor(False))
    assert all(_equal(_values(parameters), before))
    assert all(_equal(_state(optimizer), state))


@pytest.mark.parametrize("name", NAMES)
def test_after_an_nonfinite_step_it_goes_on_as_if_there_had_been_none(name):
    with_one, without = _parameters(), _parameters()
    first, second = _optimizer(name, with_one), _optimizer(name, without)
    for step in range(5):
        if step == 2:
            broken: list[Tensor | None] = [torch.full(s, float("nan")) for s in SHAPES]
            _step(first, broken, [1.0] * 3, finite=torch.tensor(False))
        for optimizer in (first, second):
            _step(optimizer, _gradients(step), [1.0] * 3, finite=SOUND)
    assert all(_equal(_values(with_one), _values(without)))


# --- what it hands out ----------------------------------------------------------------------------


def test_sgds_buffers_serve_the_statistics_only_while_they_hold_raw_gradients():
    parameters = _parameters()
    buffers = _optimizer("sgd", parameters).momentum_buffers
    assert buffers is not None and [b.shape for b in buffers] == [p.shape for p in parameters]
    assert _optimizer("sgd", parameters, weight_decay=0.01).momentum_buffers is None
    assert _optimizer("adam", parameters).momentum_buffers is None
    assert _optimizer("adamw", parameters).momentum_buffers is None


@pytest.mark.parametrize("name", NAMES)
def test_the_gradients_that_it_is_given_stay_as_they_are(name):
    """Strategies read them afterwards."""
    gradients = _gradients(0)
    _step(_optimizer(name, _parameters(), weight_decay=0.05), gradients, [1.0] * 3, finite=SOUND)
    _step(_optimizer(name, _parameters(), weight_decay=0.05), gradients, [1.0] * 3)
    assert all(_equal([g for g in gradients if g is not None], _gradients(0)))  # type: ignore[arg-type]

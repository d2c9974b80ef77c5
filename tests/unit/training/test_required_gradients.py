"""Which gradients a step computes, by a strategy that can do without some."""

from __future__ import annotations

import math
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from device_kit import META, HostRead, Operations
from torch import Tensor, nn
from trial_kit import DATA, batch, config, differences, learnt, tiny, trial

from raysel import LayerwiseSGD
from raysel.strategies.base import Step
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.required_gradients import LAZY_SHARE, RequiredGradients
from raysel.training.selection_trace import EpochTrace

LAZY = {"ema_init": "debiased", "refresh_every": 3, "margin": 1.0}

LAZY_STEPS = [5, 6, 8, 9]
"""Of the first 10: steps 1, 4, 7, 10 are refreshes, and after the first one every ratio is infinite
(D9), so that no layer is far below the lead."""


def lazy(parameters: dict[str, Any] | None = None, **settings: Any) -> FineTuning:
    return trial(config("bvg_ls_lazy", LAZY | (parameters or {}), batch_size=4, **settings))


def steps_of(run: FineTuning) -> list[Step]:
    """Every step that the strategy sees, filled while the trial runs."""
    seen: list[Step] = []
    decide = run.strategy.decide

    def looking(step: Step) -> Any:
        seen.append(step)
        return decide(step)

    run.strategy.decide = looking  # type: ignore[method-assign]
    return seen


def layers_with_gradients(run: FineTuning, step: Step) -> set[int]:
    given = zip(run.layer_of, step.gradients, strict=True)
    return {layer for layer, gradient in given if gradient is not None}


# --- the loop -----------------------------------------------------------------------------------


def test_a_step_computes_what_is_needed_and_only_that():
    run = lazy()
    seen, needed = steps_of(run), []
    ask = run.strategy.needs_gradients

    def asking(number: int, seed: int) -> Any:
        needed.append(ask(number, seed))
        return needed[-1]

    run.strategy.needs_gradients = asking  # type: ignore[method-assign]
    run.run_epoch()
    assert [step.number for step in seen] == list(range(1, 11))
    for step, layers in zip(seen, needed, strict=True):
        assert layers_with_gradients(run, step) == set(range(4) if layers is None else layers)
    assert [n for n, layers in enumerate(needed, start=1) if layers is not None] == LAZY_STEPS


def test_the_backward_pass_ends_above_the_lowest_layer_that_is_needed():
    model = tiny(dropout=0.0)
    run = trial(config("bvg_ls_lazy", LAZY), model)
    reached: list[str] = []

    def watch(name: str, module: nn.Module) -> None:
        def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda gradient: reached.append(name))

        module.register_forward_hook(after)

    for name, module in model.named_children():
        watch(name, module)
    run.strategy.needs_gradients = lambda number, seed: None if number == 1 else [2]  # type: ignore[method-assign]
    part = batch(8, 1)
    run._update(run._backward([part]), EpochTrace(run.partition.names, 1))
    assert set(reached) == {"stem", "block", "body", "head"}
    reached.clear()
    run._backward([part])
    assert set(reached) == {"body", "head"}
    assert [p.grad is not None for p in model.body.parameters()] == [True, True]
    assert all(p.grad is None for p in [*model.stem.parameters(), *model.head.parameters()])


def test_the_gradients_that_are_computed_are_those_of_a_whole_step():
    whole, part = (trial(config("bvg_ls_lazy", LAZY), tiny(dropout=0.0)) for _ in range(2))
    part.strategy.needs_gradients = lambda number, seed: [1, 3]  # type: ignore[method-assign]
    for run in (whole, part):
        run._backward([batch(8, 1)])
    for layer, mine, theirs in zip(part.layer_of, part.parameters, whole.parameters, strict=True):
        if layer in (1, 3):
            assert mine.grad is not None and theirs.grad is not None
            assert torch.equal(mine.grad, theirs.grad)
        else:
            assert mine.grad is None


def test_a_layer_without_a_gradient_rests_with_its_momentum():
    run = lazy()
    buffers = run.optimizer.state["momentum"]
    update = run._update

    def looking(loss: Tensor, trace: EpochTrace) -> None:
        without = [i for i, p in enumerate(run.parameters) if p.grad is None]
        before = {i: (buffers[i].clone(), run.parameters[i].detach().clone()) for i in without}
        update(loss, trace)
        for i, (buffer, parameter) in before.items():
            assert torch.equal(buffers[i], buffer) and torch.equal(run.parameters[i], parameter)
        rested.append(len(without))

    rested: list[int] = []
    run._update = looking  # type: ignore[method-assign]
    run.run_epoch()
    assert [number for number, count in enumerate(rested, start=1) if count] == LAZY_STEPS


def test_the_trace_and_the_metrics_tell_which_steps_were_lazy(tmp_path):
    run = lazy()
    run.trace_folder = tmp_path / "trial" / "trace"
    seen = steps_of(run)
    metrics = run.run_epoch().metrics
    assert metrics[LAZY_SHARE] == pytest.approx(len(LAZY_STEPS) / 10)
    rows = pq.read_table(run.trace_folder / "epoch-0001.parquet").to_pylist()
    for step in seen:
        scores = [row["score"] for row in rows if row["step"] == step.number]
        computed = {layer for layer, score in enumerate(scores) if not math.isnan(score)}
        assert computed == layers_with_gradients(run, step)
    assert LAZY_SHARE not in trial(config("bvg_ls")).run_epoch().metrics


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("limit", [{"refresh_every": 1}, {"margin": 0.0}])
def test_at_its_limits_the_trial_is_that_of_bvg_ls_bit_for_bit(limit, optimizer):
    exact = trial(config("bvg_ls", {"ema_init": "debiased"}, batch_size=4, optimizer=optimizer))
    run = lazy(limit, optimizer=optimizer)
    for _ in range(2):
        expected, metrics = exact.run_epoch().metrics, run.run_epoch().metrics
        assert metrics.pop(LAZY_SHARE) == 0
        del expected["cost/seconds"], metrics["cost/seconds"]
        assert metrics == expected
    mine, theirs = learnt(run), learnt(exact)
    for state in (mine, theirs):
        state.pop("config", None)
    near = mine["strategy"].pop("near")
    assert near is None
    assert differences(mine, theirs) == []


def test_resumed_between_two_refreshes_it_ends_bit_identical():
    """Step 10, the first epoch's last, is a refresh."""
    whole, second = lazy(), lazy()
    whole.run_epoch()
    second.load_state_dict(whole.state_dict())
    for run in (whole, second):
        seen = steps_of(run)
        run.run_epoch()
        assert layers_with_gradients(run, seen[0]) != set(range(4))
    assert differences(learnt(second), learnt(whole)) == []


# --- a loop of one's own --------------------------------------------------------------------------


def test_a_plain_loop_leaves_the_same_gradients_out():
    model = tiny(dropout=0.0)
    optimizer = LayerwiseSGD(model, "bvg_ls_lazy", lr=0.05, parameters=LAZY)
    computed = []
    for number in range(10):
        part = DATA.train.part(slice(4 * number, 4 * number + 4))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(part.images), part.labels).backward()
        computed.append(sum(p.grad is not None for p in model.parameters()))
        optimizer.step()
    most = len(list(model.parameters()))
    assert [n for n, count in enumerate(computed, start=1) if count < most] == LAZY_STEPS


# --- a device -------------------------------------------------------------------------------------


def on_meta() -> FineTuning:
    part = Batch(torch.empty(8, 1, 8, 8, device=META), torch.empty(8, device=META).long())
    return trial(config("bvg_ls_lazy", LAZY), tiny().to(META), TrialData(part, part))


def test_the_host_reads_the_device_once_in_k_steps_and_in_no_update(monkeypatch):
    """On the meta device, where a read fails: the strategy's own is answered instead."""
    run, trace, reads = on_meta(), EpochTrace(("stem", "block", "body", "head"), 1), []
    required = run._required

    def read(tensor: Tensor) -> list[bool]:
        reads.append(run.step + 1)
        return [False, True, False, True]

    monkeypatch.setattr(Tensor, "tolist", read)
    loss = torch.zeros((), device=META)
    for number in range(1, 14):
        required.before_step(number)
        for parameter in run.parameters:
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        with Operations(strict=number > 3):  # the first cycle makes what is made once
            run._update(loss, trace)
    assert reads == [2, 5, 8, 11]  # k = 3: before the step after each refresh


def test_that_read_is_seen_as_one(monkeypatch):
    run = on_meta()
    for parameter in run.parameters:
        parameter.grad = torch.empty_like(parameter)
    with Operations(strict=False):
        run._update(torch.zeros((), device=META), EpochTrace(run.partition.names, 1))
    with Operations(), pytest.raises(HostRead):
        run.strategy.needs_gradients(2, 0)


# --- the flags ------------------------------------------------------------------------------------


def test_no_layer_at_rest_in_an_epoch_gets_a_gradient_at_a_step():
    run = trial(config("bvg_ls"))
    required = RequiredGradients(run.model, run.strategy, 0)
    active = run.partition.parameters_of([2, 3])
    assert set(required.only(active)) == active
    run.strategy.needs_gradients = lambda number, seed: [1, 2]  # type: ignore[method-assign]
    required.before_step(1)
    found = {name for name, p in run.model.named_parameters() if p.requires_grad}
    assert found == run.partition.parameters_of([2])
    with pytest.raises(ValueError, match="bvg_ls: no parameter may move"):
        required.only(frozenset())

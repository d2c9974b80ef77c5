"""Steps of the loop: those that are skipped, clipping, rates, and the strategies of a user."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from device_kit import Operations
from few_kit import few
from optuna.trial import FixedTrial
from torch import Tensor
from trial_kit import (
    DATA,
    batch,
    config,
    differences,
    finished,
    learnt,
    tensors,
    tiny,
    trace_rows,
    trial,
    without_seconds,
)
from trial_strategies import Alternating, MeasuredRates, registered_for_a_test

from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.strategies.base import Step
from raysel.training import checkpoint
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.nonfinite import Diverged
from raysel.training.schedule import learning_rate
from raysel.training.selection_trace import EpochTrace

GUIDED = {"ema_decay": 0.8, "ema_init": "debiased"}


def _broken(data: Batch, value: float = math.nan) -> Batch:
    return replace(data, images=torch.full_like(data.images, value))


def _steps_seen(run: FineTuning) -> list[Step]:
    """What the strategy is shown, step by step, filled as the trial runs."""
    seen: list[Step] = []
    decide = run.strategy.decide

    def watching(step: Step) -> Any:
        copied = [None if g is None else g.clone() for g in step.gradients]
        seen.append(replace(step, gradients=copied))
        return decide(step)

    run.strategy.decide = watching  # type: ignore[method-assign]
    return seen


def _updates(run: FineTuning) -> list[tuple[float, Tensor]]:
    """The base rate of each step and all that it added to the parameters, [P]."""
    updates: list[tuple[float, Tensor]] = []
    apply = run.optimizer.apply

    def watching(weights: Tensor, rate: float, finite: Tensor | None = None) -> None:
        before = torch.cat([p.detach().ravel() for p in run.parameters])
        apply(weights, rate, finite)
        after = torch.cat([p.detach().ravel() for p in run.parameters])
        updates.append((rate, after - before))

    run.optimizer.apply = watching  # type: ignore[method-assign]
    return updates


# --- non-finite steps -------------------------------------------------------------------


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_loss_that_is_not_finite_leaves_optimizer_and_statistics_as_they_were(optimizer, place):
    settings = {"optimizer": optimizer, "weight_decay": 0.01, "batch_norm": "eval"}
    run = trial(config("bvg_ls", GUIDED, **settings))
    run.nonfinite._on_host = place == "host"
    run.run_epoch()
    before = learnt(run)
    before = {key: before[key] for key in ("whole model", "optimizer", "strategy", "moved")}
    before = torch.utils._pytree.tree_map(
        lambda x: x.clone() if isinstance(x, Tensor) else x, before
    )
    run.data = replace(DATA, train=_broken(DATA.train))
    metrics = run.run_epoch().metrics
    now = learnt(run)
    assert differences({key: now[key] for key in before}, before) == []
    assert metrics["train/skipped_steps"] == 5 and math.isnan(metrics["train/loss"])
    run.data = DATA
    assert run.run_epoch().metrics["train/skipped_steps"] == 5
    assert differences(learnt(run)["optimizer"], before["optimizer"]) != []


@pytest.mark.parametrize("place", ["host", "device"])
def test_a_skipped_step_moved_nothing_in_the_trace_either(place, tmp_path):
    """A trace is evidence: from it a person can say which layers moved at which step."""
    run = trial(config("full", batch_norm="eval"), trace=tmp_path)
    run.nonfinite._on_host = place == "host"
    run.data = replace(DATA, train=_broken(DATA.train))
    metrics = run.run_epoch().metrics
    assert [row for row in trace_rows(tmp_path) if row["weight"] > 0] == []
    assert metrics["cost/updated_params"] == 0 and run.updated_share == 0


@pytest.mark.parametrize("place", ["host", "device"])
def test_a_gradient_that_is_not_finite_skips_the_step_though_the_loss_is(place):
    run = trial(config("full", batch_norm="eval"))
    run.nonfinite._on_host = place == "host"
    before = tensors(run)
    hook = run.parameters[0].register_hook(lambda gradient: gradient * math.inf)
    metrics = run.run_epoch().metrics
    assert metrics["train/skipped_steps"] == 5 and math.isfinite(metrics["train/loss"])
    assert differences(tensors(run), before) == []
    hook.remove()
    run.run_epoch()
    assert differences(tensors(run), before) != []


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize(("examples", "diverges"), [(36, False), (40, True)])
def test_nine_skipped_steps_in_a_row_are_borne_and_ten_are_not(examples, diverges, place):
    data = TrialData(_broken(batch(examples, 1)), DATA.validation)
    run = trial(config("full", batch_size=4, batch_norm="eval"), data=data)
    run.nonfinite._on_host = place == "host"
    if diverges:
        with pytest.raises(Diverged):
            run.run_epoch()
    else:
        assert run.run_epoch().metrics["train/skipped_steps"] == 9


def test_a_validation_loss_that_is_not_finite_ends_the_trial():
    run = trial(config("full"), data=TrialData(DATA.train, _broken(DATA.validation)))
    with pytest.raises(Diverged):
        run.run_epoch()


# --- an accelerator -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", few("adamw", "sgd", "adam"))
@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("full", {}),
        ("surgical", {"block": "body"}),
        ("bvg_ls", {"ema_decay": 0.9}),
        ("bvg_ls", GUIDED),
        ("bvg_ls_threshold", GUIDED),
    ],
)
def test_no_step_waits_for_the_host(strategy, parameters, optimizer):
    """On the meta device, where there is no number that the host could read."""
    settings = {
        "optimizer": optimizer,
        "clip_norm": 1.0,
        "weight_decay": 0.01,
        "gradient_accumulation_steps": 2,
    }
    run = trial(config(strategy, parameters, **settings), tiny().to("meta"))
    run._autocast = nullcontext  # type: ignore[method-assign, assignment]  # not for this device
    trace = EpochTrace(run.partition.names, epoch=1)
    part = Batch(torch.empty(8, 1, 8, 8, device="meta"), torch.empty(8, device="meta").long())
    with Operations(strict=False):  # what is made once
        run._update(run._backward([part, part]), trace)
    for _ in range(2):
        loss = run._backward([part, part])
        with Operations():
            run._update(loss, trace)
    assert run.step == 3
    with pytest.raises((NotImplementedError, RuntimeError)):  # here it would have to read
        run.nonfinite.check()


# --- clipping and rates -------------------------------------------------------------------------


def test_statistics_see_the_gradient_and_the_update_is_clipped():
    settings = {"momentum": 0.0, "batch_norm": "eval", "epochs": 1}
    free = trial(config("full", **settings), tiny(dropout=0.0))
    clipped = trial(config("full", clip_norm=0.1, **settings), tiny(dropout=0.0))
    seen, unclipped = _steps_seen(clipped), _steps_seen(free)
    updates = _updates(clipped)
    clipped.run_epoch()
    free.run_epoch()
    first = list(zip(seen[0].gradients, unclipped[0].gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in first if a is not None and b is not None)
    for step, (rate, update) in zip(seen, updates, strict=True):
        gradient = torch.cat([g.ravel() for g in step.gradients if g is not None])
        assert gradient.norm() > 0.1  # else nothing would be tested
        assert float(step.squared_norms.sum().sqrt()) == pytest.approx(float(gradient.norm()))
        torch.testing.assert_close(
            update, -rate * 0.1 * gradient / gradient.norm(), rtol=1e-3, atol=1e-7
        )


def test_a_gradient_below_the_limit_is_not_touched():
    free, clipped = trial(config("full")), trial(config("full", clip_norm=1e4))
    finished(free)
    finished(clipped)
    assert differences(tensors(free), tensors(clipped)) == []


def test_clipped_momentum_does_not_serve_the_statistics():
    """The buffers then hold clipped gradients: the ratios must be those without clipping."""
    scores = []
    for clip_norm in (None, 0.1):
        chosen = config("bvg_ls", {"ema_decay": 0.9}, learning_rate=1e-9, clip_norm=clip_norm)
        run = trial(chosen, tiny(dropout=0.0))
        scores.append([{k: v for k, v in r.items() if "score/" in k} for r in finished(run)])
    for free, clipped in zip(*scores, strict=True):
        assert clipped == pytest.approx(free, rel=1e-4)


def test_each_step_has_the_rate_of_its_place_in_the_trial():
    """Skipped steps count: the schedule goes on."""
    run = trial(
        config(
            schedule="cosine", warmup_epochs=1.0, gradient_accumulation_steps=2, batch_norm="eval"
        )
    )
    updates = _updates(run)
    run.run_epoch()
    run.data = replace(DATA, train=_broken(DATA.train))
    run.run_epoch()
    run.data = DATA
    run.run_epoch()
    expected = [learning_rate(run.settings, step, 3) for step in (0, 1, 2, 6, 7, 8)]
    assert [rate for rate, _ in updates] == expected
    assert expected != [learning_rate(run.settings, step, 3) for step in range(6)]


def test_bfloat16_keeps_the_weights_and_statistics_in_float32():
    runs = [trial(config("bvg_ls", GUIDED, precision=p)) for p in ("float32", "bfloat16")]
    losses = [[row["train/loss"] for row in finished(run)] for run in runs]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.2)
    state = torch.utils._pytree.tree_leaves(learnt(runs[1]))
    assert not any(isinstance(t, Tensor) and t.dtype == torch.bfloat16 for t in state)


# --- what an epoch tells ------------------------------------------------------------------------


def test_the_metrics_of_an_epoch_are_those_of_the_record(tmp_path):
    run = trial(config("bvg_ls", GUIDED), trace=tmp_path)
    metrics = run.run_epoch().metrics
    names = ("stem", "block", "body", "head")
    assert set(metrics) - {f"score/{n}" for n in names} == {
        *("train/loss", "val/error", "val/loss", "cost/seconds", "cost/updated_params"),
        *("val/balanced_error", "train/skipped_steps", "select/transient_share"),
        *(f"select/{n}" for n in names),
    }
    assert sum(metrics[f"select/{n}"] for n in names) == pytest.approx(1.0)
    assert metrics["cost/updated_params"] == pytest.approx(
        sum(metrics[f"select/{n}"] * size.size for n, size in zip(names, run.partition.layers))  # noqa: B905
    )


def test_validation_is_measured_in_eval_mode_and_changes_nothing():
    run = trial(config("surgical", {"block": "body"}, batch_norm="frozen_eval"))
    run.run_epoch()
    modes = [module.training for module in run.model.modules()]
    before = tensors(run)
    measured = run.evaluate(DATA.validation, "val")
    assert [module.training for module in run.model.modules()] == modes
    assert differences(tensors(run), before) == []
    with torch.no_grad():
        logits = run.model.eval()(DATA.validation.images)
    wrong = (logits.argmax(1) != DATA.validation.labels).double().mean().item()
    loss = torch.nn.functional.cross_entropy(logits, DATA.validation.labels).item()
    assert measured == {
        "val/error": wrong,
        "val/loss": pytest.approx(loss, rel=1e-6),
        "val/balanced_error": pytest.approx(wrong),  # six examples of each class
    }


@pytest.mark.parametrize("metric", ["val/loss", "val/error"])
def test_the_best_epoch_is_kept_and_can_be_put_back(metric):
    run = trial(config("full", learning_rate=0.5, epochs=6), keep_best=True)
    run.objective = run.objective.model_copy(update={"metric": metric})
    states, values = [], []
    for _ in range(6):
        values.append(run.run_epoch().metrics[metric])
        states.append(tensors(run))
    best = values.index(min(values))  # the first of equals
    assert run.validated.best_epoch == best + 1
    run.validated.load()
    assert differences(tensors(run), states[best]) == []


# --- strategies of a user -----------------------------------------------------------------------

FILE = """\
name: own
task: {data: digits}
model: {name: resnet10t}
strategies:
  alternating: {weight: search}
  measured_rates:
training: {learning_rate: 0.05, epochs: 3, batch_size: 8, batch_norm: eval, momentum: 0.0}
"""


def test_a_strategy_written_here_goes_through_space_loop_and_trace(tmp_path):
    with registered_for_a_test(Alternating, MeasuredRates):
        space = Space(parse(FILE), ("stem", "block", "body", "head"))
        assert "alternating.weight" in space.names
        suggested = {"strategy": "alternating", "alternating.weight": 0.25}
        chosen = space.suggest(FixedTrial(suggested))
        run = trial(chosen, trace=tmp_path)
        before = tensors(run)
        rows = finished(run)
    moved = [row["layer"] for row in trace_rows(tmp_path) if row["weight"] == 0.25]
    assert moved == [("stem", "block", "body", "head")[i % 4] for i in range(15)]
    assert [row["score"] for row in trace_rows(tmp_path)][::4] == [float(i) for i in range(1, 16)]
    assert rows[0]["select/stem"] == 0.25 * 2 / 5
    assert differences(tensors(run), before) != []


def test_learning_rate_weights_measured_by_the_probe_scale_each_layers_step():
    with registered_for_a_test(MeasuredRates):
        run = trial(config("measured_rates", momentum=0.0), tiny(dropout=0.0))
        seen, updates = _steps_seen(run), _updates(run)
        finished(run)
    history = run.strategy.history  # type: ignore[attr-defined]
    assert len(history) == 3 and not torch.equal(history[0], history[1])
    assert all(float(weights.max()) == 1 and float(weights.min()) > 0 for weights in history)
    for number, (step, (rate, update)) in enumerate(zip(seen, updates, strict=True)):
        weights = history[number // 5]
        expected = [
            -rate * weights[layer] * g.ravel()
            for g, layer in zip(step.gradients, run.layer_of, strict=True)
            if g is not None
        ]
        torch.testing.assert_close(update, torch.cat(expected), rtol=1e-3, atol=1e-6)


def test_such_a_strategy_resumes_at_any_epoch_too(tmp_path):
    with registered_for_a_test(MeasuredRates):
        whole = trial(config("measured_rates"))
        rows = []
        for epoch in (1, 2, 3):
            rows.append(without_seconds(whole.run_epoch().metrics))
            checkpoint.InFolder(tmp_path / str(epoch)).save(whole.state_dict())
        for epoch in (1, 2):
            resumed = trial(config("measured_rates"))
            state, _ = checkpoint.InFolder(tmp_path / str(epoch)).newest()
            assert state is not None
            resumed.load_state_dict(state)
            assert [without_seconds(row) for row in finished(resumed)] == rows[epoch:]
            assert differences(learnt(resumed), learnt(whole)) == []

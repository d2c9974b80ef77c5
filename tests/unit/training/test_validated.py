"""The weights that are validated, tested and exported: against timm's `ModelEmaV3`."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from device_kit import Dispatched
from few_kit import few
from shared_kit import examples, shared
from torch import Tensor, nn
from trial_kit import DATA, config, differences, finished, learnt, tensors, tiny, trial

from raysel.models import timm
from raysel.training import checkpoint
from raysel.training.loop import FineTuning
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import TrialWorker
from raysel.training.validated import ALPHA, ValidatedWeights, WeightAverage

DECAY = {"weight_averaging": 0.9}


def timms_average(strategy: str) -> tuple[FineTuning, nn.Module]:
    """A trial without an average, and the one that timm keeps of its whole model."""
    run = trial(config(strategy, epochs=2))
    average = timm.utils.ModelEmaV3(run.model, decay=0.9, use_warmup=True)
    run.after_step = lambda step: average.update(run.model, step=step)
    finished(run)
    return run, average.module


def averaged(run: FineTuning) -> dict[str, Tensor]:
    with run.validated.in_place():
        return tensors(run)


@pytest.mark.parametrize("strategy", few("full", "linear_probe"))
def test_the_average_is_timms_and_the_training_is_as_without(strategy):
    plain, wanted = timms_average(strategy)
    run = trial(config(strategy, epochs=2, **DECAY))
    rows = finished(run)
    assert differences(tensors(run), tensors(plain)) == []
    assert differences(averaged(run), dict(wanted.state_dict())) == []
    assert differences(tensors(run), averaged(run)) != []
    with torch.no_grad():
        logits = wanted.eval()(DATA.validation.images)
    loss = nn.functional.cross_entropy(logits, DATA.validation.labels)
    assert rows[-1]["val/loss"] == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_trial_resumed_with_it_ends_bit_identical(keep_best):
    chosen = config("bvg_ls", epochs=3, learning_rate=0.3, **DECAY)
    whole = trial(chosen, keep_best=keep_best)
    whole.run_epoch()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    second = trial(chosen, keep_best=keep_best)
    second.load_state_dict(torch.load(file, weights_only=True))
    for run in (whole, second):
        finished(run)
    assert differences(learnt(second), learnt(whole)) == []
    assert differences(averaged(second), averaged(whole)) == []


@pytest.mark.parametrize("keep_best", [True, False])
def test_what_is_loaded_in_the_end_is_the_average_of_the_best_or_last_epoch(keep_best):
    run = trial(config("full", learning_rate=0.5, epochs=4, **DECAY), keep_best=keep_best)
    states, values = [], []
    for _ in range(4):
        values.append(run.run_epoch().metrics["val/error"])
        states.append(averaged(run))
    best = values.index(min(values))
    run.validated.load()
    loaded = tensors(run)
    wanted = states[best if keep_best else 3]
    floating = {name for name, tensor in loaded.items() if tensor.is_floating_point()}
    assert [n for n in floating if not torch.equal(loaded[n], wanted[n])] == []


def test_what_is_tested_is_what_the_checkpoint_gives_to_be_exported(tmp_path):
    worker = TrialWorker(shared(tmp_path, test=examples(24, 7)))
    chosen = config("full", epochs=2, batch_size=8, **DECAY)
    steps = TrialRun(worker, "0000", chosen)
    last = [steps.epoch() for _ in range(2)][-1]
    tuning = steps.tuning
    assert tuning is not None and worker.test is not None
    (file,) = (tmp_path / "trials" / "0000").glob(checkpoint.NAME)
    state = checkpoint.read(file, "it")
    exported = worker.model(chosen)
    exported.load_state_dict(state["best"][2] or state["model"], strict=False)
    measured = tuning.evaluate(worker.test, "test")
    assert measured["test/loss"] == last.metrics["test/loss"]
    assert last.metrics["confirm/epoch"] == 2
    floating = [t for t in state["model"].values() if t.is_floating_point()]
    assert differences(floating, state["average"]) == []


def test_a_state_without_an_average_is_as_before_there_was_one():
    run = trial(config("full", epochs=1))
    finished(run)
    assert "average" not in run.state_dict()
    assert run.validated.moving_state().keys() == run.model.state_dict().keys()


def test_an_update_is_one_launch_for_however_many_tensors():
    for count in (2, 40):
        average = WeightAverage([torch.ones(3) for _ in range(count)], 0.9)
        with Dispatched() as counted:
            average.update(5)
        launches = {name: n for name, n in counted.names.items() if name != "detach"}
        assert launches == {"_foreach_lerp_": 1}


def test_the_average_of_a_model_does_not_change_it():
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    names = [name for name, _ in model.named_parameters()]
    validated = ValidatedWeights(model, names, 0.9, keep_best=False)
    with torch.no_grad():
        model.head.bias += 1
        validated.after_step(1)  # timm's warm-up: the first is a copy
        model.head.bias += 1
    with validated.in_place():
        assert torch.allclose(model.head.bias, before["head.bias"] + 1)
    assert torch.allclose(model.head.bias, before["head.bias"] + 2)


# --- patience -------------------------------------------------------------------------------------


def test_a_trial_ends_after_so_many_epochs_without_a_lower_objective():
    settings = config("full", epochs=10, patience=2).training
    values = [0.5, 0.4, 0.4, 0.3, 0.35, 0.3, 0.2]
    lengths = []
    for length in range(1, len(values) + 1):
        best = values.index(min(values[:length])) + 1
        if settings.is_last(length, best):
            lengths.append(length)
    assert lengths[0] == 6  # epoch 4 was the lowest, 5 and 6 were not lower
    assert settings.is_last(10, 10) and not settings.is_last(9, 9)
    assert not config("full", epochs=10).training.is_last(9, 1)


def test_a_trial_that_waits_no_longer_is_over_and_tested(tmp_path):
    worker = TrialWorker(shared(tmp_path, test=examples(24, 7), keep_best=True))
    chosen = config("full", epochs=9, batch_size=8, learning_rate=1e-6, patience=2)
    steps = TrialRun(worker, "0000", chosen)
    rows = [steps.epoch().metrics for _ in range(3)]
    assert {row["val/error"] for row in rows} == {rows[0]["val/error"]}  # it learns nothing
    assert ["test/error" in row for row in rows] == [False, False, True]
    assert rows[-1]["confirm/epoch"] == 1
    assert steps.tuning is not None and steps.tuning.is_over


# --- between the start and the tuned weights ------------------------------------------------------


def by_hand(start: dict[str, Tensor], tuned: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    return {
        name: (1 - alpha) * start[name] + alpha * tensor if tensor.is_floating_point() else tensor
        for name, tensor in tuned.items()
    }


@pytest.mark.parametrize("metric", ["val/loss", "val/error"])
def test_the_share_is_the_one_that_validation_likes_best(metric):
    alphas, start = (0.2, 0.6, 1.0), tiny().state_dict()
    chosen = config("full", learning_rate=0.3, epochs=2, wise_ft=alphas)
    run, plain = trial(chosen), trial(config("full", learning_rate=0.3, epochs=2))
    for each in (run, plain):
        each.objective = each.objective.model_copy(update={"metric": metric})
    for _ in range(2):
        row = run.run_epoch().metrics
        plain.run_epoch()
        assert differences(tensors(run), tensors(plain)) == []  # the training is as without
        found = {}
        for alpha in alphas:
            other = tiny().eval()
            other.load_state_dict(by_hand(start, tensors(plain), alpha))
            with torch.no_grad():
                logits = other(DATA.validation.images)
            wrong = (logits.argmax(1) != DATA.validation.labels).double().mean().item()
            loss = nn.functional.cross_entropy(logits, DATA.validation.labels).item()
            found[alpha] = {"val/loss": loss, "val/error": wrong}
        best = min(alphas, key=lambda alpha: found[alpha][metric])
        assert row[ALPHA] == best
        assert row["val/loss"] == pytest.approx(found[best]["val/loss"], rel=1e-4)
        assert row["val/error"] == found[best]["val/error"]


def test_what_is_loaded_lies_between_and_a_fresh_head_is_as_tuned():
    alphas, start = (0.4,), tiny().state_dict()
    run = trial(config("full", epochs=2, wise_ft=alphas), fresh_head=True)
    finished(run)
    tuned = tensors(run)
    run.validated.load()
    wanted = by_hand(start, tuned, 0.4) | {n: tuned[n] for n in ("head.weight", "head.bias")}
    for name, tensor in tensors(run).items():
        assert torch.allclose(tensor, wanted[name], rtol=1e-5, atol=1e-7), name


def test_a_share_of_one_is_the_tuned_weights():
    run, plain = (trial(config("full", **given)) for given in ({"wise_ft": (1.0,)}, {}))
    rows, wanted = finished(run), finished(plain)
    assert [r["val/loss"] for r in rows] == [r["val/loss"] for r in wanted]
    assert ALPHA in rows[0] and ALPHA not in wanted[0]

"""What a strategy may measure, and that measuring leaves no trace."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import torch
from torch.nn import functional
from trial_kit import DATA, config, differences, finished, learnt, tensors, tiny, trial
from trial_strategies import MeasuredRates, Wrecker, registered_for_a_test

from raysel.training.loop import TrialData


def _trial(**options):
    return trial(config(), **options)


def test_the_model_is_a_copy_in_eval_mode_with_a_gradient_for_every_parameter():
    run = trial(config("surgical", {"block": "body"}))
    run.run_epoch()
    with run.probe.model() as scratch:
        assert not any(module.training for module in scratch.modules())
        assert all(p.requires_grad and p.grad is None for p in scratch.parameters())
        assert differences(dict(scratch.state_dict()), dict(run.model.state_dict())) == []
        own = {id(t) for t in run.model.state_dict(keep_vars=True).values()}
        assert not any(id(t) in own for t in scratch.state_dict(keep_vars=True).values())


def test_whatever_is_done_to_the_copy_the_model_stays_as_it_was():
    run = trial(config("surgical", {"block": "body"}, batch_norm="frozen_eval"))
    run.run_epoch()
    before = tensors(run)
    modes = [module.training for module in run.model.modules()]
    flags = {name: p.requires_grad for name, p in run.model.named_parameters()}
    gradients = {
        name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None
    }
    with contextlib.suppress(KeyError), run.probe.model() as scratch:
        scratch.train()
        (part,) = run.probe.batches("target", 1)
        functional.cross_entropy(scratch(part.images), part.labels).backward()
        for parameter in scratch.parameters():
            parameter.data.fill_(float("nan"))
            parameter.requires_grad_(False)
        raise KeyError
    assert differences(tensors(run), before) == []
    assert [module.training for module in run.model.modules()] == modes
    assert {name: p.requires_grad for name, p in run.model.named_parameters()} == flags
    now = {name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}
    assert differences(now, gradients) == []


def test_batches_are_the_same_at_every_call_and_as_many_as_asked_for():
    probe = _trial().probe
    for domain, data in (("target", DATA.train), ("source", DATA.source)):
        whole = probe.batches(domain)
        labels = torch.cat([b.labels for b in whole])
        assert not torch.equal(labels, data.labels)
        assert torch.equal(labels.sort().values, data.labels.sort().values)
        sums = torch.cat([b.images for b in whole]).sum(dim=(1, 2, 3))
        assert torch.equal(sums.sort().values, data.images.sum(dim=(1, 2, 3)).sort().values)
        two = probe.batches(domain, 2)
        assert len(two) == 2
        assert all(torch.equal(a.images, b.images) for a, b in zip(two, whole, strict=False))


def test_another_seed_and_another_epoch_measure_other_examples():
    """Intervals over training seeds then hold what a measurement owes to its sample (D45)."""

    def first(seed: int, epoch: int, domain: str) -> list[float]:
        run = trial(config(seed=seed))
        run.probe.epoch = epoch
        return run.probe.batches(domain, 1)[0].images.sum(dim=(1, 2, 3)).tolist()

    for domain in ("target", "source"):
        drawn = [first(*at, domain) for at in ((0, 1), (0, 2), (1, 1))]
        assert first(0, 1, domain) == drawn[0]
        assert all(sorted(a) != sorted(b) for a, b in itertools.combinations(drawn, 2))


def test_the_epoch_of_a_trial_draws_what_is_measured_in_it():
    with registered_for_a_test(MeasuredRates):
        run = trial(config("measured_rates", learning_rate=1e-12, batch_norm="eval"))
        finished(run)
        again = trial(config("measured_rates", learning_rate=1e-12, batch_norm="eval"))
        finished(again)
    first, second, *_ = run.strategy.history
    assert not torch.allclose(first, second, rtol=1e-3)  # the weights stood still
    assert all(map(torch.equal, run.strategy.history, again.strategy.history))


def test_each_batch_holds_several_classes_where_the_data_come_class_by_class():
    """As image folders do: the first batches would else be of one class each."""
    order = DATA.train.labels.argsort()
    by_class = DATA.train.only(order)
    probe = _trial(data=TrialData(by_class, DATA.validation, source=by_class)).probe
    for domain in ("target", "source"):
        images = {
            image.sum().item(): int(y)
            for image, y in zip(by_class.images, by_class.labels, strict=True)
        }
        for batch in probe.batches(domain, 3):
            assert len(batch.labels.unique()) > 1
            for image, label in zip(batch.images, batch.labels, strict=True):
                assert images[image.sum().item()] == int(label)


def test_a_task_without_source_data_says_so():
    probe = _trial(data=TrialData(DATA.train, DATA.validation)).probe
    with pytest.raises(LookupError, match="source"):
        probe.batches("source")


def test_a_strategy_that_wrecks_its_copies_trains_as_one_that_does_not_look():
    with registered_for_a_test(Wrecker):
        runs = [trial(config("wrecker", {"measures": measures})) for measures in (False, True)]
        rows = [[{**r, "cost/seconds": 0} for r in finished(run)] for run in runs]
    assert rows[0] == rows[1]
    states = [{**learnt(run), "config": None} for run in runs]
    assert differences(*states) == []


@pytest.mark.parametrize("where", ["prepare", "epoch_start"])
def test_a_measurement_that_raises_leaves_model_and_random_state_as_they_were(where):
    with registered_for_a_test(Wrecker):
        run = trial(config("wrecker", {"measures": True, "raises": where}), tiny())
        before = tensors(run)
        flags = [p.requires_grad for p in run.model.parameters()]
        torch.manual_seed(3)
        random_state = torch.random.get_rng_state()
        with pytest.raises(ZeroDivisionError):
            run.run_epoch()
    assert differences(tensors(run), before) == []
    assert [p.requires_grad for p in run.model.parameters()] == flags
    assert torch.equal(torch.random.get_rng_state(), random_state)


# --- a fine-tuned copy ----------------------------------------------------------------------------


def test_no_epoch_of_fine_tuning_is_the_model_itself():
    run = _trial()
    with run.probe.fine_tuned(0) as copied:
        assert differences(dict(copied.state_dict()), tensors(run)) == []


def test_the_fine_tuned_copy_is_what_full_fine_tuning_gives_and_the_model_stays():
    chosen = {"learning_rate": 0.03, "batch_norm": "train"}
    run = trial(config("surgical", {"block": "head"}, **chosen))
    before, flags = tensors(run), [p.requires_grad for p in run.model.parameters()]
    full = trial(config("full", **chosen))
    for _ in range(2):
        full.run_epoch()
    with run.probe.fine_tuned(2) as copied:
        assert differences(dict(copied.state_dict()), tensors(full)) == []
        assert not any(module.training for module in copied.modules())
        assert all(p.requires_grad and p.grad is None for p in copied.parameters())
    assert differences(tensors(run), before) == []
    assert [p.requires_grad for p in run.model.parameters()] == flags


@pytest.mark.parametrize("fresh", [True, False])
def test_it_says_whether_the_head_is_fresh(fresh):
    assert _trial(fresh_head=fresh).probe.fresh_head is fresh

"""LayerwiseSGD and LayerwiseAdamW in a plain PyTorch loop: the updates of raysel's own loop."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from every_strategy_kit import (
    BATCH,
    STRATEGIES,
    Tiny,
    assert_same,
    data,
    run_checked,
    seeded_model,
    tensors,
    trial,
    values_of,
)
from few_kit import few, several, slow
from torch import Tensor, nn
from torch.nn import functional

from raysel import LayerwiseAdamW, LayerwiseSGD, UserError, partition
from raysel.strategies import registered
from raysel.training.batches import epoch_batches, seed_of, seeded
from raysel.training.loop import _DROPOUT, FineTuning
from raysel.training.nonfinite import MAX_BAD_STEPS, Diverged

SEED, EPOCHS = 3, 2
EXAMPLES = data(8)
TRAIN = EXAMPLES.train.images, EXAMPLES.train.labels
SOURCE = EXAMPLES.source.images, EXAMPLES.source.labels

POSSIBLE = [n for n in STRATEGIES if registered()[n].problem(partition(Tiny())) is None]
"""All that have something to move in a network without attention."""
NAMED = ["bvg_ls", "bvg_ls_lazy", "bvg_ls_threshold", "surgical", "full", "random_layer"]

RESUMED = [
    "bvg_ls",
    "bvg_ls_lazy",
    "auto_rgn_hessian",
    "criticality_random_target",
    "random_layer",
    "lp_ft",
]

SETTINGS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "sgd": (LayerwiseSGD, {"momentum": 0.9, "weight_decay": 0.0}),
    "sgd_decay": (LayerwiseSGD, {"momentum": 0.5, "weight_decay": 0.1}),
    "adamw": (LayerwiseAdamW, {"weight_decay": 0.1}),
}


def reference(name: str, kind: str) -> FineTuning:
    training = SETTINGS[kind][1] | {"optimizer": kind.split("_")[0]}
    return trial(name, seeded_model(Tiny), EXAMPLES, **training)


def optimizer_of(name: str, model: nn.Module, kind: str = "sgd", **options: Any) -> Any:
    make, training = SETTINGS[kind]
    values = values_of(registered()[name], partition(model))
    arguments = {"lr": 0.02, "seed": SEED, "parameters": values, **training, **options}
    return make(model, name, **arguments)


def epoch_of(optimizer: Any, model: nn.Module, epoch: int) -> list[Tensor]:
    """One epoch of a plain loop, with the order and the dropout of raysel's; the weights."""
    weights = []
    model.train()
    with seeded(seed_of(SEED, epoch, _DROPOUT), torch.device("cpu")):
        for batch in epoch_batches(EXAMPLES.train, BATCH, SEED, epoch):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
            weights.append(optimizer.decision.weights.clone())
    return weights


def start(optimizer: Any, epoch: int, fine_tune: Any = None) -> None:
    optimizer.start_epoch(
        epoch, EPOCHS, target=TRAIN, source=SOURCE, batch_size=BATCH, fine_tune=fine_tune
    )


# --- the same updates ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", few(*SETTINGS))
@pytest.mark.parametrize("name", several(len(NAMED), [*NAMED, *sorted(set(POSSIBLE) - set(NAMED))]))
def test_a_plain_loop_ends_bit_identical_to_raysels_own(name, kind):
    run = reference(name, kind)
    decisions = run_checked(run, EPOCHS)

    model, weights = seeded_model(Tiny), []
    optimizer = optimizer_of(name, model, kind)
    fine_tune = reference(name, kind)._fine_tune_fully  # as a trial of this strategy trains
    for epoch in range(1, EPOCHS + 1):
        start(optimizer, epoch, fine_tune)
        weights += epoch_of(optimizer, model, epoch)

    assert_same(weights, [decision.weights for decision in decisions], "weights")
    assert_same(tensors(model), tensors(run.model), "model")
    assert_same(optimizer._layers.state_dict(), run.optimizer.state_dict(), "optimizer")
    assert_same(optimizer.strategy.state_dict(), run.strategy.state_dict(), "strategy")


@pytest.mark.parametrize("kind", few("adamw", "sgd", "sgd_decay"))
@pytest.mark.parametrize(
    "name", several(4, [*NAMED, "linear_probe", "suffix", "blockwise", "bvg_ts"])
)
def test_a_strategy_that_decides_step_by_step_needs_no_start_of_an_epoch(name, kind):
    run = reference(name, kind)
    run_checked(run, EPOCHS)
    model = seeded_model(Tiny)
    optimizer = optimizer_of(name, model, kind)
    for epoch in range(1, EPOCHS + 1):
        epoch_of(optimizer, model, epoch)
    assert_same(tensors(model), tensors(run.model), "model")


@pytest.mark.parametrize("name", NAMED)
def test_so_it_is_where_no_step_waits_for_the_device(name):
    run = reference(name, "adamw")
    run.nonfinite._on_host = False
    for _ in range(EPOCHS):
        run.run_epoch()
    model = seeded_model(Tiny)
    optimizer = optimizer_of(name, model, "adamw")
    optimizer._nonfinite._on_host = False
    for epoch in range(1, EPOCHS + 1):
        epoch_of(optimizer, model, epoch)
    assert_same(tensors(model), tensors(run.model), "model")


@pytest.mark.parametrize("name", [*RESUMED, *slow(sorted(set(STRATEGIES) - set(RESUMED)))])
def test_resumed_from_its_state_it_ends_bit_identical(name):
    def loop(epochs: range, model: nn.Module, optimizer: Any) -> None:
        for epoch in epochs:
            start(optimizer, epoch, reference(name, "adamw")._fine_tune_fully)
            epoch_of(optimizer, model, epoch)

    whole = seeded_model(Tiny)
    first = optimizer_of(name, whole, "adamw")
    loop(range(1, 2), whole, first)
    file = io.BytesIO()
    torch.save({"model": whole.state_dict(), "optimizer": first.state_dict()}, file)
    loop(range(2, 3), whole, first)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = seeded_model(Tiny)
    again.load_state_dict(saved["model"])
    second = optimizer_of(name, again, "adamw")
    second.load_state_dict(saved["optimizer"])
    loop(range(2, 3), again, second)
    assert_same(tensors(again), tensors(whole), "model")
    assert_same(second.state_dict(), first.state_dict(), "state")


def test_two_optimizers_do_not_share_what_one_has_loaded_from_the_other():
    model = seeded_model(Tiny)
    first = optimizer_of("bvg_ls", model, "adamw")
    epoch_of(first, model, 1)
    second = optimizer_of("bvg_ls", model, "adamw")
    second.load_state_dict(first.state_dict())
    before = [tensor.clone() for tensor in first.strategy.state_dict()["mean"]]
    epoch_of(second, model, 2)
    assert_same(first.strategy.state_dict()["mean"], before, "mean")


def test_full_fine_tuning_under_a_scheduler_is_torchs_own_sgd():
    def trained(make: Callable[[nn.Module], torch.optim.Optimizer]) -> dict[str, Tensor]:
        model = seeded_model(Tiny)
        optimizer = make(model)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
        model.eval()
        for batch in EXAMPLES.train.split(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
            scheduler.step()
        return tensors(model)

    mine = trained(lambda model: LayerwiseSGD(model, "full", lr=0.1, weight_decay=0.01))
    theirs = trained(
        lambda model: torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
        )
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


# --- a loop of one's own --------------------------------------------------------------------------


def test_it_is_an_optimizer_of_torch_over_what_may_move():
    model = seeded_model(Tiny)
    optimizer = LayerwiseSGD(model, "surgical", lr=0.1, parameters={"block": "body"})
    assert isinstance(optimizer, torch.optim.Optimizer)
    (group,) = optimizer.param_groups
    assert group["param_names"] == ["body.0.weight", "body.0.bias"]
    assert [n for n, p in model.named_parameters() if p.requires_grad] == group["param_names"]
    with pytest.raises(ValueError, match="one group"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})


def test_it_tells_which_layers_moved():
    model = seeded_model(Tiny)
    optimizer = optimizer_of("bvg_ls", model)
    assert optimizer.layer_weights == {}
    epoch_of(optimizer, model, 1)
    assert list(optimizer.layer_weights) == ["stem", "block", "body", "head"]
    assert sum(optimizer.layer_weights.values()) == 1.0


def test_a_closure_computes_the_gradients():
    model = seeded_model(Tiny)
    optimizer = optimizer_of("full", model)
    before = tensors(model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(TRAIN[0]).square().mean()
        loss.backward()
        return loss.detach()

    assert float(optimizer.step(closure)) > 0
    for name in ("stem.0.weight", "head.weight"):
        assert not torch.equal(model.state_dict()[name], before[name])


def test_a_layer_list_or_a_partition_cuts_the_model():
    model = seeded_model(Tiny)
    two = LayerwiseSGD(model, "bvg_ls", lr=0.1, partition=["stem", "block|body|head"])
    assert two.partition.names == ("stem", "block|body|head")
    assert LayerwiseSGD(model, lr=0.1, partition=two.partition).partition == two.partition


def test_a_gradient_that_is_not_finite_is_skipped_and_in_the_end_an_error():
    model = seeded_model(Tiny)
    optimizer = optimizer_of("bvg_ls", model)
    before = tensors(model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    for _ in range(MAX_BAD_STEPS - 1):
        optimizer.step()
    assert optimizer.skipped_steps == optimizer.steps == MAX_BAD_STEPS - 1
    assert_same(tensors(model), before, "model")
    with pytest.raises(Diverged):
        optimizer.step()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "bvg_lss"}, 'no strategy is called "bvg_lss"; did you mean "bvg_ls"?'),
        ({"parameters": {"ema_deacy": 0.5}}, 'did you mean "ema_decay"?'),
        ({"parameters": {"ema_decay": 2}}, "ema_decay: 2 is outside (0, 1); the paper uses 0.9"),
        ({"strategy": "surgical", "parameters": {"block": "stm"}}, 'the model has no layer "stm"'),
        ({"partition": "corse"}, 'rule: "corse" is unknown; did you mean "coarse"?'),
        ({"lr": -1.0}, "lr: -1.0 is not accepted; give a number above 0"),
        ({"momentum": 2.0}, "momentum: 2.0 is not accepted; give a number"),
        ({"weight_decay": "a"}, 'weight_decay: "a" is not accepted; give a number'),
    ],
)
def test_a_wrong_argument_is_answered_with_what_is_right(arguments, said):
    model = seeded_model(Tiny)
    with pytest.raises(UserError) as caught:
        LayerwiseSGD(model, **{"lr": 0.1, **arguments})
    assert said in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_partition_of_another_model_is_refused():
    other = partition(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), ["0", "1"])
    with pytest.raises(UserError, match="partition: is of another model"):
        LayerwiseSGD(seeded_model(Tiny), lr=0.1, partition=other)


@pytest.mark.parametrize("name", ["gradual_unfreeze", "lp_ft", "auto_rgn", "surprise"])
def test_a_strategy_that_decides_before_each_epoch_says_so(name):
    optimizer = optimizer_of(name, seeded_model(Tiny))
    with pytest.raises(UserError, match=f"{name} decides before each epoch: call start_epoch"):
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("auto_rgn", {}, "auto_rgn measures target examples: give start_epoch(…, target="),
        ("surprise", {"target": TRAIN}, "surprise measures source examples"),
        ("criticality_identity_target", {"target": TRAIN}, "fine_tune=function(model, epochs)"),
    ],
)
def test_a_strategy_that_measures_says_what_it_lacks(name, given, wanted):
    optimizer = optimizer_of(name, seeded_model(Tiny))
    with pytest.raises(UserError) as caught:
        optimizer.start_epoch(1, EPOCHS, **given)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("epoch", [0, 3])
def test_epochs_count_from_1(epoch):
    with pytest.raises(UserError, match="epochs count from 1"):
        optimizer_of("lp_ft", seeded_model(Tiny)).start_epoch(epoch, EPOCHS)


def test_the_state_of_another_strategy_or_model_is_refused():
    model = seeded_model(Tiny)
    state = optimizer_of("full", model).state_dict()
    with pytest.raises(UserError, match="its strategy is full, this optimizer's is bvg_ls"):
        optimizer_of("bvg_ls", model).load_state_dict(state)
    with pytest.raises(UserError, match="its layers is"):
        optimizer_of("full", model, partition=["stem", ""]).load_state_dict(state)
    with pytest.raises(UserError, match="its strategy is None"):
        plain = torch.optim.SGD(model.parameters(), lr=0.1).state_dict()
        optimizer_of("full", model).load_state_dict(plain)

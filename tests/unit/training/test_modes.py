"""Which modules train (docs/algorithms.md, D4), and how torch computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from trial_kit import DATA, config, finished, tiny, trial, without_seconds

from raysel.models import timm
from raysel.models.shapes import shapes_of
from raysel.spec.training import Precision
from raysel.training import loop
from raysel.training.modes import arithmetic, memory_format, set_training_mode


def _freeze(model: nn.Module, *trainable: str) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))


def _modes(model: nn.Module, kind: type[nn.Module] = nn.Module) -> dict[str, bool]:
    return {name: m.training for name, m in model.named_modules() if isinstance(m, kind)}


def test_train_is_everything_whether_it_moves_or_not():
    model = tiny().eval()
    _freeze(model, "head")
    set_training_mode(model, "train", 8)
    assert all(_modes(model).values())


def test_eval_is_nothing():
    model = tiny()
    set_training_mode(model, "eval", 8)
    assert not any(_modes(model).values())


def test_frozen_eval_rests_what_cannot_move_with_its_dropout():
    model = tiny()
    _freeze(model, "block", "head")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": True}
    assert _modes(model, nn.Dropout) == {"body.2": False}  # `body` is frozen
    _freeze(model, "body")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": False}
    assert _modes(model, nn.Dropout) == {"body.2": True}


def test_frozen_eval_with_everything_movable_is_train():
    model = tiny()
    set_training_mode(model, "frozen_eval", 8)
    assert all(_modes(model).values())


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_convnext", "test_vit"])
def test_norms_are_known_by_their_type_and_not_by_their_name(name):
    """A ResNet's shortcut norm is `downsample.1`, a ViT's is `norm`."""
    model = timm.create_model(name, num_classes=4)
    head = model.pretrained_cfg["classifier"]
    _freeze(model, head)
    set_training_mode(model, "frozen_eval", 8)
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    assert not any(m.training for m in model.modules() if isinstance(m, norms))
    assert model.get_submodule(head).training


@pytest.mark.parametrize("mode", ["train", "frozen_eval"])
def test_batch_norm_rests_where_a_batch_is_one_image(mode):
    model = tiny()
    set_training_mode(model, mode, 1)
    assert not any(_modes(model, nn.BatchNorm2d).values())
    assert all(_modes(model, nn.Dropout).values())


def test_the_mode_is_set_anew_each_time():
    """timm's own loops call `model.train()` in between."""
    model = tiny()
    _freeze(model, "head")
    for _ in range(2):
        set_training_mode(model, "frozen_eval", 8)
        assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": False}
        model.train()
    _freeze(model, "stem")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": True, "block.1": False}


# --- how torch computes -------------------------------------------------------------------------


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_tf32_is_for_the_trial_alone(precision):
    before, during = _tf32(), []
    run = trial(config(precision=precision))
    run.after_step = lambda _: during.append(_tf32())
    run.run_epoch()
    assert set(during) == {(True, True) if precision == "tf32" else before}
    with pytest.raises(ZeroDivisionError), arithmetic("tf32"):
        1 / 0  # noqa: B018
    assert _tf32() == before


def test_a_test_part_is_measured_as_the_trial_trains():
    run, during = trial(config(epochs=1, precision="tf32", deterministic=True)), []

    def note(*_: object) -> None:
        during.append((_tf32(), torch.are_deterministic_algorithms_enabled()))

    run.model.register_forward_pre_hook(note)
    run.measure(DATA.validation)  # as a confirm run's test, after its epochs
    assert set(during) == {((True, True), True)}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_cpu_computes_tf32_as_float32():
    runs = [trial(config(precision=precision)) for precision in ("float32", "tf32")]
    first, second = ([without_seconds(row) for row in finished(run)] for run in runs)
    assert first == second


@pytest.mark.parametrize(
    ("model", "on_a_gpu", "on_a_cpu", "in_bfloat16"),
    [
        ("resnet18", True, False, True),
        ("efficientnet_lite0", True, True, True),
        ("vit_tiny_patch16_224", False, False, False),
    ],
)
def test_channels_are_last_where_that_is_faster(model, on_a_gpu, on_a_cpu, in_bfloat16):
    shapes = shapes_of(model, 10)
    cases: list[tuple[str, Precision, bool]] = [
        ("cuda", "float32", on_a_gpu),
        ("cpu", "float32", on_a_cpu),
        ("cpu", "tf32", on_a_cpu),
        ("cpu", "bfloat16", in_bfloat16),
    ]
    for device, precision, wanted in cases:
        last = memory_format(shapes, torch.device(device), precision) == torch.channels_last
        assert last == wanted, (device, precision)


def test_a_trial_with_channels_last_learns_the_same_and_keeps_usual_tensors(monkeypatch):
    usual = trial(config("bvg_ls", {"ema_decay": 0.8}))
    monkeypatch.setattr(loop, "memory_format", lambda *_: torch.channels_last)
    last = trial(config("bvg_ls", {"ema_decay": 0.8}))
    assert last.model.block[0].weight.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(finished(usual), finished(last), strict=True):
        assert without_seconds(theirs) == pytest.approx(without_seconds(ours), rel=1e-3, abs=1e-5)
    kept = last.state_dict()["model"]
    assert all(tensor.is_contiguous() for tensor in kept.values())
    block = last.parameters[last.names.index("block.0.weight")]
    assert block.grad.stride() == block.stride()

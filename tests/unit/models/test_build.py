"""Models by name: one way to a fresh head, weights that fit or are told."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import nn

from raysel.errors import UserError
from raysel.models.build import Blueprint, build, check_name, load_weights, read_weights
from raysel.models.layers import partition

RESNET = Blueprint("test_resnet", classes=4, channels=1, image_size=(16, 16))


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in left if torch.equal(left[name], right[name])}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "resnet10t"])
@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 48)])
def test_a_model_is_built_for_its_images_and_classes(name, channels, size):
    model = build(Blueprint(name, 7, channels, (size, size)), seed=0)
    assert model.eval()(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_the_seed_decides_every_weight_and_the_callers_random_state_is_kept():
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    first = _state(build(RESNET, seed=3))
    torch.rand(5)
    second = _state(build(RESNET, seed=3))
    other = _state(build(RESNET, seed=4))
    torch.random.set_rng_state(before)
    assert _same(first, second) == set(first)
    random = {name for name, tensor in first.items() if tensor.ndim > 1}
    assert random and not any(torch.equal(first[name], other[name]) for name in random)
    build(RESNET, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_fresh_head_is_timms_own_and_not_a_reset_one():
    """D5: a ViT's head is drawn by `create_model`: bias exactly 0 (section 2.4)."""
    head = build(Blueprint("test_vit", 7, 3, (160, 160)), seed=0).head
    assert torch.equal(head.bias.detach(), torch.zeros(7))
    assert 0.01 < float(head.weight.detach().std()) < 0.03


# --- weights --------------------------------------------------------------------------------------


def test_weights_fill_every_tensor():
    source, model = build(RESNET, seed=0), build(RESNET, seed=1)
    load_weights(model, _state(source), partition(model).head)
    assert _same(_state(model), _state(source)) == set(_state(source))


def test_a_head_of_another_shape_stays_as_it_was():
    source = build(Blueprint("test_resnet", 9, 1, (16, 16)), seed=0)
    model = build(RESNET, seed=1)
    head, before = partition(model).head, _state(model)
    load_weights(model, _state(source), head)
    after = _state(model)
    assert {n for n in head if torch.equal(after[n], before[n])} == set(head)
    rest = set(after) - set(head)
    assert {n for n in rest if torch.equal(after[n], _state(source)[n])} == rest


def test_weights_without_a_head_fill_the_rest():
    source, model = _state(build(RESNET, seed=0)), build(RESNET, seed=1)
    head, before = partition(model).head, _state(model)
    load_weights(model, {n: t for n, t in source.items() if n not in head}, head)
    assert all(torch.equal(_state(model)[n], before[n]) for n in head)


@pytest.mark.parametrize("wrong", ["missing", "unexpected", "of another shape"])
def test_weights_that_do_not_fit_are_told_and_change_nothing(wrong):
    model = build(RESNET, seed=1)
    weights, before = _state(build(RESNET, seed=0)), _state(model)
    name = next(n for n in weights if n.endswith("conv1.weight"))
    if wrong == "missing":
        del weights[name]
    elif wrong == "unexpected":
        name = "somewhere.weight"
        weights[name] = torch.zeros(2)
    else:
        weights[name] = torch.zeros(2, 2)
    with pytest.raises(UserError) as told:
        load_weights(model, weights, partition(model).head)
    (problem,) = told.value.problems
    assert problem.path == "model.weights"
    assert wrong in problem.message and name in problem.message
    assert _same(_state(model), before) == set(before)


def test_at_most_five_names_of_a_kind_are_told():
    model = build(RESNET, seed=1)
    with pytest.raises(UserError) as told:
        load_weights(model, {}, partition(model).head)
    assert told.value.problems[0].message.count(",") == 4


def test_a_safetensors_file_is_read(tmp_path):
    weights = _state(build(RESNET, seed=0))
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert _same(weights, read) == set(weights) == set(read)


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file", b"\x00" * 100])
def test_a_file_that_is_none_is_told(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as told:
        read_weights(path)
    assert told.value.problems[0].path == "model.weights"
    assert str(path) in told.value.problems[0].message


def test_pickled_weights_are_refused(tmp_path):
    torch.save(_state(build(RESNET, seed=0)), tmp_path / "w.pt")
    with pytest.raises(UserError):
        read_weights(tmp_path / "w.pt")


def test_a_name_is_checked_without_building():
    assert check_name("resnet10t") is None
    said = check_name("resnet10x")
    assert said is not None and "resnet10t" in said

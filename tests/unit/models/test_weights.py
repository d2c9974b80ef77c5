"""Weights from a file: what fits is taken, what does not is reported by name."""

from __future__ import annotations

import pickle

import pytest
import safetensors.torch
import torch
from few_kit import few, several
from torch import nn

from raysel.common.errors import UserError
from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition, shapes_of
from raysel.models.papers import BLOCKWISE
from raysel.models.weights import load_weights, matching_weights, read_weights

RESNET = ModelConfig("test_resnet", classes=4, channels=1, image_size=(16, 16))


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in left if torch.equal(left[name], right[name])}


def test_weights_fill_every_tensor():
    source, model = build(RESNET, seed=0), build(RESNET, seed=1)
    load_weights(model, _state(source))
    assert _same(_state(model), _state(source)) == set(_state(source))


def test_a_head_of_another_shape_stays_as_it_was():
    source = build(ModelConfig("test_resnet", 9, 1, (16, 16)), seed=0)
    model = build(RESNET, seed=1)
    head, before = partition(model).head, _state(model)
    load_weights(model, _state(source))
    after = _state(model)
    assert {n for n in head if torch.equal(after[n], before[n])} == set(head)
    rest = set(after) - set(head)
    assert {n for n in rest if torch.equal(after[n], _state(source)[n])} == rest


def test_weights_without_a_head_fill_the_rest():
    source, model = _state(build(RESNET, seed=0)), build(RESNET, seed=1)
    head, before = partition(model).head, _state(model)
    load_weights(model, {n: t for n, t in source.items() if n not in head})
    assert all(torch.equal(_state(model)[n], before[n]) for n in head)


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), "quantized"),
        (torch.eye(2).to_sparse(), "sparse (sparse_coo)"),
        (torch.empty(2, 2, device="meta"), "on the meta device, without values"),
        (torch.ones(2, 2, dtype=torch.complex64), "complex"),
    ],
    ids=["quantized", "sparse", "meta", "complex"],
)
def test_a_tensor_that_no_model_takes_is_refused_with_its_name(tmp_path, odd, kind):
    torch.save({"fc.weight": odd, "fc.bias": torch.ones(2)}, tmp_path / "odd.pth")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "odd.pth")
    (problem,) = caught.value.problems
    assert problem.message.endswith(
        f"odd.pth: fc.weight is {kind}; only dense tensors of real numbers are loaded"
    )


WRONG = ("missing", "unexpected", "of another shape", "of whole numbers", "with NaN or infinity")


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_that_do_not_fit_are_reported_and_change_nothing(wrong):
    model = build(RESNET, seed=1)
    weights, before = _state(build(RESNET, seed=0)), _state(model)
    name = next(n for n in weights if n.endswith("conv1.weight"))
    if wrong == "missing":
        del weights[name]
    elif wrong == "of whole numbers":
        weights[name] = weights[name].to(torch.int32)
        name = f"{name} (int32)"
    elif wrong == "with NaN or infinity":
        weights[name].view(-1)[5] = float("inf")
    elif wrong == "unexpected":
        name = "somewhere.weight"
        weights[name] = torch.zeros(2)
    else:
        weights[name] = torch.zeros(2, 2)
    with pytest.raises(UserError) as reported:
        load_weights(model, weights)
    (problem,) = reported.value.problems
    assert problem.path == "model.weights"
    assert wrong in problem.message and name in problem.message
    assert _same(_state(model), before) == set(before)


def test_at_most_five_names_of_a_kind_are_reported():
    model = build(RESNET, seed=1)
    with pytest.raises(UserError) as reported:
        load_weights(model, {})
    assert reported.value.problems[0].message.count(",") == 4


def test_a_safetensors_file_is_read(tmp_path):
    weights = _state(build(RESNET, seed=0))
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert _same(weights, read) == set(weights) == set(read)


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file", b"\x00" * 100])
def test_a_file_that_is_none_is_reported(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as reported:
        read_weights(path)
    assert reported.value.problems[0].path == "model.weights"
    assert str(path) in reported.value.problems[0].message


# --- checkpoints ----------------------------------------------------------------------------------


def _wrapped(state, how):
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    return {
        "plain": state,
        "state_dict": {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
        "parallel": {"model_state_dict": prefixed},
        "compiled": {"model": {f"_orig_mod.{name}": t for name, t in prefixed.items()}},
    }[how]


@pytest.mark.parametrize("how", ["plain", "state_dict", "parallel", "compiled"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".tar"])
def test_a_checkpoint_is_read_without_what_wraps_its_tensors(tmp_path, how, suffix):
    state = _state(build(RESNET, seed=0))
    path = tmp_path / f"w{suffix}"
    torch.save(_wrapped(state, how), path)
    read = read_weights(path)
    assert set(read) == set(state) == _same(state, read)


def test_a_checkpoint_of_moco_gives_its_query_encoder_without_the_projector(tmp_path):
    """The layout of the released MoCo-v2 ResNet-50: a two-layer projector in place of `fc`."""
    model_config = ModelConfig("resnet50", classes=17, channels=3, image_size=(224, 224))
    with torch.device("meta"):
        shapes = build(model_config, seed=0).state_dict()
    encoder = {n: torch.full(t.shape, 0.5) for n, t in shapes.items() if not n.startswith("fc.")}
    projector = {"fc.0.weight": torch.zeros(2048, 2048), "fc.2.bias": torch.zeros(128)}
    content = {
        "module.queue": torch.zeros(128, 8),
        "module.queue_ptr": torch.zeros(1),
        **{f"module.encoder_q.{n}": t for n, t in (encoder | projector).items()},
        **{f"module.encoder_k.{n}": t + 1 for n, t in (encoder | projector).items()},
    }
    torch.save({"arch": "resnet50", "state_dict": content}, tmp_path / "moco.pth.tar")
    read = read_weights(tmp_path / "moco.pth.tar")
    assert set(read) == set(encoder)
    found = matching_weights(read, shapes_of("resnet50", 17))
    assert set(found) == set(encoder)
    assert all(bool((t == 0.5).all()) for n, t in found.items() if t.is_floating_point())


def test_the_public_checkpoint_of_a_wide_resnet_fits_as_it_is():
    """Names of the `Standard` CIFAR-10 checkpoint, taken from the benchmark's state dict."""
    unit = ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "conv1.weight"]
    unit += ["bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var", "conv2.weight"]
    names = ["conv1.weight", "fc.weight", "fc.bias", *unit[:4]]
    for block in (1, 2, 3):
        names.append(f"block{block}.layer.0.convShortcut.weight")
        names += [f"block{block}.layer.{layer}.{name}" for layer in range(4) for name in unit]
    model = shapes_of("cifar_wrn_28_10", 10)
    own = model.state_dict()
    weights = {f"module.{name}": torch.empty(own[name].shape, device="meta") for name in names}
    stripped = {name.removeprefix("module."): t for name, t in weights.items()}
    # written before torch counted batches: the counters start at 0
    assert set(matching_weights(stripped, model)) == set(own)


class _Code:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(pickle.dumps({"state_dict": {"a": _Code()}}, protocol=2)),
        lambda path: torch.save({"state_dict": {"a": _Code()}}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"epoch": 1}, path),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x00" * 100),
    ],
)
def test_a_file_that_is_no_checkpoint_of_tensors_is_reported_and_never_run(tmp_path, write, capsys):
    path = tmp_path / "w.pt"
    write(path)
    with pytest.raises(UserError) as reported:
        read_weights(path)
    (problem,) = reported.value.problems
    assert problem.path == "model.weights"
    assert str(path) in problem.message and "\n" not in problem.message
    assert "run" not in capsys.readouterr().out.split()


def test_weights_of_half_precision_take_the_models_own():
    model = build(RESNET, seed=1)
    half = {
        n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in _state(model).items()
    }
    assert {t.dtype for t in matching_weights(half, model).values()} == {torch.float32, torch.int64}


def test_a_classifier_with_other_layers_is_left_out_whole():
    """Weights of a linear head for a model with the block-wise paper's head, and the reverse."""
    linear = build(RESNET, seed=0)
    deep = build(ModelConfig("test_resnet", 4, 1, (16, 16), head="mlp"), seed=0)
    for source, model in ((linear, deep), (deep, linear)):
        found = matching_weights(_state(source), model)
        assert set(found) == set(model.state_dict()) - {n for n in model.state_dict() if "fc." in n}


@pytest.mark.parametrize("paper", several(1, sorted(BLOCKWISE)))
def test_pretrained_weights_fit_the_block_wise_papers_models_with_its_head(paper):
    name = BLOCKWISE[paper].name
    model = shapes_of(name, 7, head="mlp")
    found = matching_weights(shapes_of(name, 1000).state_dict(), model)
    assert set(found) == set(model.state_dict()) - set(partition(model).head)


@pytest.mark.parametrize(
    "name", few("levit_128s", "deit_tiny_distilled_patch16_224", "crossvit_tiny_240")
)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_pretrained_weights_fit_a_model_of_two_classifiers(name, head):
    model = shapes_of(name, 7, head=head)
    found = matching_weights(shapes_of(name, 1000).state_dict(), model)
    assert set(found) == set(model.state_dict()) - set(partition(model).head)

"""The partition means something for every family of timm: one small model of each of its modules.

The order of the layers is checked by hooks that note when modules run, on the meta device; the
partition itself notes operations. 99 modules, three rules.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from few_kit import several, slow
from torch import nn

from raysel.common.errors import UserError
from raysel.models import layers, timm
from raysel.models.layers import Partition, partition, partition_of
from raysel.search import validate
from raysel.sweep import local_trial

RISKY = [
    *("poolformer_s12", "pit_ti_224", "rdnet_tiny", "hrnet_w18_small", "qwen3_vit_88m"),
    *("vit_small_patch16_rope_mixed_224", "cait_xxs24_224", "inception_v3", "csatv2", "iformer_t"),
]
"""Families without a matcher, or whose matcher is a function, or is wrong."""

BY_DESIGN = {"vgg11": "its two dense layers of 4,096 have 93 % of the parameters"}
"""Classic networks with a layer above 90 %."""


def _known(names: list[str]) -> list[str]:
    """Those that the installed timm has; its lower bound lacks the newest families."""
    return [name for name in names if timm.is_model(name)]


@cache
def _smallest_of_each_module() -> list[str]:
    found: dict[str, tuple[int, str]] = {}
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            with torch.device("meta"):
                model = timm.create_model(name, num_classes=10)
            size = sum(parameter.numel() for parameter in model.parameters())
            found[module] = min(found.get(module, (size, name)), (size, name))
    return [name for _, name in found.values()]


def _meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=10)


def _when_modules_run(model: nn.Module) -> dict[str, int]:
    """When the module that owns a parameter first runs, of modules without children."""
    first: dict[str, int] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    runs = 0

    def note(module: nn.Module, _: object) -> None:
        nonlocal runs
        runs += 1
        for parameter in module.parameters(recurse=False):
            first.setdefault(names[id(parameter)], runs)

    leaves = [module for module in model.modules() if next(module.children(), None) is None]
    handles = [module.register_forward_pre_hook(note) for module in leaves]
    with torch.no_grad():
        model.eval()(torch.empty(1, *model.pretrained_cfg["input_size"], device="meta"))
    for handle in handles:
        handle.remove()
    return first


def _wrong(model: nn.Module, found: Partition, rule: str, runs: dict[str, int]) -> list[str]:
    """What is wrong with a partition."""
    wrong = []
    names = sorted(name for name, _ in model.named_parameters())
    if sorted(name for layer in found.layers for name in layer.parameters) != names:
        wrong.append("not every parameter is in one layer")
    if len(set(found.names)) != len(found) or len(found) < 4:
        wrong.append(f"layers {found.names}")
    wrong += [f"{layer.name} is large" for layer in found.layers if layer.size > 0.9 * found.size]
    if found.head and not (found.names[-1] == "head" and found.head_layer == len(found) - 1):
        wrong.append("the head is not last")
    if rule != "delimiter" and any("blocks" in note for note in found.notes):
        wrong.append(f"blocks in the head: {found.notes}")
    last = 0
    for layer in found.layers:
        own = [runs[name] for name in layer.parameters if name in runs and name not in found.head]
        if own and min(own) < last:
            wrong.append(f"{layer.name} runs before the layer before it")
        last = max([last, *own])
    return wrong


def _faults(name: str) -> dict[str, list[str]]:
    model = _meta(name)
    runs = _when_modules_run(model)
    rules = ("coarse", "fine", "delimiter")
    found = {rule: _wrong(model, partition(model, rule), rule, runs) for rule in rules}
    return {rule: wrong for rule, wrong in found.items() if wrong}


@pytest.mark.parametrize("name", several(1, _known(RISKY)))
def test_the_layers_of_a_risky_family_mean_something(name):
    assert _faults(name) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_layers_of_every_family_mean_something():
    names = _smallest_of_each_module()
    assert len(names) > 70
    faults = {name: found for name in names if (found := _faults(name)) and name not in BY_DESIGN}
    assert faults == {}


@pytest.mark.parametrize(
    ("name", "stages"),
    several(
        2,
        [
            ("poolformer_s12", tuple(f"stages.{i}" for i in range(4))),
            ("cait_xxs24_224", (*(f"blocks.{i}" for i in range(24)), "blocks_token_only")),
            ("pit_ti_224", tuple(f"transformers.{i}" for i in range(3))),
            ("qwen3_vit_88m", tuple(f"encoder.blocks.{i}" for i in range(12))),
        ],
    ),
)
def test_a_model_is_cut_where_its_blocks_are(name, stages):
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    assert partition_of(name, "coarse", 10).names == ("stem", *stages, "head")


def test_the_bottoms_parameters_are_in_the_stem():
    found = partition_of("vit_small_patch16_rope_mixed_224", "coarse", 10)
    assert found.layer_of["rope.freqs"] == 0
    assert not any(name.startswith("rope") for name in found.layers[-1].parameters)


# --- the size of the task's images --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("gcvit_xxtiny", 16, r"task\.image_size: .* 16 x 16 pixels .*; it does on (\d+)"),
        *slow(
            [("crossvit_tiny_240", 96, r"task\.image_size: .* 96 x 96 pixels .*; it does on (\d+)")]
        ),
    ],
)
def test_a_size_on_which_the_model_does_not_run_is_one_line_with_one_on_which_it_does(
    name, size, said
):
    with pytest.raises(UserError, match=said) as reported:
        partition_of(name, "coarse", 3, image_size=(size, size))
    (problem,) = reported.value.problems
    assert "\n" not in problem.message
    remedy = int(problem.message.rsplit(" ", 1)[1])
    assert len(partition_of(name, "coarse", 3, image_size=(remedy, remedy))) > 3


def test_delimiter_is_traced_at_the_tasks_size():
    found = partition_of("vit_tiny_patch16_224", "delimiter", 3, image_size=(32, 32))
    assert len(found) == 13


def test_a_model_without_a_classifier_is_refused_for_a_task():
    if not timm.is_model("gemma4_vit_167m_enc"):
        pytest.skip(f"timm {timm.__version__} has no gemma4")
    with pytest.raises(UserError, match=r"^model\.name: .*not 3 logits"):
        partition_of("gemma4_vit_167m_enc", "coarse", 3, image_size=(240, 240))


def test_a_large_layer_and_blocks_in_the_head_are_noted():
    patterns = ("conv1", "bn1", "layer[1-4]", "fc")
    assert "layer[1-4] has 99.9%" in partition_of("resnet18", patterns, 10).notes[0]
    (note,) = partition_of("vit_tiny_patch16_224", "delimiter", 10).notes
    assert note.startswith("the layer head holds the classifier and parts of blocks")
    assert partition_of("resnet18", "coarse", 10).notes == ()


@pytest.mark.parametrize(
    ("name", "patterns", "held"),
    [
        ("vit_tiny_patch16_224", ("cls|pos|patch", "blocks|norm|head"), "blocks"),
        ("test_efficientnet", ("conv_stem|bn1", "blocks|conv_head|bn2|classifier"), "blocks."),
        ("resnet18", ("^conv1|^bn1|^layer[123]", "^layer4|^fc"), "layer4"),
    ],
)
def test_patterns_that_put_blocks_beside_the_classifier_are_noted(name, patterns, held):
    notes = partition_of(name, patterns, 10).notes
    said = f"the layer {patterns[-1]} holds the classifier and parts of blocks ({held}"
    (note,) = (note for note in notes if note.startswith(said))
    assert note.endswith("linear_probe moves the classifier alone")


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "test_efficientnet"])
def test_one_layer_leaves_none_to_choose(name):
    notes = partition_of(name, (".",), 10).notes
    assert notes[0] == "the whole model is one layer: there is none to choose"


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("densenet121", ("features.denseblock3", "features.denseblock4", "head")),
        ("test_nfnet", ("stages.2", "stages.3", "head")),  # stages.3 with final_conv
        ("test_efficientnet", ("blocks.3", "blocks.4", "head")),  # blocks.4 with conv_head
        ("selecsls42b", ("features.5", "head_blocks", "head")),  # its module head holds blocks
    ],
)
def test_a_layer_is_named_by_its_block(name, ending):
    assert partition_of(name, "coarse", 10).names[-3:] == ending


@pytest.mark.parametrize("name", ["ghostnet_050", "selecsls42", "test_nfnet"])
def test_a_convolution_after_the_last_block_is_no_part_of_the_head(name):
    """It is trained with the body, and in these models up to 80 % of it: the head's layer holds
    the classifier and a final norm alone (docs/algorithms.md, D1)."""
    found = partition_of(name, "coarse", 10)
    assert found.layers[-1].parameters == found.head
    assert found.layers[-1].size < 0.02 * found.size


def test_many_tied_parameters_are_one_note(caplog):
    model = _meta("coat_lite_tiny")
    partition(model)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("40 parameters are tied to those of another layer")
    assert message.count("is tied to") == 2


def test_one_rule_cuts_the_model_from_validate_to_the_trials(tmp_path, monkeypatch):
    """B5: the source model was cut coarse, whatever the file said."""
    asked = []

    def noted(model, rule, trace):
        asked.append(rule)
        return inner(model, rule, trace)

    inner = layers._partition
    monkeypatch.setattr(layers, "_partition", noted)
    layers.partition_of.cache_clear()
    patterns = ("conv1", "bn1", "layer[1-4]", "fc")
    (tmp_path / "x.yaml").write_text(
        "name: x\ntask: {data: digits, source: 64,"
        " split: {train: 60, validation: 60, test: 60, seed: 0}}\n"
        f"model: {{name: test_resnet, weights: source, partition: {list(patterns)}}}\n"
        f"strategies: {{full: {{}}}}\nsearch: {{num_trials: 2}}\nstorage: {tmp_path / 'runs'}\n"
    )
    found = local_trial.prepare_inputs(validate.read(tmp_path / "x.yaml"), (), lambda _: None)
    assert found.layers.names == patterns
    assert set(asked) == {patterns}

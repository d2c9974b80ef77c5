"""Every model that a paper names: its layers and parameters, and its head of two layers."""

import pytest
import torch
from few_kit import several

from raysel.common.errors import UserError
from raysel.models import timm
from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition, partition_of, shapes_of
from raysel.models.papers import BLOCKWISE, BVG_LS, CIFAR, MISSING, hint

# Table 2 of the BVG-LS paper: layers, millions of parameters
TABLE_2 = {
    "WRN-50-2": (6, 68.9),
    "ViT-S": (14, 22.1),
    "ViT-B": (14, 86.6),
    "ConvNeXt-T": (6, 28.6),
}

# docs/algorithms.md, timm's groups coarse / fine. The block-wise paper has no table of sizes;
# these are the millions of each architecture's own publication or of Keras' list of models.
BLOCKWISE_TABLE = {
    "VGG16": (14, 14, 138.4),
    "MobileNet": (7, 15, 4.2),
    "MobileNetV2": (9, 19, 3.5),
    "MobileNetV3Small": (8, 14, 2.5),
    "MobileNetV3Large": (9, 18, 5.5),
    "ResNet50V2": (6, 18, 25.5),
    "RegNetX002": (6, 15, 2.7),
    "RegNetX004": (6, 24, 5.2),
    "EfficientNetV2B0": (8, 23, 7.1),
    "EfficientNetV2B1": (8, 29, 8.1),
    "EfficientNetB0": (9, 18, 5.3),
    "EfficientNetB1": (9, 25, 7.8),
    "Xception": (15, 15, 22.9),
    "DenseNet121": (6, 60, 8.0),
}


def millions(size):
    return round(size / 1e6, 1)


@pytest.mark.parametrize("paper", several(2, sorted(BVG_LS)))
def test_a_model_of_the_bvg_ls_paper_has_its_layers_and_parameters(paper):
    layers, size = TABLE_2[paper]
    found = partition_of(BVG_LS[paper].name, "coarse", 1000)
    assert len(found) == layers
    assert millions(found.size) == size


@pytest.mark.parametrize("paper", several(1, sorted(BLOCKWISE)))
def test_a_model_of_the_block_wise_paper_has_its_groups_and_parameters(paper):
    coarse, fine, size = BLOCKWISE_TABLE[paper]
    name = BLOCKWISE[paper].name
    assert len(partition_of(name, "coarse", 1000)) == coarse
    found = partition_of(name, "fine", 1000)
    assert len(found) == fine
    # ResNet50V2's 25.549 million are rounded differently by its sources
    assert found.size / 1e6 == pytest.approx(size, abs=0.051)


def test_fourteen_of_the_fifteen_are_there_and_the_fifteenth_is_named():
    assert len(BLOCKWISE) == 14
    with pytest.raises(UserError, match="NASNetMobile is the one that is missing"):
        shapes_of("nasnet_mobile", 10)
    assert list(MISSING) == ["NASNetMobile"]


@pytest.mark.parametrize("given", ["ResNet50V2", "resnet50v2", "WRN-28-10", "vit-s"])
def test_a_papers_name_is_answered_with_timms(given):
    with pytest.raises(UserError, match=r"the paper's .* is (resnetv2_50|cifar_wrn|vit_small)"):
        partition_of(given, "coarse", 10)


def test_another_name_has_no_hint():
    assert hint("resnet10t") is None


SMALL = {"ViT-S", "MobileNet", "MobileNetV3Small", "RegNetX002", "WRN-16-2"}
EVERY = BVG_LS | BLOCKWISE | CIFAR


@pytest.mark.parametrize(
    "paper",
    [p if p in SMALL else pytest.param(p, marks=pytest.mark.slow) for p in sorted(EVERY)],
)
def test_every_model_is_built_with_random_weights(paper):
    name = EVERY[paper].name
    model = build(ModelConfig(name, 7, 3, (64, 64)), seed=0).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("paper", several(1, sorted(BLOCKWISE, reverse=True)))
def test_a_head_of_two_layers_stands_where_the_classifier_stood(paper):
    name = BLOCKWISE[paper].name
    body = partition_of(name, "fine", 7)
    model = shapes_of(name, 7, head="mlp")
    found = partition(model, "fine")
    assert found.names == body.names
    shapes = [tuple(model.get_parameter(name).shape) for name in found.head]
    assert [shape[0] for shape in shapes] == [512, 512, 7, 7]
    assert shapes[2][1] == 512
    assert found.layers[-1].parameters[-4:] == found.head


@pytest.mark.parametrize("name", ["test_resnet", "resnetv2_50", "mobilenetv2_100"])
def test_a_model_with_a_head_of_two_layers_runs(name):
    model = build(ModelConfig(name, 5, 3, (64, 64), head="mlp"), seed=0)
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    kinds = [type(m).__name__ for m in model.modules() if type(m).__name__ in ("ReLU", "Dropout")]
    assert kinds[-2:] == ["ReLU", "Dropout"]


def test_the_head_is_drawn_from_the_seed():
    model_config = ModelConfig("test_resnet", 5, 3, (64, 64), head="mlp")
    first, again, other = (build(model_config, seed).fc[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_vggs_dense_layers_are_a_head_of_the_old_task_and_go():
    names = dict(shapes_of("vgg16", 7, head="mlp").named_parameters())
    assert not any(name.startswith("pre_logits") for name in names)
    assert tuple(names["head.fc.0.weight"].shape) == (512, 512)


# Classifiers of every kind that timm has: after pooling, after flattening, as a 1x1 convolution,
# on tokens, on channels that come last. All 99 of its families (timm 1.0, the smallest model of
# each, shapes alone) give [n, classes] with this head: it needs no Flatten of its own.
KINDS = [
    *("resnetv2_50", "mobilenetv3_small_050", "convnext_atto", "swin_tiny_patch4_window7_224"),
    *("vit_tiny_patch16_224", "mixer_s32_224", "densenet121", "levit_128s"),
    *("poolformer_s12", "nfnet_f0", "edgenext_xx_small"),
]


@pytest.mark.parametrize("name", several(2, KINDS))
def test_the_head_of_two_layers_fits_wherever_a_classifier_stands(name):
    model = shapes_of(name, 7, head="mlp").eval()
    size = timm.get_pretrained_cfg(name, allow_unregistered=True).input_size
    with torch.device("meta"):
        assert model(torch.zeros(2, *size)).shape == (2, 7)

"""The papers' models by the papers' names, as hints where a name is not timm's."""

from __future__ import annotations

from typing import NamedTuple


class PaperModel(NamedTuple):
    """A model of a paper in timm: `name` with the pretrained weights that are nearest."""

    name: str
    remark: str = ""


BVG_LS: dict[str, PaperModel] = {
    "WRN-50-2": PaperModel(
        "wide_resnet50_2.tv_in1k", "no public weights have the paper's top-1 error of 20.35 %"
    ),
    "ViT-S": PaperModel("vit_small_patch16_224.augreg_in1k"),
    "ViT-B": PaperModel("vit_base_patch16_224.sam_in1k", "the paper's 19.76 % are SAM's weights"),
    "ConvNeXt-T": PaperModel("convnext_tiny.fb_in1k", "the paper's 17.30 % are at 288 pixels"),
}
"""The BVG-LS paper's Table 2 (docs/algorithms.md)."""

BLOCKWISE: dict[str, PaperModel] = {
    "VGG16": PaperModel("vgg16.tv_in1k"),
    "MobileNet": PaperModel("mobilenetv1_100.ra4_e3600_r224_in1k", "of another recipe"),
    "MobileNetV2": PaperModel("mobilenetv2_100.ra_in1k"),
    "MobileNetV3Small": PaperModel("tf_mobilenetv3_small_100.in1k"),
    "MobileNetV3Large": PaperModel("tf_mobilenetv3_large_100.in1k"),
    "ResNet50V2": PaperModel("resnetv2_50.a1h_in1k", "of another recipe"),
    "RegNetX002": PaperModel("regnetx_002.pycls_in1k"),
    "RegNetX004": PaperModel("regnetx_004.pycls_in1k"),
    "EfficientNetV2B0": PaperModel("tf_efficientnetv2_b0.in1k"),
    "EfficientNetV2B1": PaperModel("tf_efficientnetv2_b1.in1k"),
    "EfficientNetB0": PaperModel("tf_efficientnet_b0.aa_in1k"),
    "EfficientNetB1": PaperModel("tf_efficientnet_b1.aa_in1k"),
    "Xception": PaperModel("legacy_xception.tf_in1k", "299 pixels"),
    "DenseNet121": PaperModel("densenet121.tv_in1k"),
}
"""The block-wise paper's models by their Keras names (docs/algorithms.md)."""

MISSING: dict[str, str] = {
    "NASNetMobile": "of the block-wise paper's fifteen models NASNetMobile is the one that is"
    " missing: the nearest is nasnetalarge, of 331 pixels",
}
"""What a paper tunes and timm lacks."""

CIFAR: dict[str, PaperModel] = {
    "WRN-28-10": PaperModel("cifar_wrn_28_10"),
    "WRN-16-2": PaperModel("cifar_wrn_16_2"),
    "WRN-16-1": PaperModel("cifar_wrn_16_1"),
}
"""The automatic and the surgical paper's model for CIFAR, and small ones of its kind."""


def hint(name: str) -> str | None:
    """What to say of a model that goes by a paper's name; None where none does.

    Upper and lower case, dashes and underscores make no difference.
    """
    wanted = _plain(name)
    for missing, words in MISSING.items():
        if _plain(missing) == wanted:
            return words
    for known, model in (BVG_LS | BLOCKWISE | CIFAR).items():
        if _plain(known) == wanted:
            remark = f" ({model.remark})" if model.remark else ""
            return f"the paper's {known} is {model.name}{remark}"
    return None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())

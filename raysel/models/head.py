"""The classifier in place of timm's: the block-wise paper's two dense layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from raysel.common.errors import user_error

HIDDEN = 512
DROPOUT = 0.5


DENSE = "pre_logits"
"""Where timm has dense layers between the pooling and the classifier."""


def put_mlp_head(model: nn.Module, paths: Sequence[str], classes: int) -> None:
    """Replace each classifier by 512 units, ReLU, dropout 0.5 and the logits.

    That is the head of the block-wise paper (its section IV; docs/algorithms.md), on the
    model's pooled features; the paper flattens them instead (D32), which with
    224 pixels makes heads of up to 51 million parameters. Dense layers that are before the
    classifier (VGG16's two of 4,096) are a head of the old task and go.

    Args:
        paths: the classifiers' names in the model, each a linear layer or a 1x1 convolution.

    Raises:
        UserError: the model has no such classifier (path `model.head`).
    """
    old = [model.get_submodule(path) for path in paths]
    if not old or not all(isinstance(module, nn.Linear | nn.Conv2d) for module in old):
        raise user_error("model.head", "the model has no classifier to replace; leave it out")
    for path in paths:
        _replace(model, path, classes)


def _replace(model: nn.Module, path: str, classes: int) -> None:
    old = model.get_submodule(path)
    parent, _, name = path.rpartition(".")
    if isinstance(old, nn.Conv2d):
        head = _of_convolutions(old.in_channels, classes)
    else:
        assert isinstance(old, nn.Linear)
        head = _of_linears(_without_dense_layers(model, old.in_features), classes)
    setattr(model.get_submodule(parent), name, head)


@contextmanager
def as_leaves(model: nn.Module) -> Iterator[None]:
    """The MLP heads in a model stand as modules without children, as timm's own classifiers do:
    a matcher that looks for its classifier's name finds it."""
    heads = [(path, m) for path, m in model.named_modules() if isinstance(m, MlpHead)]
    places = [(model.get_submodule(path.rpartition(".")[0]), path, head) for path, head in heads]
    for parent, path, _ in places:
        setattr(parent, path.rpartition(".")[2], nn.Identity())
    try:
        yield
    finally:
        for parent, path, head in places:
            setattr(parent, path.rpartition(".")[2], head)


def has_dense_layers(model: nn.Module) -> bool:
    """Whether the model has dense layers of its own before the classifier."""
    return not isinstance(getattr(model, DENSE, nn.Identity()), nn.Identity)


class MlpHead(nn.Sequential):
    """The two dense layers; a class of their own, so that an export knows them."""

    def facts(self) -> dict[str, object]:
        """What rebuilds it: kind, features, hidden units, dropout, classes."""
        first, _, dropout, last = self
        conv = isinstance(first, nn.Conv2d)
        return {
            "kind": "conv" if conv else "linear",
            "features": first.in_channels if conv else first.in_features,
            "hidden": first.out_channels if conv else first.out_features,
            "dropout": dropout.p,
            "classes": last.out_channels if conv else last.out_features,
        }


def _of_linears(features: int, classes: int) -> MlpHead:
    return MlpHead(
        nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, classes)
    )


def _of_convolutions(features: int, classes: int) -> MlpHead:
    """The same of 1x1 convolutions, for a model that flattens after its classifier."""
    return MlpHead(
        nn.Conv2d(features, HIDDEN, 1),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Conv2d(HIDDEN, classes, 1),
    )


def _without_dense_layers(model: nn.Module, features: int) -> int:
    """Drop VGG's dense layers before the classifier; how many features it then gets."""
    dense = getattr(model, DENSE, None)
    first = getattr(dense, "fc1", None)
    if not isinstance(first, nn.Conv2d):
        return features
    setattr(model, DENSE, nn.Identity())
    return first.in_channels

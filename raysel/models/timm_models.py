"""timm, imported behind the torchvision shim; the rest of raysel takes it from here."""

import warnings
from typing import Any

from raysel.common.code_exits import as_exceptions
from raysel.common.torchvision_compat import ensure_importable

ensure_importable()

import timm  # noqa: E402
from timm.models._manipulate import group_with_matcher  # noqa: E402
from timm.models._registry import _deprecated_models  # noqa: E402

from raysel.models import wide_resnet  # noqa: E402  (enters its models into timm's registry)

__all__ = ["create_model", "current_name", "group_with_matcher", "timm", "wide_resnet"]


@as_exceptions()
def create_model(name: str, **arguments: Any) -> Any:
    """timm's, whose registry may hold functions of the user's own. What its builders warn of is
    no news to a user, but for a name that timm has given up: see `current_name`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name, **arguments)


def current_name(name: str) -> str | None:
    """The name that timm gives today to a model of an older name; None where it is today's."""
    found: str | None = _deprecated_models.get(name)
    return found

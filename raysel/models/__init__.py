"""What is tuned: models by name, their weights, and their partition into layers.

timm is imported here, behind the torchvision shim; the rest of raysel takes it from here.
"""

from raysel.common.code_exits import as_exceptions
from raysel.common.torchvision_compat import ensure_importable

ensure_importable()

import timm  # noqa: E402
from timm.models._manipulate import group_with_matcher  # noqa: E402

from raysel.models import wide_resnet  # noqa: E402  (enters its models into timm's registry)

__all__ = ["create_model", "group_with_matcher", "timm", "wide_resnet"]

create_model = as_exceptions()(timm.create_model)
"""timm's, whose registry may hold functions of the user's own."""

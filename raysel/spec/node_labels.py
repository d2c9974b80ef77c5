"""Ray's label selectors and custom resources, as `resources` gives them: checked before Ray refuses
them."""

from __future__ import annotations

import re

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:{_WORD}(?:\.{_WORD})*/)?{_WORD}")
_SELECTOR = re.compile(rf"!?(?:(?:in)?\({_WORD}(?:, ?{_WORD})*\)|{_WORD})|")

_RULE = "63 letters, digits, dashes, dots and underscores at most, a letter or digit at both ends"


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels themselves.

    Raises:
        ValueError: a key, or a value, is none that Ray takes.
    """
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f'"{key}" is no key of a label; {_RULE}, such as ray.io/market-type')
        if not _SELECTOR.fullmatch(value):
            ways = "give a value, !value, in(a, b) or !in(a, b)"
            raise ValueError(f'"{value}" is no selector of a label; {ways}, each of {_RULE}')
    return labels


_RAYS_OWN = {"cpu": "resources.cpus", "gpu": "resources.gpus"}
"""What Ray takes by other means than as a custom resource."""


def check_custom(custom: dict[str, float]) -> dict[str, float]:
    """The custom resources themselves.

    Raises:
        ValueError: one of them is Ray's own.
    """
    for name in custom:
        if (key := _RAYS_OWN.get(name.casefold())) is not None:
            raise ValueError(f"{name} is no custom resource: write {key}")
        if name in ("memory", "object_store_memory"):
            raise ValueError(f"{name} is Ray's own, and trials ask for none; leave it out")
    return custom

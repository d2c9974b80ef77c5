"""One colour a strategy, the same in every figure and on the page, in the light and the dark theme.

People with any colour vision can distinguish the hues. Their contrast to the background is about
3 : 1 or more. Figures give each strategy a marker of its own besides. Full
fine-tuning, what all others are measured against, is dark on white and light on black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK = "#16202c"
"""Text and axes of a figure; the page replaces it by its own text colour."""

ACCENT = "#3186cf"
"""The one hue of the heat maps: its opacity is the value."""


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn. `light` and `dark`: its colour on a white and a dark background."""

    light: str
    dark: str
    marker: str


_BASELINE = Style("#3d4752", "#e6ebf0", "o")
_OTHERS = (
    Style("#0068a8", "#4fb0ee", "o"),
    Style("#c24a00", "#f47c2c", "s"),
    Style("#008a66", "#35c99c", "^"),
    Style("#bf5a9d", "#e68cc5", "D"),
    Style("#b38600", "#f0d060", "v"),
    Style("#4a3fb0", "#8f80f5", "P"),
    Style("#8b4a2f", "#cf9273", "X"),
    Style("#2a8fc2", "#93d6f7", "*"),
)


def styles(strategies: Sequence[str]) -> dict[str, Style]:
    """Strategy -> its style. With more than eight, hues come back with another marker."""
    others = sorted(name for name in strategies if name != "full")
    found = {name: _style(index) for index, name in enumerate(others)}
    return found | ({"full": _BASELINE} if "full" in strategies else {})


def _style(index: int) -> Style:
    turn, place = divmod(index, len(_OTHERS))
    base = _OTHERS[place]
    return Style(base.light, base.dark, _OTHERS[(place + turn) % len(_OTHERS)].marker)


def css() -> list[tuple[str, str, str]]:
    """CSS variable, and its value in the light and in the dark theme."""
    return [(f"--c{style.light[1:]}", style.light, style.dark) for style in (_BASELINE, *_OTHERS)]

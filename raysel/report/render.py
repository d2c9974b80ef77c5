"""A figure becomes an element of the page, or a file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure

from raysel.common.user_files import own_folder
from raysel.report.palette import INK

RC_PARAMS: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: to be searched, and in the page's own font
    "text.parse_math": False,  # a name may hold a dollar sign
    **{
        f"{side}tick.{key}": value
        for side in "xy"
        for key, value in {
            "color": INK,
            "major.size": 2.5,
            "major.width": 0.6,
            "minor.size": 0,
        }.items()
    },
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
}
"""matplotlib's settings for every figure of the report."""


_T = TypeVar("_T")


def draw_styled(draw: Callable[[_T], Figure | None], of: _T) -> Figure | None:
    """One figure with the settings of the report; None where there is nothing to draw."""
    with mpl.rc_context(RC_PARAMS):
        return draw(of)


def drawn(
    figures: Mapping[str, Callable[[_T], Figure | None]], of: _T, folder: Path
) -> dict[str, str]:
    """Draw every figure for which there is something to draw, with the settings of the report.

    Returns:
        Each one as SVG by its name; as PNG it is in the folder.
    """
    own_folder(folder)
    found: dict[str, str] = {}
    for name, draw in figures.items():
        figure, target = draw_styled(draw, of), folder / f"{name}.png"
        if figure is None:
            target.unlink(missing_ok=True)  # of an earlier state
            continue
        found[name] = to_svg(figure, name)
        save_png(figure, target)
    return found


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element without a background.

    Its text is the page's; its colours are CSS variables, `--ink` and `--c` with the six
    digits of a palette colour, so that the page can change them with its theme.

    Args:
        name: the figure's name; makes its ids different from those of other figures.
    """
    stream = io.StringIO()
    with mpl.rc_context({**RC_PARAMS, "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]  # no XML prologue inside HTML
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # "axes_1" would be in every figure
    # an image's id is a hash of its pixels: two panels may show the same
    svg = re.sub(r'(<image [^>]*?)id="image[0-9a-f]*"', r"\1", svg)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the page's
    svg = re.sub(r"\s*<style.*?</style>", "", svg, flags=re.DOTALL)  # would hold for all the page
    return re.sub(r"((?:fill|stroke|color): )#([0-9a-f]{6})", _variable, svg)


def save_png(figure: Figure, path: Path) -> Path:
    """The figure on white; the file is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with mpl.rc_context(RC_PARAMS):
        figure.savefig(partial, format="png", dpi=130, facecolor="white")
    return partial.replace(path)


def _variable(match: re.Match[str]) -> str:
    name = "ink" if match.group(2) == INK[1:] else f"c{match.group(2)}"
    return f"{match.group(1)}var(--{name}, #{match.group(2)})"

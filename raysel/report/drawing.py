"""How figures are drawn: colours, panels, their look on the page and as files.

A strategy has one colour, the same in every figure and on the page, light and dark. People
with any colour vision can distinguish the hues. Their contrast to the background is about 3 : 1 or
more. Figures give each strategy a marker of its own besides. Full fine-tuning, what all others are
measured against, is dark on white and light on black.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.common.user_files import own_folder
from raysel.record.state import PRUNED
from raysel.sweep.results import TrialResult

_T = TypeVar("_T")

# --- colours --------------------------------------------------------------------------------------

INK = "#16202c"
"""Text and axes of a figure; the page replaces it by its own text colour."""

ACCENT = "#3186cf"
"""The one hue of the heat maps: its opacity is the value."""


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn. `light` and `dark`: its colour on a white and a dark ground."""

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


def styles(strategies: Sequence[str], baseline: str = "full") -> dict[str, Style]:
    """Strategy -> its style. With more than eight, hues come back with another marker.

    Args:
        baseline: the arm that stands for full fine-tuning.
    """
    others = sorted(name for name in strategies if name != baseline)
    found = {name: _style(index) for index, name in enumerate(others)}
    return found | ({baseline: _BASELINE} if baseline in strategies else {})


def _style(index: int) -> Style:
    turn, place = divmod(index, len(_OTHERS))
    base = _OTHERS[place]
    return Style(base.light, base.dark, _OTHERS[(place + turn) % len(_OTHERS)].marker)


def css() -> list[tuple[str, str, str]]:
    """CSS variable, its value by day, its value by night: the figures' colours on the page."""
    return [(f"--c{style.light[1:]}", style.light, style.dark) for style in (_BASELINE, *_OTHERS)]


# --- panels ---------------------------------------------------------------------------------------

WIDTH = 8.6
"""Of every figure, in inches."""

LABEL = 32
"""A longer name beside an axis is cut, in characters."""

Place = Literal["outside upper left", "outside lower right"]


def panels(
    names: Sequence[str], height: float, share_y: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel (of a height in inches) a name, three in a row, of four two."""
    columns = 2 if len(names) == 4 else min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure((WIDTH, 0.3 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share_y, sharey=share_y, squeeze=False)
    flat = list(grid.flat)
    for spare in flat[len(names) :]:
        spare.set_visible(False)
    return figure, dict(zip(names, flat, strict=False))


def is_left(axes: Axes, index: int) -> bool:
    """Whether a panel, the `index`-th, stands in the first column."""
    spec = axes.get_subplotspec()
    return spec is None or spec.is_first_col() or index == 0


def label_outer(panels: Mapping[str, Axes], x: str, y: str | None) -> None:
    """Axis labels at the left and below the lowest panel of each column only."""
    placed = [(axes, axes.get_subplotspec()) for axes in panels.values()]
    lowest = {spec.colspan.start: axes for axes, spec in placed if spec}
    for axes, spec in placed:
        if spec and spec.is_first_col() and y:
            axes.set_ylabel(y)
        if axes in lowest.values():
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def panel_title(strategy: str, trial: TrialResult | None) -> str:
    """A panel's title: whose best trial it shows, and where that is a pruned one."""
    if trial is None:
        return strategy
    pruned = ", pruned" if trial.status == PRUNED else ""
    return f"{strategy} · trial {trial.id}{pruned}"


def legend(figure: Figure, handles: Sequence[Artist], place: Place) -> None:
    """Rows of keys above or below the panels, each of as many as the width holds, six at most; the
    figure grows by the rows after the first."""
    for columns in range(min(len(handles), 6), 0, -1):
        keys = figure.legend(handles=handles, loc=place, ncols=columns, handletextpad=0.4)
        size, rows = keys.get_window_extent(), -(-len(handles) // columns)
        if size.width <= figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + size.height * (1 - 1 / rows) / figure.dpi)
            return
        keys.remove()


def plot_trials(
    axes: Axes,
    trials: Iterable[tuple[str, bool, tuple[float, float]]],
    look: Mapping[str, Style],
    size: float,
    **options: Any,
) -> None:
    """A point a trial in its strategy's style. Those that look alike are one line of matplotlib: a
    line a trial is slow to draw.

    Args:
        trials: of each its strategy, whether it is filled (else hollow and smaller), x and y.
        size: of a filled one, in points.
        options: further ones of `axes.plot`.
    """
    alike: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for strategy, filled, point in trials:
        alike.setdefault((strategy, filled), []).append(point)
    for (strategy, filled), points in alike.items():
        style = look[strategy]
        axes.plot(
            *zip(*points, strict=True),
            style.marker,
            color=style.light,
            mfc=style.light if filled else "none",
            ms=size if filled else 4.5,
            alpha=0.9 if filled else 0.55,
            **options,
        )


def strategy_keys(names: Sequence[str], look: Mapping[str, Style]) -> list[Line2D]:
    """What the lines of strategies look like."""
    return [
        Line2D([], [], color=look[name].light, marker=look[name].marker, ms=5, label=name)
        for name in names
    ]


# --- as an element of the page, or as a file ------------------------------------------------------

# A letter that no font here has is a box in the PNG, and no line on the terminal for each; the page
# has it as text.
warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)

_WIDER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Arial Unicode MS")
"""For letters that matplotlib's own font lacks; those that are installed are taken."""

_INSTALLED = {font.name for font in font_manager.fontManager.ttflist}

LOOK: Any = {
    "font.family": ["DejaVu Sans", *(name for name in _WIDER_FONTS if name in _INSTALLED)],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no ticks above a panel with a title: need not be looked for
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: publishers refuse the default, Type 3
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


def draw_styled(draw: Callable[[_T], Figure | None], of: _T) -> Figure | None:
    """One figure in the report's look; None where there is nothing to draw."""
    with mpl.rc_context(LOOK):
        return draw(of)


def drawn(
    figures: Mapping[str, Callable[[_T], Figure | None]], of: _T, folder: Path
) -> dict[str, str]:
    """Draw every figure for which there is something to draw, in the report's look.

    Returns:
        Each one as SVG by its name; as PNG it lies in the folder.
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
    """The figure as an `<svg>` element without a ground of its own.

    Its text is the page's; its colours are CSS variables, `--ink` and `--c` with the six
    digits of a palette colour, so that the page can change them with its theme.

    Args:
        name: the figure's name; makes its ids different from those of other figures.
    """
    stream = io.StringIO()
    with mpl.rc_context({**LOOK, "svg.hashsalt": name}):
        _lay_out(figure)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]  # no XML prologue inside HTML
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # "axes_1" would stand in every figure
    # an image's id is a hash of its pixels: two panels may show the same
    svg = re.sub(r'(<image [^>]*?)id="image[0-9a-f]*"', r"\1", svg)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the page's
    svg = re.sub(r"\s*<style.*?</style>", "", svg, flags=re.DOTALL)  # would hold for all the page
    return re.sub(r"((?:fill|stroke|color): )#([0-9a-f]{6})", _variable, svg)


_DPI = 130
"""Of a PNG, in pixels an inch."""


def save_png(figure: Figure, path: Path) -> Path:
    """The figure on white; the file is there whole or not at all."""
    return _save(figure, path, format="png", dpi=_DPI, facecolor="white")


def save_pdf(figure: Figure, path: Path) -> Path:
    """The figure as PDF, the same bytes each time; whole or not at all."""
    return _save(figure, path, format="pdf", metadata={"CreationDate": None})


def _save(figure: Figure, path: Path, **options: Any) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with mpl.rc_context(LOOK):
            _lay_out(figure)
            figure.savefig(partial, **options)
        return partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _lay_out(figure: Figure) -> None:
    """Put the panels in their places, once: most of the time of a figure goes to measuring texts
    for it, and matplotlib would do it anew for each file. At the PNG's resolution, as small texts
    are rounded to pixels: by another one, long labels would be cut."""
    if (engine := figure.get_layout_engine()) is not None:
        figure.set_dpi(_DPI)
        engine.execute(figure)
        figure.set_layout_engine(None)


def _variable(match: re.Match[str]) -> str:
    name = "ink" if match.group(2) == INK[1:] else f"c{match.group(2)}"
    return f"{match.group(1)}var(--{name}, #{match.group(2)})"

"""Which searched values mattered."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from raysel.report.palette import INK, styles
from raysel.report.panels import label_outer, panels
from raysel.report.tables import Results, percent, strategies


def importances(results: Results) -> Figure | None:
    """How much each searched value decides whether a trial is among the best quarter: over all
    complete trials, then for each strategy with enough of its own (`raysel.sweep.importance`)."""
    groups = {row["strategy"]: row for row in results.get("importance") or []}
    if not groups:
        return None
    style_of = styles(strategies(results))
    most = max(len(row["of"]) for row in groups.values())
    titles = {name: f"{name or 'all'} · {row['trials']} trials" for name, row in groups.items()}
    figure, placed = panels(list(titles.values()), height=0.6 + 0.27 * most)
    for name, row in groups.items():
        axes, shares = placed[titles[name]], list(row["of"].values())
        colour = style_of[name].light if name in style_of else INK
        axes.barh(range(len(shares)), shares, height=0.62, color=colour)
        for place, share in enumerate(shares):
            axes.text(share + 0.02, place, percent(share), va="center", size=8)
        axes.set_yticks(range(len(shares)), [value.replace("_", " ") for value in row["of"]])
        axes.set_ylim(most - 0.5, -0.5)
        axes.set_xlim(0, 1.18)
        axes.set_xticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(titles[name])
    label_outer(placed, "importance", None)
    return figure

"""Numbers in words, as the pages and the tables of a report show them."""

from __future__ import annotations

from typing import Any

from raysel.report.tables import finite
from raysel.sweep.verdict_words import points


def in_points(rate: float | None) -> str:
    """A difference of rates in percentage points, `–` where there is none."""
    return "–" if rate is None else points(rate)[0]


def size_in_points(rate: float | None) -> str:
    """The size of a difference in percentage points, without a sign: `2.3`."""
    return in_points(rate).removeprefix("+")


def p_value(value: float | None) -> str:
    """`0.032`, `<0.001`, `–` where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def seconds(value: Any) -> str:
    """`0.4 s`, `3 min 05 s`, `2 h 10 min`; a dash for nothing."""
    total = finite(value)
    if total is None:
        return "–"
    if total < 60:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def number(value: Any, digits: int = 3) -> str:
    """A number with a fixed count of decimals; a dash for nothing."""
    known = finite(value)
    return "–" if known is None else f"{known:.{digits}f}"


def mebibytes(value: Any) -> str:
    """Bytes as MiB: `0.8`, `312`; a dash for nothing."""
    total = finite(value)
    if total is None:
        return "–"
    scaled = total / 2**20
    return f"{scaled:,.0f}" if scaled >= 10 else f"{scaled:.1f}"


def hours(count: float) -> str:
    """Hours of work: `0.25`, `1,200`."""
    return f"{count:.2f}" if count < 10 else f"{count:,.0f}"


def size(count: float) -> str:
    """Bytes: `9.4 GB`, `65 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def objective_value(metric: str, value: float) -> str:
    """`0.123` of a measure, `12.3` of seconds, `1,234,567` of parameters."""
    if metric == "cost/updated_params":
        return f"{value:,.0f}"
    return f"{value:.1f}" if metric.startswith("cost/") else f"{value:.3f}"

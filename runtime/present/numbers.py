"""Formats numbers, in the same way for tables, charts, the report and the terminal."""

from __future__ import annotations


def format_interval(
    value: float | None, low: float | None, high: float | None, spec: str = ".3f", scale: float = 1.0, unit: str = ""
) -> str:
    """`value [low, high]`, each times `scale`, with `unit` behind the value; `value no interval` where an end is None, "" where the
    value is."""
    return "" if value is None else f"{scale * value:{spec}}{unit} {format_ends(low, high, spec, scale)}"


def format_ends(low: float | None, high: float | None, spec: str = ".3f", scale: float = 1.0) -> str:
    """`[low, high]`, each times `scale`, or "no interval" where an end is None."""
    return "no interval" if low is None or high is None else f"[{scale * low:{spec}}, {scale * high:{spec}}]"


def format_span(low: float | None, high: float | None, spec: str = ".1f", scale: float = 1.0) -> str:
    """`(low to high)`, each times `scale`, or `(no interval)` where an end is None, for use in a sentence."""
    return "(no interval)" if low is None or high is None else f"({scale * low:{spec}} to {scale * high:{spec}})"


def format_percent(share: float, spec: str = "g") -> str:
    """A share (1 is all) in percent, with a no-break space before the sign."""
    return f"{100 * share:{spec}}\u00a0%"


def format_epsilon(epsilon: float) -> str:
    """An accountant's epsilon with three significant digits; from 1,000 on as a whole number, above a million `above 1,000,000`."""
    return f"{epsilon:.3g}" if epsilon < 999.5 else f"{epsilon:,.0f}" if epsilon <= 1e6 else "above 1,000,000"

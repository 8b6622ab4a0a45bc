"""Small pieces of HTML that several sections share. Every text that is not ours passes `escape`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

from runtime.present.charts import look
from runtime.present.paradigms import printed
from runtime.present.report.read import Row


def table(about: str, heads: Iterable[str], rows: Iterable[Sequence[str]], attributes: Sequence[str] = ()) -> str:
    """A table in a box of its own that scrolls; cells are HTML, heads and caption are text."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr{attributes[place] if attributes else ''}>{''.join(cells)}</tr>" for place, cells in enumerate(rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(about[:80])}">'
        f"<table><caption><span>{escape(about)}</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def measured(row: Row, name: str, n: Any, share: bool = False, digits: int = 3) -> str:
    """A cell with a figure, its interval and its n; in words where there is none. `name` "" reads value, low, high.

    An attack that was done and gave no figure could not resolve it; what was not done is not measured.
    """
    value, low, high = (row["value"], row["low"], row["high"]) if not name else (row[name], row[f"{name}_low"], row[f"{name}_high"])
    if value is None:
        attacked = not name or row["attack"] is not None
        return f"<td>{'not resolvable' if attacked else 'not measured'}</td>"
    if share:
        figure, ends = f"{100 * value:.1f} %", None if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
    else:
        figure, ends = f"{value:.{digits}f}", None if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
    return (
        f'<td class="figure"><span class="value">{figure}</span> <span class="interval">{ends or "no interval"}</span> '
        f'<span class="n">n\u00a0= {count_of(n)}</span></td>'
    )


def swatch(paradigm: str, text: str | None = None) -> str:
    """The paradigm's colour beside its name, or beside `text` (HTML)."""
    patch = f'<span class="swatch" style="--swatch: {variable(look.color_of(paradigm))}" aria-hidden="true"></span>'
    return f'<span class="name">{patch}{text or escape(printed(paradigm))}</span>'


def variable(color: str) -> str:
    """A colour that the page's dark mode and its print can change."""
    return f"var(--c{color.lstrip('#').lower()}, {color})"


def named(row: Row) -> str:
    """A trial's label, with its replicate where it is not the first."""
    return f"{row['label']} #{row['replicate']}" if row.get("replicate") else str(row["label"])


def control(null_ok: bool | None) -> str:
    """What became of the null control, as HTML."""
    words = {True: '<span class="good">passed</span>', False: '<span class="bad">failed: figures invalid</span>', None: "not run"}
    return words[null_ok]


def epsilon(epsilon: float | None) -> str:
    """The accountant's epsilon; from 1,000 on no bound on an attack follows from it."""
    if epsilon is None:
        return "none"
    return "vacuous: above 10⁶" if epsilon > 1e6 else f"{epsilon:,.3g}" if epsilon < 1000 else f"{epsilon:,.0f}, vacuous"


def count_of(n: Any) -> str:
    """A count with thousands set apart."""
    return "unknown" if n is None else f"{n:,.0f}"


def moment(when: datetime | None) -> str:
    """A time to the minute."""
    return "unknown" if when is None else when.isoformat(sep=" ", timespec="minutes")


def listed(names: Sequence[str]) -> str:
    """At most five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def significance(p: float | None) -> str:
    """A p-value, or nothing."""
    return "" if p is None else f"{p:.2g}"


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element."""
    return (
        json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )

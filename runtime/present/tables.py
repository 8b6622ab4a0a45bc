"""Rows as text: tables for a terminal, CSV, JSON, Markdown, LaTeX (booktabs), HTML. Every cell is escaped for its format."""

from __future__ import annotations

import csv
import html
import io
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runtime.present.paradigms import ordered, printed

COMPARISON = "SELECT * FROM comparison"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


_NOTHING = "not resolvable"


class Best(str):
    """A cell that is better than every other of its column, by more than both intervals: printed bold."""


def comparison(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[str]]]:
    """The comparison as a paper shows it: a line per trial, baselines first, figures with intervals and n; the best is a `Best`."""
    heads = ["trial", "paradigm", "test accuracy, %", "shadows", "leakage, %", "non-members", "AUC", "epsilon", "seconds"]
    cells = ordered(dict(zip(columns, row, strict=True)) for row in rows)
    best = {name: _best(cells, name, sign) for name, sign in (("test_accuracy", 1), ("leakage", -1), ("auc", -1), ("seconds", -1))}

    def figure(place: int, name: str, scale: float, digits: int) -> str:
        text = _spread(cells[place], name, scale, digits)
        return Best(text) if place == best[name] else text

    body = []
    for place, cell in enumerate(cells):
        valid = "" if cell["null_ok"] in (True, None) else " (null control failed)"
        replicate = f" #{cell['replicate']}" if cell["replicate"] else ""
        body.append(
            [
                cell["label"] + replicate + valid,
                printed(cell["paradigm"]),
                figure(place, "test_accuracy", 100, 1),
                str(cell["shadows"] or ""),
                figure(place, "leakage", 100, 1) if cell["leakage"] is not None else _NOTHING,
                str(cell["leakage_n"] or ""),
                figure(place, "auc", 1, 3),
                _epsilon(cell["epsilon"]),
                figure(place, "seconds", 1, 1),
            ]
        )
    return heads, body


def _epsilon(epsilon: float | None) -> str:
    if epsilon is None:
        return ""
    return f"{epsilon:.3g}" if epsilon < 1000 else f"{epsilon:,.0f}" if epsilon <= 1e6 else "above 1,000,000"


def _best(cells: Sequence[dict[str, Any]], name: str, sign: int) -> int | None:
    """The place of the one trial whose interval lies beyond those of all others; None if there is none.

    Intervals apart are a stricter demand than a significant difference; trials whose null control failed do not take part.
    """
    spans = {
        place: sorted((sign * cell[f"{name}_low"], sign * cell[f"{name}_high"]))
        for place, cell in enumerate(cells)
        if cell["null_ok"] is not False and None not in (cell[name], cell[f"{name}_low"], cell[f"{name}_high"])
    }
    if len(spans) < 2:
        return None
    first = max(spans, key=lambda place: spans[place][0])
    return first if all(spans[first][0] > high for other, (_, high) in spans.items() if other != first) else None


def _spread(cell: dict[str, Any], name: str, scale: float, digits: int) -> str:
    value, low, high = (cell[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    interval = f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]" if low is not None and high is not None else ""
    return f"{scale * value:.{digits}f}{interval}"


def rendered(columns: Sequence[str], rows: Sequence[Sequence[Any]], how: str) -> str:
    """The table as text in one of: table, csv, json, markdown, latex, html."""
    match how:
        case "json":
            return json.dumps([dict(zip(columns, map(_plain, row), strict=True)) for row in rows], ensure_ascii=False, indent=1)
        case "csv":
            out = io.StringIO()
            csv.writer(out, lineterminator="\n").writerows([columns, *([_plain(value) for value in row] for row in rows)])
            return out.getvalue().rstrip("\n")
        case "markdown":
            return _markdown(columns, rows)
        case "latex":
            return _latex(columns, rows)
        case "html":
            return _html(columns, rows)
    return _aligned(columns, rows)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity are no JSON
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(_plain(value)).split())


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]], widest: int = 48) -> str:
    """Columns below each other; where they do not fit beside each other, long cells are cut.

    On a terminal that is too narrow even so, columns go on in a further block, each begun by the column that tells rows apart.
    """
    cells = [[_text(value) for value in row] for row in rows]

    def widths() -> list[int]:
        return [max([len(head), *(len(row[place]) for row in cells)]) for place, head in enumerate(columns)]

    room = shutil.get_terminal_size((160, 0)).columns
    if sum(widths()) + 2 * (len(columns) - 1) > room:
        cells = [[_shortened(text, widest) for text in row] for row in cells]
    blocks = _blocks(widths(), _key(cells), room) if sys.stdout.isatty() else [list(range(len(columns)))]
    right = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]

    def line(parts: Sequence[str], block: Sequence[int]) -> str:
        wide = widths()
        return "  ".join(parts[at].rjust(wide[at]) if right[at] else parts[at].ljust(wide[at]) for at in block).rstrip()

    rules = ["─" * width for width in widths()]
    drawn = ["\n".join(line(parts, block) for parts in (list(columns), rules, *cells)) for block in blocks]
    return "\n\n".join(drawn) + f"\n({len(rows)} row{'s' if len(rows) != 1 else ''})"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _key(cells: Sequence[Sequence[str]]) -> int:
    """The first column that no two rows share a cell of; else the first."""
    places = range(len(cells[0])) if len(cells) > 1 else ()
    return next((place for place in places if len({row[place] for row in cells}) == len(cells)), 0)


def _blocks(widths: Sequence[int], key: int, room: int) -> list[list[int]]:
    """Columns that fit beside each other, as places; from the second block on the key comes first."""
    blocks: list[list[int]] = [[]]
    for place in range(len(widths)):
        block = blocks[-1]
        if len(block) > (block[:1] == [key]) and sum(widths[at] + 2 for at in block) + widths[place] > room:
            blocks.append([key] if place != key else [])
        blocks[-1].append(place)
    return blocks


def _shortened(text: str, widest: int) -> str:
    """Cut off at the end; of a path the end stays, which tells it from others."""
    if len(text) <= widest:
        return text
    return f"…{text[1 - widest :]}" if text.startswith("/") else f"{text[: widest - 1]}…"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(parts: Sequence[str]) -> str:
        return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"

    def cell(value: Any) -> str:
        return f"**{_text(value)}**" if isinstance(value, Best) else _text(value)

    return "\n".join([line(list(columns)), line(["---"] * len(columns)), *(line([cell(value) for value in row]) for row in rows)])


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        escaped = "".join(_LATEX.get(letter, letter) for letter in _text(value))
        return rf"\textbf{{{escaped}}}" if isinstance(value, Best) else escaped

    def line(values: Sequence[Any]) -> str:
        return " & ".join(map(cell, values)) + r" \\"

    body = [line(row) for row in rows]
    sides = ["r" if _of_figures([_text(row[place]) for row in rows]) else "l" for place in range(len(columns))]
    frame = [
        rf"\begin{{tabular}}{{{''.join(sides)}}}",
        r"\toprule",
        line(list(columns)),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(frame)


def _of_figures(cells: Sequence[str]) -> bool:
    """Whether a column stands on the right: figures, whatever is missing among them."""
    there = [cell for cell in cells if cell not in ("", _NOTHING)]
    return bool(there) and all(cell.lstrip("-").startswith(tuple("0123456789")) for cell in there)


def _html(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        escaped = html.escape(_text(value))
        return f"<td><strong>{escaped}</strong></td>" if isinstance(value, Best) else f"<td>{escaped}</td>"

    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "\n".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

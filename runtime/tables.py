"""Rows as text: tables for a terminal, CSV, JSON, Markdown, LaTeX (booktabs), HTML. Every cell is escaped for its format."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

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


def comparison(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[str]]]:
    """The comparison as a paper shows it: one line per trial, figures with intervals."""
    heads = ["trial", "paradigm", "test accuracy", "leakage", "non-members", "AUC", "epsilon", "seconds"]
    body = []
    for row in rows:
        cell = dict(zip(columns, row, strict=True))
        leakage = _spread(cell, "leakage", 100, 1) if cell["leakage"] is not None else "not resolvable"
        valid = "" if cell["null_ok"] in (True, None) else " (null control failed)"
        epsilon = "" if cell["epsilon"] is None else f"{cell['epsilon']:.3g}" if cell["epsilon"] <= 1e6 else "> 1e6, vacuous"
        body.append(
            [
                cell["label"] + valid,
                cell["paradigm"],
                _spread(cell, "test_accuracy", 100, 1),
                leakage,
                str(cell["leakage_n"] or ""),
                _spread(cell, "auc", 1, 3),
                epsilon,
                _spread(cell, "seconds", 1, 1),
            ]
        )
    return heads, body


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
    cells = [[_shortened(_text(value), widest) for value in row] for row in rows]
    widths = [max(len(head), *(len(row[place]) for row in cells), 0) if cells else len(head) for place, head in enumerate(columns)]
    right = (
        [
            bool(rows)
            and all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in column)
            for column in zip(*rows, strict=True)
        ]
        if rows
        else [False] * len(columns)
    )

    def line(parts: Sequence[str]) -> str:
        return "  ".join(
            part.rjust(width) if to_right else part.ljust(width) for part, width, to_right in zip(parts, widths, right, strict=True)
        ).rstrip()

    count = f"({len(rows)} row{'s' if len(rows) != 1 else ''})"
    return "\n".join([line(list(columns)), "  ".join("─" * width for width in widths), *map(line, cells), count])


def _shortened(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 1] + "…"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(parts: Sequence[str]) -> str:
        return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"

    return "\n".join([line(list(columns)), line(["---"] * len(columns)), *(line([_text(value) for value in row]) for row in rows)])


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(parts: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(letter, letter) for letter in part) for part in parts) + r" \\"

    body = [line([_text(value) for value in row]) for row in rows]
    frame = [
        rf"\begin{{tabular}}{{{'l' * len(columns)}}}",
        r"\toprule",
        line(list(columns)),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(frame)


def _html(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(_text(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

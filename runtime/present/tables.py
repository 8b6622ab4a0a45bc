"""Rows as text: tables for a terminal, CSV, JSON, Markdown, LaTeX (booktabs), HTML. Every cell is escaped for its format."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from compiler.errors import plural
from compiler.text import escape
from runtime.present.numbers import format_epsilon, format_interval
from runtime.present.paradigms import Row, doubts_of, is_comparable, order_by_paradigm, printed_name, rows_of

COMPARISON = "SELECT * FROM comparison"
UNRESOLVABLE = "not resolvable"
MAX_CELL_LETTERS = 48
"""Of a table that does not fit on the terminal."""


class Best(str):
    """A cell that is better than every other of its column, by more than both intervals: printed bold."""


def comparison(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[str]]]:
    """The comparison as a paper shows it: a line per trial, baselines first, figures with intervals and n; the best is a `Best`."""
    heads = ["trial", "paradigm", "test accuracy, %", "shadows", "leakage, %", "non-members", "AUC", "epsilon", "seconds"]
    trials = order_by_paradigm(rows_of(columns, rows))
    better = {"test_accuracy": 1, "leakage": -1, "auc": -1, "seconds": -1}
    best = {name: _find_best(trials, name, sign) for name, sign in better.items()}

    def print_figure(trial: Row, name: str, spec: str, scale: float = 1) -> str:
        text = format_interval(trial[name], trial[f"{name}_low"], trial[f"{name}_high"], spec, scale)
        return Best(text) if trial is best[name] else text

    body = []
    for trial in trials:
        said = "control" if trial.get("control") else doubts_of(trial).partition(":")[0]
        remark = f" ({said})" if said else ""
        replicate = f" #{trial['replicate']}" if trial["replicate"] else ""
        body.append(
            [
                trial["label"] + replicate + remark,
                printed_name(trial["paradigm"]),
                print_figure(trial, "test_accuracy", ".1f", 100),
                str(trial["shadows"] or ""),
                print_figure(trial, "leakage", ".1f", 100) or UNRESOLVABLE,
                str(trial["leakage_n"] or ""),
                print_figure(trial, "auc", ".3f"),
                "" if trial["epsilon"] is None else format_epsilon(trial["epsilon"]),
                print_figure(trial, "seconds", ".1f"),
            ]
        )
    return heads, body


def _find_best(trials: Iterable[Row], name: str, sign: int) -> Row | None:
    """The one trial whose interval lies beyond those of all others; None if there is none.

    Intervals apart are a stricter demand than a significant difference; controls and what is doubtful do not take part.
    """
    spans = [
        (*sorted((sign * trial[f"{name}_low"], sign * trial[f"{name}_high"])), trial)
        for trial in trials
        if is_comparable(trial) and None not in (trial[name], trial[f"{name}_low"], trial[f"{name}_high"])
    ]
    if len(spans) < 2:
        return None
    low, _, best = max(spans, key=lambda span: span[0])
    return best if all(low > high for _, high, trial in spans if trial is not best) else None


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], how: str) -> str:
    """The table as text in one of: table, csv, json, markdown, latex, html."""
    match how:
        case "json":
            return json.dumps([dict(zip(columns, map(_plain, row), strict=True)) for row in rows], ensure_ascii=False, indent=1)
        case "csv":
            out = io.StringIO()
            csv.writer(out, lineterminator="\n").writerows([map(_csv, row) for row in (columns, *rows)])
            return out.getvalue().rstrip("\n")
        case "markdown":
            lines = [columns, ["---"] * len(columns), *rows]
            bars = [_escape(line, escape.markdown, "**{}**") for line in lines]
            return "\n".join(f"| {' | '.join(bar)} |" for bar in bars)
        case "latex":
            return _latex(columns, rows)
        case "html":
            head, *body = ["".join(_escape(line, escape.html, "<strong>{}</strong>", "<td>{}</td>")) for line in (columns, *rows)]
            head = head.replace("<td>", '<th scope="col">').replace("</td>", "</th>")
            inner = "\n".join(f"<tr>{line}</tr>" for line in body)
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{inner}\n</tbody>\n</table>"
    return _align(columns, rows)


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


def _csv(value: Any) -> Any:
    return escape.csv(plain) if isinstance(plain := _plain(value), str) else plain


def _print(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(_plain(value)).split())


def _escape(values: Sequence[Any], escaped: Callable[[str], str], bold: str, cell: str = "{}") -> list[str]:
    """Cells of a row in a format; a `Best` stands in `bold`."""
    texts = [escaped(_print(value)) for value in values]
    return [cell.format(bold.format(text) if isinstance(value, Best) else text) for value, text in zip(values, texts, strict=True)]


def _latex(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [_escape(line, escape.latex, r"\textbf{{{}}}") for line in (columns, *rows)]
    head, *body = [" & ".join(line) + r" \\" for line in lines]
    sides = "".join("r" if _holds_figures([_print(row[at]) for row in rows]) else "l" for at in range(len(columns)))
    frame = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(frame)


def _holds_figures(cells: Sequence[str]) -> bool:
    """Whether a column stands on the right: figures, whatever is missing among them."""
    there = [cell for cell in cells if cell not in ("", UNRESOLVABLE)]
    return bool(there) and all(cell.lstrip("-")[0].isdigit() for cell in there)


def _align(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns below each other; where they do not fit beside each other, long cells are cut.

    On a terminal that is too narrow even so, columns go on in a further block, each begun by the column that tells rows apart.
    """
    cells = [[_print(value) for value in row] for row in rows]

    def widths() -> list[int]:
        return [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    room = shutil.get_terminal_size((160, 0)).columns
    if sum(widths()) + 2 * (len(columns) - 1) > room:
        cells = [list(map(_shorten, row)) for row in cells]
    blocks = _split(widths(), _key(cells), room) if sys.stdout.isatty() else [list(range(len(columns)))]
    sides = [">" if rows and all(map(_is_number, column)) else "<" for column in zip(*rows, strict=True)] or ["<"] * len(columns)
    specs = [f"{side}{width}" for side, width in zip(sides, widths(), strict=True)]
    lines = [list(columns), ["─" * width for width in widths()], *cells]
    texts = ["\n".join("  ".join(format(line[at], specs[at]) for at in block).rstrip() for line in lines) for block in blocks]
    return "\n\n".join(texts) + f"\n({plural(len(rows), 'row')})"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _key(cells: Sequence[Sequence[str]]) -> int:
    """The first column that no two rows share a cell of; else the first."""
    columns = zip(*cells, strict=True) if len(cells) > 1 else ()
    return next((at for at, column in enumerate(columns) if len(set(column)) == len(cells)), 0)


def _split(widths: Sequence[int], key: int, room: int) -> list[list[int]]:
    """Columns that fit beside each other, by index; from the second block on the key comes first."""
    blocks: list[list[int]] = [[]]
    for at, width in enumerate(widths):
        block = blocks[-1]
        if len(block) > (block[:1] == [key]) and sum(widths[other] + 2 for other in block) + width > room:
            blocks.append([key] if at != key else [])
        blocks[-1].append(at)
    return blocks


def _shorten(text: str) -> str:
    """Cut off at the end; of a path the end stays, which tells it from others."""
    if len(text) <= MAX_CELL_LETTERS:
        return text
    return f"…{text[1 - MAX_CELL_LETTERS :]}" if text.startswith("/") else f"{text[: MAX_CELL_LETTERS - 1]}…"

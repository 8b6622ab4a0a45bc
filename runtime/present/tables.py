"""Formats rows as text tables: terminal, CSV, JSON, Markdown, LaTeX (booktabs), HTML. Cells are escaped for their format."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from compiler.errors import plural
from compiler.text import escape
from runtime.present.answer import state_claim
from runtime.present.numbers import format_epsilon, format_interval, format_percent
from runtime.present.paradigms import Row, doubts_of, is_comparable, order_by_paradigm, printed_name, rows_of, verdict_of

UNRESOLVABLE = "not resolvable"
NOT_MEASURED = "not measured"
MAX_CELL_LETTERS = 48
"""Longest cell of a table that does not fit on the terminal."""


class Best(str):
    """A cell that is printed bold: better than all others of its column, with an interval that overlaps none."""


HEADS = {
    "trial": "trial",
    "paradigm": "paradigm",
    "accuracy": "test accuracy, %",
    "shadows": "shadows",
    "leakage": "leakage, %",
    "non_members": "non-members",
    "auc": "AUC",
    "epsilon": "epsilon",
    "seconds": "seconds",
}
"""Name for `--columns` → heading, of the columns of the comparison."""


def comparison(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], only: Sequence[str] = tuple(HEADS)
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the comparison for a paper, from columns and rows of the view `comparison`, in the columns `only` (keys
    of HEADS, else KeyError): one row per trial in the order of paradigms, undefended first. Accuracy, leakage, AUC and seconds have
    their interval or "no interval", and the best of each is a `Best` (`_find_best`). What is missing is "not resolvable", "not
    measured", "none" (epsilon without DP-SGD) or "" (counts). Behind a trial's label stand `#REPLICATE` unless that is 0, and
    `(control)` or else the first of its doubts."""
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
        cells = {
            "trial": trial["label"] + replicate + remark,
            "paradigm": printed_name(trial["paradigm"]),
            "accuracy": print_figure(trial, "test_accuracy", ".1f", 100) or NOT_MEASURED,
            "shadows": str(trial["shadows"] or ""),
            "leakage": print_figure(trial, "leakage", ".1f", 100) or (UNRESOLVABLE if trial["attack"] else NOT_MEASURED),
            "non_members": str(trial["leakage_n"] or ""),
            "auc": print_figure(trial, "auc", ".3f") or (UNRESOLVABLE if trial["attack"] else NOT_MEASURED),
            "epsilon": _print_epsilon(trial),
            "seconds": print_figure(trial, "seconds", ".1f") or NOT_MEASURED,
        }
        body.append([cells[name] for name in only])
    return [HEADS[name] for name in only], body


def _print_epsilon(trial: Row) -> str:
    if trial["epsilon"] is None:  # for DP-SGD, known only after a run
        return NOT_MEASURED if trial["paradigm"] == "dp_sgd" else "none"
    return format_epsilon(trial["epsilon"])


def claims(rows: Sequence[Row], pairs: Sequence[Row], labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the claims for a paper, a row for each: statement, measured effect as a sentence, verdict over all
    claims, and whether the claim was declared before the first result, after it, or at an unknown time. rows, pairs: of the views
    `claim` and `claim_pair`; `labels`: address of a trial → its name."""
    body = []
    for claim in rows:
        of_it = [pair for pair in pairs if pair["claim"] == claim["claim"]]
        when = {None: "unknown", 0: "before results"}.get(claim.get("outcomes_before"), "after results")
        body.append([claim["statement"], state_claim(claim, of_it, labels), verdict_of(claim), when])
    return ["claim", "measured", "verdict", "declared"], body


def latex_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, full: bool, broken: Sequence[int] = (0,)
) -> str:
    """A LaTeX table float, one column of the page wide or, if `full`, two, with booktabs, tabularx, caption and the label
    `tab:synthc`; cells are escaped, a `Best` is bold, columns of figures are right-aligned.

    The columns with the indices `broken` share what room there is and break their lines; the others keep to one line.
    """
    lines = [_escape(line, escape.latex, r"\textbf{{{}}}") for line in (columns, *rows)]
    head, *body = [" & ".join(line) + r" \\" for line in lines]
    kept = ["r" if _holds_figures([_print(row[at]) for row in rows]) else "l" for at in range(len(columns))]
    sides = "".join(r">{\raggedright\arraybackslash}X" if at in broken else side for at, side in enumerate(kept))
    star, gap = ("*", "4pt") if full else ("", "2.5pt")
    frame = [
        r"% needs \usepackage{booktabs,tabularx}",
        rf"\begin{{table{star}}}[t]",
        rf"\caption{{{escape.latex(caption)}}}",
        r"\label{tab:synthc}\vspace{4pt}",
        rf"\footnotesize\setlength{{\tabcolsep}}{{{gap}}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{sides}@{{}}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        r"\end{tabularx}",
        rf"\end{{table{star}}}",
    ]
    return "\n".join(frame)


def describe_comparison(trials: Sequence[Row]) -> str:
    """A caption for the trials (rows of the view `comparison`): definition of leakage, meaning of brackets and bold, numbers of
    models and scores behind the figures. Several values are joined by "or"; "unknown" stands for none, for no FPR "the
    declared"."""

    def say(name: str) -> str:
        values = sorted({value for row in trials if (value := row[name]) is not None})
        return " or ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) or "unknown"

    rates = sorted({row["fpr"] for row in trials if row["fpr"] is not None})
    at = " or ".join(map(format_percent, rates)) or "the declared"
    return (
        f"Test accuracy and leakage on {say('data')}. Leakage is the share of member canaries ({say('canaries')}) that the attack "
        f"({say('attack')}, on {say('release').replace('_', ' ')}) recognises while it wrongly accuses {at} of the non-members; "
        f"guessing gives {at}. Brackets: 95 % intervals over {say('shadows')} models and {say('leakage_n')} non-member scores. "
        "Bold: better than every other trial by more than both intervals."
    )


def _find_best(trials: Iterable[Row], name: str, sign: int) -> Row | None:
    """The trial whose interval of the figure `name` is better than, and does not overlap, those of all others; None if there is
    none, or fewer than two trials have an interval. `sign`: 1 if more is better, -1 if less is.

    Intervals apart are a stricter demand than a significant difference. Controls, doubtful trials and trials without an interval do
    not take part.
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


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], how: str, null: str = "NULL") -> str:
    """The table as text without a final newline, in the format `how`: csv, json (a list of objects), markdown, html; any other
    `how` is a table for the terminal, with the number of rows (`_align`). Missing values, and in json and csv numbers that are not
    finite, are null in json, empty in csv, NULL in markdown and html, and `null` in the terminal's table. Floats keep all digits in
    json and csv, and have four significant ones elsewhere; times have whole seconds. A `Best` is bold in markdown and html."""
    match how:
        case "json":
            names = _distinct(columns)
            return json.dumps([dict(zip(names, map(_plain, row), strict=True)) for row in rows], ensure_ascii=False, indent=1)
        case "csv":
            out = io.StringIO()
            csv.writer(out, lineterminator="\n").writerows([map(_csv, row) for row in (columns, *rows)])
            return out.getvalue().rstrip("\n")
        case "markdown":
            lines = [columns, ["---"] * len(columns), *rows]
            bars = [_escape(line, escape.markdown, "**{}**") for line in lines]
            return "\n".join(f"| {' | '.join(bar)} |" for bar in bars)
        case "html":
            head, *body = ["".join(_escape(line, escape.html, "<strong>{}</strong>", "<td>{}</td>")) for line in (columns, *rows)]
            head = head.replace("<td>", '<th scope="col">').replace("</td>", "</th>")
            inner = "\n".join(f"<tr>{line}</tr>" for line in body)
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{inner}\n</tbody>\n</table>"
    return _align(columns, rows, null)


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names, a repeated one with the first free number behind it, as DuckDB numbers them: a, a_1."""
    names: list[str] = []
    for column in columns:
        numbered = (f"{column}_{number}" if number else column for number in count())
        names.append(next(name for name in numbered if name not in names and (name == column or name not in columns)))
    return names


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has no NaN and infinity
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _csv(value: Any) -> Any:
    return escape.csv(plain) if isinstance(plain := _plain(value), str) else plain


def _print(value: Any, null: str = "NULL") -> str:
    if value is None:
        return null
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(_plain(value)).split())


def _escape(values: Sequence[Any], escaped: Callable[[str], str], bold: str, cell: str = "{}") -> list[str]:
    """Escaped cells of a row, each in the format `cell`, a `Best` within it in the format `bold`."""
    texts = [escaped(_print(value)) for value in values]
    return [cell.format(bold.format(text) if isinstance(value, Best) else text) for value, text in zip(values, texts, strict=True)]


def _holds_figures(cells: Sequence[str]) -> bool:
    """Whether a LaTeX column is right-aligned: it has a figure (a cell that begins with a digit or a minus and a digit), and each
    other cell is empty or says that there is none."""
    there = [cell for cell in cells if cell not in ("", "none", UNRESOLVABLE, NOT_MEASURED)]
    return bool(there) and all(cell.lstrip("-")[:1].isdigit() for cell in there)


def _align(columns: Sequence[str], rows: Sequence[Sequence[Any]], null: str) -> str:
    """A table with aligned columns and its number of rows; all cells longer than MAX_CELL_LETTERS are shortened where it is wider
    than the terminal (160 letters where standard output has no known width).

    Where standard output is a terminal, and too narrow even so, columns go on in further blocks below, each of which begins with
    the column that tells rows apart (`_key`).
    """
    cells = [[_print(value, null) for value in row] for row in rows]

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
    """Index of the first column whose cells are distinct; else 0."""
    columns = zip(*cells, strict=True) if len(cells) > 1 else ()
    return next((at for at, column in enumerate(columns) if len(set(column)) == len(cells)), 0)


def _split(widths: Sequence[int], key: int, room: int) -> list[list[int]]:
    """Indices of columns, in blocks that fit into the width `room`, where one column besides the key column does; from the second
    block on the key column comes first."""
    blocks: list[list[int]] = [[]]
    for at, width in enumerate(widths):
        block = blocks[-1]
        if block[:1] == [key] and at == key:
            continue  # it is the first of this block already
        if len(block) > (block[:1] == [key]) and sum(widths[other] + 2 for other in block) + width > room:
            blocks.append([key] if at != key else [])
        blocks[-1].append(at)
    return blocks


def _shorten(text: str) -> str:
    """The text, cut at the end to MAX_CELL_LETTERS; an absolute path is cut at its beginning, since its end distinguishes it."""
    if len(text) <= MAX_CELL_LETTERS:
        return text
    return f"…{text[1 - MAX_CELL_LETTERS :]}" if text.startswith("/") else f"{text[: MAX_CELL_LETTERS - 1]}…"

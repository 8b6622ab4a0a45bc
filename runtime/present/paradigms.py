"""The fixed order of paradigms and their printed names, for tables, charts and the report. Does not import Altair.

A paradigm that is not listed here comes last, under its own name made readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
"""A row of a query, by column."""

PRINTED_NAMES = {
    "undefended": "Undefended",
    "dp_sgd": "DP-SGD",
    "coreset": "Coreset",
    "distillation": "Distillation",
    "data_free_kd": "Data-free KD",
    "diffusion": "Diffusion",
    "imported": "Imported",
    "own": "Own method",
    "control": "Control",
}
"""Paradigm → printed name, baselines first. Charts show controls of all paradigms as a paradigm of their own."""
PARADIGMS = tuple(PRINTED_NAMES)


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Rows of a query as dicts from column to value."""
    return [dict(zip(columns, row, strict=True)) for row in rows]


def printed_name(paradigm: str) -> str:
    """The printed name of a paradigm; of one that is not listed its own name, with spaces for underscores, and a capital letter at
    the beginning alone."""
    return PRINTED_NAMES.get(paradigm, paradigm.replace("_", " ").capitalize())


def paradigms_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The distinct paradigms of the rows, in the order of PARADIGMS, then other ones by name."""
    names = {row["paradigm"] for row in rows}
    return [name for name in PARADIGMS if name in names] + sorted(names - set(PARADIGMS))


def order_by_paradigm(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Rows in the order of PARADIGMS, then other paradigms by name; the order within a paradigm is kept."""
    rows = list(rows)
    order = paradigms_of(rows)
    return sorted(rows, key=lambda row: order.index(row["paradigm"]))


def doubts_of(row: Row) -> str:
    """Reasons to doubt a trial's figures, in words: its null control failed, or its model learned next to nothing (no reason for a
    control). "" without any."""
    invalid = "null control failed: figures invalid" if row.get("null_ok") is False else ""
    idle = row.get("learned") is False and not row.get("control")
    return "; ".join(filter(None, (invalid, "learned next to nothing: leaking little is no protection" if idle else "")))


def is_comparable(row: Row) -> bool:
    """Whether a trial takes part in comparisons such as fronts and best values: it is not doubtful and no control."""
    return not doubts_of(row) and not row.get("control")


def verdict_of(claim: Row) -> str:
    """The verdict of a row of the view `claim`, corrected for the testing of all claims of the study together; without such a test
    the verdict of the claim tested alone; without that "not tested"."""
    return str(claim.get("study_verdict") or claim.get("verdict") or "not tested")

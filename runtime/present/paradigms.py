"""Paradigms in their fixed order, and their names in print: the same in tables, on charts and in the report. Needs no Altair.

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
"""Baselines first. Controls, of whatever paradigm, stand apart on charts as if they were one."""
PARADIGMS = tuple(PRINTED_NAMES)


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """What a query gave, by column."""
    return [dict(zip(columns, row, strict=True)) for row in rows]


def printed_name(paradigm: str) -> str:
    """Its name in print."""
    return PRINTED_NAMES.get(paradigm, paradigm.replace("_", " ").capitalize())


def paradigms_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paradigms that occur, in their fixed order; unknown ones last."""
    names = {row["paradigm"] for row in rows}
    return [name for name in PARADIGMS if name in names] + sorted(names - set(PARADIGMS))


def order_by_paradigm(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Rows paradigm by paradigm; within one as they came."""
    rows = list(rows)
    order = paradigms_of(rows)
    return sorted(rows, key=lambda row: order.index(row["paradigm"]))


def doubts_of(row: Row) -> str:
    """Reasons to doubt a trial's figures, in words: a failed null control, a model that learned nothing. Empty if there is none.

    Controls may learn nothing.
    """
    invalid = "null control failed: figures invalid" if row.get("null_ok") is False else ""
    idle = row.get("learned") is False and not row.get("control")
    return "; ".join(filter(None, (invalid, "learned next to nothing: leaking little is no protection" if idle else "")))


def is_comparable(row: Row) -> bool:
    """Whether a trial can be the best of something: it is beyond doubt and no control."""
    return not doubts_of(row) and not row.get("control")

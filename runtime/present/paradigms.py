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

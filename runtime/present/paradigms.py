"""Paradigms in their fixed order, and their names in print: the same in tables, on charts and in the report. Needs no Altair.

A paradigm that is not listed here comes last, under its own name made readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NAMES = {
    "undefended": "Undefended",
    "dp_sgd": "DP-SGD",
    "coreset": "Coreset",
    "distillation": "Distillation",
    "data_free_kd": "Data-free KD",
    "diffusion": "Diffusion",
    "imported": "Imported",
    "own": "Own method",
}
"""Baselines first."""
PARADIGMS = tuple(NAMES)


def printed(paradigm: str) -> str:
    """Its name in print."""
    return NAMES.get(paradigm, paradigm.replace("_", " ").capitalize())


def present(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paradigms that occur, in their fixed order; others last, by name."""
    found = {row["paradigm"] for row in rows}
    return [name for name in PARADIGMS if name in found] + sorted(found - set(PARADIGMS))


def ordered(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Rows paradigm by paradigm; within one as they came."""
    rows = list(rows)
    order = present(rows)
    return sorted(rows, key=lambda row: order.index(row["paradigm"]))

"""A study's text → its plan: read, compose, expand, check, lower. The whole compiler on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compiler.check import check
from compiler.compose import compose
from compiler.lower import lower
from compiler.plan import Plan


def compile_study(path: Path, profile: str | None = None, sets: Sequence[str] = ()) -> Plan:
    """The plan of the study in the file `path`, under a profile and `--set` assignments.

    SpecError with every complaint found, each with its place.
    """
    checked = check(compose(path, profile, sets))
    return lower(checked.header, checked.trials, checked.claims, profile)

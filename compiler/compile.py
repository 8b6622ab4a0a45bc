"""A study's text → its plan: read, compose, expand, check, lint, lower. The whole compiler on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compiler.check.trials import check
from compiler.plan.dag import Plan
from compiler.plan.lower import lower
from compiler.text.compose import compose
from compiler.text.nodes import Mapping


def compile_study(path: Path, profile: str | None = None, sets: Sequence[str] = ()) -> Plan:
    """Compile the study in the file `path`, under a profile (None: without one) and with assignments `PATH=VALUE`, the later on
    top.

    SpecError with the mistakes, each with its location: those of reading and composing alone if there are any, else those that
    `check` finds, among them users' files without a valid record; for a study without mistakes, with every lint of severity error
    that it does not silence. SynthcError where a file of a user's model folder cannot be read.
    """
    return compile_tree(compose(path, profile, sets), profile)


def compile_tree(tree: Mapping, profile: str | None = None) -> Plan:
    """Compile a study that is already composed; `profile` is recorded in the plan and changes nothing else. Errors as for
    `compile_study`, without those of reading and composing."""
    checked = check(tree)
    from compiler.lint import lint  # imported here: what reads no study, or a wrong one, needs no lints

    return lower(checked.header, checked.trials, checked.claims, profile, lint(checked))

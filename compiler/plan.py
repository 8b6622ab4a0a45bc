"""Task and Plan: a DAG in which each thing is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.spec.study import Header, Trial
from compiler.work import Kind, Work


@dataclass(frozen=True)
class Task:
    """One node: what to compute, from which other tasks. Equal work has an equal id, whoever asks for it."""

    id: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    """(role, task id), sorted by role; roles are named in `compiler.work`."""
    address: str
    """Where it was first asked for, such as `coreset[fraction=0.1]#0/shadow 3/proxy`. For people; never hashed."""
    text: str
    """The canonical text that was hashed: kept beside the result, so that a difference can be explained field by field."""

    @property
    def kind(self) -> Kind:
        return self.work.kind


@dataclass(frozen=True)
class Plan:
    """A compiled study. `tasks` is in topological order: every need comes before its users."""

    header: Header
    profile: str | None
    trials: tuple[Trial, ...]
    tasks: Mapping[str, Task]
    answers: Mapping[str, str]
    """Trial address → id of its attack task."""

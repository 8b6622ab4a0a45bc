"""Small plans of rehearsal tasks, for tests of the runtime with real engines and real commits."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.fingerprint import canonical_text, digest_of
from compiler.plan.dag import Task
from compiler.work.operations import Rehearsal


def task(label: str, *needs: Task, seconds: float = 0.0, ending: str = "done") -> Task:
    """One rehearsal that needs others."""
    work = Rehearsal(label, seconds, ending)   # type: ignore[arg-type]
    needed = tuple((f"n{place}", need.id) for place, need in enumerate(needs))
    text = canonical_text("task", work, needed)
    return Task(digest_of(text), work, needed, label, text)


def todo(tasks: Iterable[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}

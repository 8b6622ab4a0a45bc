"""Small plans of rehearsal tasks, for tests of the runtime with real engines and real commits.

The module is also an operation, for workers: a rehearsal whose log says which GPUs it sees.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import torch

from compiler.fingerprint import canonical_text, digest_of
from compiler.plan.dag import Task
from compiler.work.operations import Rehearsal
from runtime.execution import rehearsal
from runtime.outcome import Product
from runtime.store.artifacts import Artifact

OPERATIONS = {"Rehearsal": __name__}


def task(label: str, *needs: Task, seconds: float = 0.0, ending: str = "done") -> Task:
    """One rehearsal that needs others."""
    work = Rehearsal(label, seconds, ending)  # type: ignore[arg-type]
    needed = tuple((f"n{index}", need.id) for index, need in enumerate(needs))
    text = canonical_text("task", work, needed)
    return Task(digest_of(text), work, needed, label, text)


def todo(tasks: Iterable[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}


def perform(work: Rehearsal, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    print(f"visible GPUs: {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
    return rehearsal.perform(work, inputs, device)

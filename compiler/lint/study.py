"""The input of lints on specs: a valid study, and the locations of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from compiler.check.claim_sides import Resolved
from compiler.errors import Location
from compiler.language.audit import Audit
from compiler.language.study import Header, Trial
from compiler.text.nodes import Mapping, Sequence, plain

BASELINES = ("undefended", "dp_sgd")
"""Paradigms without synthetic data; all others are defences by synthetic data."""


@dataclass(frozen=True)
class Study:
    """A valid study and its composed tree."""

    header: Header
    trials: tuple[Trial, ...]
    claims: tuple[Resolved, ...]
    tree: Mapping

    @cached_property
    def synthetic(self) -> tuple[Trial, ...]:
        """Trials of all paradigms but BASELINES, without controls, in the order of `trials`; imported logits are among them."""
        arms = [trial for trial in self.trials if trial.point.arm.paradigm not in BASELINES]
        return tuple(trial for trial in arms if not getattr(trial.point.arm, "control", False))

    def of(self, paradigm: str) -> tuple[Trial, ...]:
        """Trials of a paradigm, controls included."""
        return tuple(trial for trial in self.trials if trial.point.arm.paradigm == paradigm)

    def select(self, indices: Iterable[int]) -> tuple[Trial, ...]:
        """Trials by their indices, as in claims."""
        return tuple(self.trials[index] for index in indices)

    def audits(self) -> Iterator[tuple[Trial, Audit]]:
        """For each distinct audit object (usually there is one), the first trial that has it, and the audit."""
        first: dict[int, Trial] = {}
        for trial in self.trials:
            first.setdefault(id(trial.point.audit), trial)
        for trial in first.values():
            yield trial, trial.point.audit

    def at(self, trial: Trial, *path: str) -> Location:
        """Location of the value at `path` in the trial's arm, if the arm overrides it, else in the study; where neither writes it
        (it has its default), of the nearest mapping around it in the study."""
        if self.tree.get("arms", trial.arm_name, *path) is not None:
            return self.tree.nearest("arms", trial.arm_name, *path)
        return self.tree.nearest(*path)

    def arm(self, trial: Trial, *path: str) -> Location:
        """Location of the value at `path` in the trial's arm; without a path, and where the arm does not write it, of the arm's
        name."""
        if path and self.tree.get("arms", trial.arm_name, *path) is not None:
            return self.tree.nearest("arms", trial.arm_name, *path)
        return self.key("arms", trial.arm_name)

    def key(self, *path: str) -> Location:
        """Location of the last name of a path (the key, not its value), else of the mapping that should have it, else of the
        study."""
        *around, name = path
        holder = self.tree.get(*around)
        return holder.location_of(name) if isinstance(holder, Mapping) else self.tree.location

    def attack(self, trial: Trial, name: str) -> Location:
        """Location of the first attack of that name in the list that holds for the trial (the arm's, else the study's); else as
        `at(trial, "audit", "attacks")`."""
        listed = self.tree.get("arms", trial.arm_name, "audit", "attacks") or self.tree.get("audit", "attacks")
        for item in listed.items if isinstance(listed, Sequence) else ():
            if isinstance(item, Mapping) and (attack := item.get("attack")) is not None and plain(attack) == name:
                return item.location
        return self.at(trial, "audit", "attacks")


@dataclass(frozen=True)
class Weakness:
    """Location, message, hint and severity of a lint's finding."""

    location: Location
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] | None = None
    """None: the lint's own."""

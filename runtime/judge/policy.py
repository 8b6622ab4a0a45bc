"""Checks figures against the conditions of a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from compiler.language.policy import STUDIED, Condition, Share
from runtime.outcome import Metric


@dataclass(frozen=True)
class ConditionResult:
    """The result of checking one condition: the `value` that was read and the `limit` as a number, None where a figure lacks it."""

    condition: Condition
    holds: bool
    value: float | None
    limit: float | None
    reason: str = ""
    """Why the condition cannot be checked (it then counts as not met); else ""."""
    trial: str = ""

    @property
    def sentence(self) -> str:
        """The result in words, beginning with `open` (the condition holds) or `closed`."""
        about = f"{self.trial}: " if self.trial else ""
        if self.reason:
            return f"closed: {about}{self.condition}: cannot be read, {self.reason}"
        share = f" (that is {self.limit:.4g})" if any(isinstance(one, Share) for one in vars(self.condition).values()) else ""
        return f"{'open' if self.holds else 'closed'}: {about}{self.condition}{share}: it is {self.value:.4g}"

    def as_json(self) -> dict[str, Any]:
        said = self.condition.model_dump(mode="json", exclude_defaults=True)
        return {"condition": said, "holds": self.holds, "value": self.value, "limit": self.limit, "reason": self.reason}


def evaluate(conditions: Sequence[Condition], figures: Mapping[str, Metric], trial: str = "") -> list[ConditionResult]:
    """The result of every condition on these figures (name → figure), in order; limits are inclusive. A condition does not hold
    where its figure, or the one of which its limit is a share, is missing or lacks the value or interval end that is read. `trial`:
    address to put into the results; the conditions' own selectors are not applied."""
    return [_evaluate(condition, figures, trial) for condition in conditions]


def _evaluate(condition: Condition, figures: Mapping[str, Metric], trial: str) -> ConditionResult:
    value, reason = _read(figures, condition.metric, condition.end)
    at_most = condition.at_most is not None
    said = condition.at_most if at_most else condition.at_least
    limit: float | None
    if isinstance(said, Share):
        limit, missing = _read(figures, said.of, "value")
        limit, reason = None if limit is None else said.share * limit, reason or missing
    else:
        limit = said
    if value is None or limit is None:
        return ConditionResult(condition, False, value, limit, reason, trial)
    return ConditionResult(condition, value <= limit if at_most else value >= limit, value, limit, "", trial)


def _read(figures: Mapping[str, Metric], name: str, end: str) -> tuple[float | None, str]:
    """A figure's `end` (`value`, `low` or `high`; None if there is none), and the reason where there is none, else ""."""
    metric = figures.get(name)
    if metric is None:
        return None, f"{name} was not measured" + ("; it takes a study with shadows" if name in STUDIED else "")
    value = getattr(metric, end)
    if value is None:
        return None, f"{name} has no {end}" + (f": {metric.note}" if metric.note else "")
    return value, ""


def policy_digest(conditions: Sequence[Condition]) -> str:
    """Digest of the conditions, which depends on their order, sixteen hexadecimal digits."""
    text = json.dumps([condition.model_dump(mode="json") for condition in conditions], sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()

"""Choosing by how hard a sample is: scores from the log of a proxy's training, and the rules that pick by a score.

HIGHER SCORE MEANS HARDER. A log is presentation × sample: what the training's own forward passes said of each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from compiler.errors import SynthcError
from runtime.artifacts import Artifact
from runtime.outcome import Diverged

Picker = Callable[[Tensor, int], Tensor]
"""(rows that compete, how many to keep) → the kept ones of these rows."""


def logged(proxy: Artifact, samples: int) -> Mapping[str, Tensor]:
    """The proxy's dynamics: `correct` (uint8), `margin` and `el2n` (float), each presentation × sample.

    Diverged if they are not numbers; SynthcError if the proxy never saw every sample.
    """
    log = proxy.tensors("dynamics")
    passes, seen = log["correct"].shape
    if seen != samples:
        raise ValueError(f"the proxy's log has {seen} samples, the private set {samples}: it was trained on another set")
    if not passes:
        raise SynthcError("the proxy's training ends before every sample was presented once; give it at least one epoch")
    if not all(log[name].isfinite().all() for name in ("margin", "el2n")):
        raise Diverged("the proxy's log holds values that are no numbers: its training diverged")
    return log


def forgetting(correct: Tensor, never_learned: Literal["maximal", "zero"] = "maximal") -> Tensor:
    """How often each sample went from right to wrong between two presentations (Toneva et al. 2019, section 3).

    A sample that never was right gets the number of presentations, more than any count can be; `zero` gives it none, as
    DeepCore and CCS do, which makes a mislabeled sample that resists look like the easiest of all.
    """
    was_right = correct.to(torch.bool)
    count = (was_right[:-1] & ~was_right[1:]).sum(0)
    if never_learned == "zero":
        return count
    return torch.where(was_right.any(0), count, len(correct))


def hardest(score: Tensor, ties: torch.Generator) -> Picker:
    """Keep the highest scores; equal ones fall by a shuffle from `ties`."""
    if not score.isfinite().all():
        raise Diverged("a score is no number: what it was computed from diverged")
    place = torch.randperm(len(score), generator=ties)

    def pick(rows: Tensor, keep: int) -> Tensor:
        shuffled = rows[place[rows].argsort()]
        return shuffled[score[shuffled].argsort(descending=True, stable=True)[:keep]]

    return pick
